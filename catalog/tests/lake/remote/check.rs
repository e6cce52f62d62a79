//! The check that a catalog must pass before it is used.

use hogflare_catalog::check::{Report, Verdict, check};
use hogflare_catalog::rest::{Login, RestCatalog, RestSettings};
use hogflare_catalog::{MetadataCache, Namespace, Objects};

use crate::fake::{FakeLake, FakeSettings, Fault, Profile, Step};

async fn checked(fake: &FakeLake, change: impl Fn(&mut RestSettings)) -> (Verdict, String) {
    let report = report(fake, change).await;
    let words = report.words(Verdict::Bad) + &report.words(Verdict::Weaker);
    (report.verdict(), words)
}

async fn report(fake: &FakeLake, change: impl Fn(&mut RestSettings)) -> Report {
    let mut settings = RestSettings {
        warehouse: Some("account_lake".to_owned()),
        login: Login::Token("catalog-token".to_owned()),
        ..RestSettings::new(fake.catalog_uri())
    };
    change(&mut settings);
    let objects = Objects::local();
    let cache = MetadataCache::new(objects.clone(), 1_000);
    let catalog = RestCatalog::new(settings, objects).unwrap();
    check(&catalog, &cache, &Namespace::new("default".to_owned()), || 0).await
}

#[tokio::test]
async fn good_catalogs_pass_and_leave_nothing_behind() {
    for profile in [Profile::R2, Profile::Spec] {
        let fake = FakeLake::start(FakeSettings { profile, ..FakeSettings::default() });
        let r2 = profile == Profile::R2;
        let outcome = checked(&fake, |settings| {
            settings.profile = if r2 { hogflare_catalog::rest::Profile::R2 } else { Default::default() };
        });
        assert_eq!(outcome.await, (Verdict::Good, String::new()), "{profile:?}");
        assert!(fake.table_names().is_empty(), "{:?}", fake.table_names());
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_plain_words() {
    let fake = FakeLake::start(FakeSettings::default());
    let check = async |change: fn(&mut RestSettings), expected: Verdict, word: &str| {
        let (verdict, words) = checked(&fake, change).await;
        assert_eq!(verdict, expected, "{words}");
        assert!(words.contains(word), "{word:?} is not in: {words}");
    };
    check(|rest| rest.login = Login::Token("wrong".to_owned()), Verdict::Bad, "token").await;
    check(|rest| rest.warehouse = Some("other".to_owned()), Verdict::Bad, "warehouse").await;
    check(|rest| rest.uri = "http://127.0.0.1:1/catalog".to_owned(), Verdict::Bad, "does not answer").await;
}

/// What may pass is asked again; what will not is said once.
#[tokio::test]
async fn a_store_that_fails_for_now_is_not_called_bad_for_good() {
    for (fault, passes) in [(Fault::Status(503), true), (Fault::ExpiredCredentials, false)] {
        let fake = FakeLake::start(FakeSettings::default());
        (0..20).for_each(|_| fake.script(Step::Put, fault));
        let report = report(&fake, |_| ()).await;
        assert_eq!((report.verdict(), report.unreachable), (Verdict::Bad, passes), "{fault:?}: {report:?}");
    }
}

#[tokio::test]
async fn catalogs_that_break_the_protocol_are_found_out() {
    use crate::fake::Vice;
    for (vice, verdict, word) in [
        (Vice::IgnoresAssertions, Verdict::Bad, "assert-ref-snapshot-id"),
        (Vice::DropsProperties, Verdict::Weaker, "summaries"),
        (Vice::TakesSnapshotsTwice, Verdict::Bad, "snapshot id"),
        (Vice::OverwritesObjects, Verdict::Weaker, "overwrites"),
    ] {
        let fake = FakeLake::start(FakeSettings { vice: Some(vice), ..FakeSettings::default() });
        let (found, words) = checked(&fake, |_| ()).await;
        assert_eq!(found, verdict, "{vice:?}: {words}");
        assert!(words.contains(word), "{vice:?}: {words}");
    }
}
