//! Proves on a user's own catalog what exactly-once stands on, with a table of its own.

use std::collections::HashMap;

use bytes::Bytes;
use iceberg::{NamespaceIdent, TableIdent};
use rand::Rng;
use uuid::Uuid;

use crate::cache::MetadataCache;
use crate::clock::{Clock, SystemClock};
use crate::creation::creation;
use crate::error::chain;
use crate::head::TableHead;
use crate::snapshot::{Change, Mark};
use crate::table_catalog::{CatalogError, CatalogFault, CommitReply, LoadedTable, TableCatalog};
use crate::tables::Table;

/// A catalog's answers and a machine's clock may differ by this.
const SKEW_MS_MAX: i64 = 5 * 60 * 1_000;
const KEPT_PROPERTY: &str = "hogflare.check";

/// What was looked at and what was found.
#[derive(Clone, Debug)]
pub struct Finding {
    pub what: &'static str,
    pub verdict: Verdict,
    /// What it means and what to do; empty if all is well.
    pub words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// It can be used, but a promise is weaker.
    Weaker,
    /// Rows could be lost or doubled, or nothing can be written at all.
    Bad,
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// The catalog could not be asked: nothing is proved, nothing refuted.
    pub unreachable: bool,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        let worst =
            |left: Verdict, finding: &Finding| if left as u8 >= finding.verdict as u8 { left } else { finding.verdict };
        self.findings.iter().fold(Verdict::Good, worst)
    }

    /// The findings of one verdict in one line.
    pub fn words(&self, verdict: Verdict) -> String {
        let found = self.findings.iter().filter(|finding| finding.verdict == verdict);
        found.map(|finding| format!("{}: {}", finding.what, finding.words)).collect::<Vec<_>>().join("; ")
    }

    fn good(&mut self, what: &'static str) {
        self.findings.push(Finding { what, verdict: Verdict::Good, words: String::new() });
    }

    fn found(&mut self, what: &'static str, verdict: Verdict, words: impl Into<String>) {
        self.findings.push(Finding { what, verdict, words: words.into() });
    }

    fn storage_failed(&mut self, what: &'static str, error: &crate::Error) {
        let error = chain(error);
        let hint = storage_hint(&error);
        self.unreachable |= hint.is_none();
        let hint = hint.unwrap_or("the storage failed or cannot be reached; this may pass");
        self.found(what, Verdict::Bad, format!("{hint} ({error})"));
    }

    fn stop(&mut self, what: &'static str, error: &CatalogError) {
        self.unreachable |= error.fault == CatalogFault::Unreachable;
        self.found(what, Verdict::Bad, advice(error));
    }
}

fn advice(error: &CatalogError) -> String {
    let hint = match error.fault {
        CatalogFault::Login => "the token or the client credentials are not accepted",
        CatalogFault::Permission => {
            "the token is known, but may not do this: give it write access to catalog and storage"
        }
        CatalogFault::Missing => "check the address and the warehouse's name",
        CatalogFault::Tls => "the server's certificate is not trusted: name its root with --ca-file",
        CatalogFault::Unreachable => "the catalog does not answer: check address, network and proxy",
        CatalogFault::Other => "the catalog refused",
    };
    format!("{hint} ({})", error.message)
}

/// Creates a table of its own in the namespace, tries everything on it and drops it again.
pub async fn check(
    catalog: &dyn TableCatalog,
    cache: &MetadataCache,
    namespace: &NamespaceIdent,
    skew_ms: impl Fn() -> i64,
) -> Report {
    let name = format!("hogflare_check_{}", &Uuid::new_v4().simple().to_string()[..8]);
    let ident = TableIdent::new(namespace.clone(), name);
    let mut report = Report::default();
    if let Err(error) = catalog.ensure_namespace(namespace).await {
        report.stop("login and namespace", &error);
        return report;
    }
    report.good("login and namespace");
    if skew_ms().abs() > SKEW_MS_MAX {
        let seconds = skew_ms() / 1_000;
        report.found("clock", Verdict::Bad, format!("this machine's clock is {seconds} s off the catalog's: set it"));
    }
    let scratch = Scratch { catalog, cache, ident: &ident };
    match scratch.create().await {
        Err(error) => report.stop("create a table", &error),
        Ok(created) => {
            report.good("create a table");
            scratch.tries(&mut report, created).await;
            match catalog.drop_table(&ident).await {
                Ok(()) => report.good("drop the table"),
                Err(error) => {
                    report.found("drop the table", Verdict::Weaker, format!("drop {ident} by hand: {}", advice(&error)))
                }
            }
        }
    }
    report
}

struct Scratch<'a> {
    catalog: &'a dyn TableCatalog,
    cache: &'a MetadataCache,
    ident: &'a TableIdent,
}

impl Scratch<'_> {
    async fn create(&self) -> Result<LoadedTable, CatalogError> {
        let mut request = creation(self.ident, Table::DeadLetter)?;
        request.properties.insert(KEPT_PROPERTY.to_owned(), "kept".to_owned());
        self.catalog.create(self.ident, request).await
    }

    async fn tries(&self, report: &mut Report, created: LoadedTable) {
        let Some(head) = self.head(report, created) else { return };
        if !self.files_work(report, &head).await {
            return;
        }
        let Some(first) = self.first_commit(report, &head).await else { return };
        let Some(second) = self.race(report, &first).await else { return };
        self.same_snapshot_id(report, &second).await;
    }

    fn head(&self, report: &mut Report, loaded: LoadedTable) -> Option<TableHead> {
        match TableHead::new(Table::DeadLetter, loaded.metadata, loaded.metadata_location) {
            Ok(head) => Some(head),
            Err(error) => {
                report.found("read the table's metadata", Verdict::Bad, chain(&error));
                None
            }
        }
    }

    async fn load(&self, report: &mut Report) -> Option<TableHead> {
        match self.catalog.load(self.ident).await {
            Ok(Some(loaded)) => self.head(report, loaded),
            Ok(None) => {
                report.found("load the table", Verdict::Bad, "the table that was created is not there");
                None
            }
            Err(error) => {
                report.stop("load the table", &error);
                None
            }
        }
    }

    async fn files_work(&self, report: &mut Report, head: &TableHead) -> bool {
        let objects = self.cache.objects();
        // Some stores take only names that a table would have.
        let folder = head.metadata.location().trim_end_matches('/');
        let location = format!("{folder}/data/hf-check-{}.parquet", Uuid::new_v4());
        let bytes = Bytes::from_static(b"written by hogflare catalog check\n");
        let tried = async {
            objects.put_new(&location, bytes.clone()).await?;
            let read = objects.read(&location).await?;
            let unique = objects.refuses_second_put(&location).await?;
            objects.delete(&location).await?;
            Ok::<_, crate::Error>((read == bytes, unique))
        };
        match tried.await {
            Ok((true, unique)) => {
                report.good("write, read and delete a file");
                if !unique {
                    report.found(
                        "create-only writes",
                        Verdict::Weaker,
                        "the store overwrites where it was asked to create; names are never given twice, so this is \
                         the second belt only",
                    );
                }
                true
            }
            Ok((false, _)) => {
                report.found(
                    "write and read a file",
                    Verdict::Bad,
                    "the store gave back other bytes than were written",
                );
                false
            }
            Err(error) => {
                report.storage_failed("write and read a file", &error);
                false
            }
        }
    }

    /// Snapshot and property appear together, and a property that the catalog does not know stays.
    async fn first_commit(&self, report: &mut Report, head: &TableHead) -> Option<TableHead> {
        const WHAT: &str = "snapshot and property in one commit";
        let (reply, id) = self.commit(report, head, None).await?;
        if let CommitReply::Rejected(reason) = &reply {
            report.found(WHAT, Verdict::Bad, format!("the catalog refuses a commit: {reason}"));
            return None;
        }
        let after = self.load(report).await?;
        if after.metadata.current_snapshot_id() != Some(id) {
            report.found(WHAT, Verdict::Bad, format!("a commit did not become visible ({reply:?})"));
            return None;
        }
        let properties = after.metadata.properties();
        let kept = properties.get(KEPT_PROPERTY).is_some_and(|value| value == "kept");
        let set = properties.get(MARK).is_some_and(|value| *value == id.to_string());
        match kept && set {
            true => report.good(WHAT),
            false => report.found(
                WHAT,
                Verdict::Weaker,
                "the catalog does not keep table properties: the watermark stands in snapshot summaries only. If \
                 somebody expires all snapshots of ours before a restart, commits halt until a person looks",
            ),
        }
        Some(after)
    }

    /// Of two commits that assert the same head, exactly one wins.
    async fn race(&self, report: &mut Report, head: &TableHead) -> Option<TableHead> {
        const WHAT: &str = "of two commits on one head one wins";
        let mut silent = Report::default();
        let mut other = Report::default();
        let (left, right) = tokio::join!(self.commit(&mut silent, head, None), self.commit(&mut other, head, None));
        let (Some((left, left_id)), Some((right, right_id))) = (left, right) else {
            report.findings.append(&mut silent.findings);
            report.findings.append(&mut other.findings);
            return None;
        };
        let after = self.load(report).await?;
        let has = |id: i64| after.metadata.snapshot_by_id(id).is_some();
        match (has(left_id), has(right_id)) {
            (true, true) => {
                report.found(
                    WHAT,
                    Verdict::Bad,
                    "the catalog applied both: it does not honour assert-ref-snapshot-id, so rows could be stored \
                     twice. Do not use it",
                );
                return None;
            }
            (false, false) => {
                report.found(WHAT, Verdict::Bad, format!("neither was applied ({left:?}; {right:?})"));
                return None;
            }
            (true, false) => self.loser(report, WHAT, &right),
            (false, true) => self.loser(report, WHAT, &left),
        }
        Some(after)
    }

    fn loser(&self, report: &mut Report, what: &'static str, reply: &CommitReply) {
        match reply {
            CommitReply::Conflict(_) => report.good(what),
            CommitReply::Applied(_) => {
                report.found(what, Verdict::Bad, "the catalog answered 200 to a commit that it did not apply");
            }
            other => report.found(
                what,
                Verdict::Weaker,
                format!("the loser is told {other:?} instead of a conflict: lost races cost a reload and a pause"),
            ),
        }
    }

    async fn same_snapshot_id(&self, report: &mut Report, head: &TableHead) {
        const WHAT: &str = "the same snapshot id twice is refused";
        let Some(id) = head.metadata.current_snapshot_id() else { return };
        let Some((reply, _)) = self.commit(report, head, Some(id)).await else { return };
        match reply {
            CommitReply::Applied(_) => report.found(
                WHAT,
                Verdict::Bad,
                "the catalog took a snapshot id that the table has already: a replayed commit would be applied twice",
            ),
            CommitReply::Conflict(_) | CommitReply::Rejected(_) => report.good(WHAT),
            other => report.found(WHAT, Verdict::Weaker, format!("not proved: the catalog answered {other:?}")),
        }
    }

    async fn commit(&self, report: &mut Report, head: &TableHead, id: Option<i64>) -> Option<(CommitReply, i64)> {
        let snapshot_id = id.unwrap_or_else(|| rand::rng().random_range(1..=i64::MAX));
        let incarnation = &Uuid::new_v4().simple().to_string()[..8];
        let change = Change {
            ident: self.ident,
            snapshot_id,
            incarnation,
            marks: vec![Mark { name: MARK.to_owned(), value: snapshot_id.to_string() }],
            notes: HashMap::new(),
        };
        let written = async {
            let proposal = change.propose_empty(head, self.cache, 0, SystemClock.now_ms()).await?;
            for (location, bytes) in proposal.objects {
                self.cache.objects().put_new(&location, bytes).await?;
            }
            Ok::<_, crate::Error>(proposal.request)
        };
        match written.await {
            Ok(request) => Some((self.catalog.commit(self.ident, request).await, snapshot_id)),
            Err(error) => {
                report.storage_failed("write a snapshot's files", &error);
                None
            }
        }
    }
}

/// What is wrong for good, as far as the error says it. Locations in it may hold any digits.
fn storage_hint(error: &str) -> Option<&'static str> {
    let any = |words: &[&str]| words.iter().any(|word| error.contains(word));
    if any(&["RequestTimeTooSkewed"]) {
        Some("this machine's clock is wrong")
    } else if any(&[
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "AccessDenied",
        "status code: 403",
        "status code: 401",
    ]) {
        Some(
            "the storage refuses the keys: check that they (or the token, where the catalog vends keys) may read and \
             write the bucket",
        )
    } else if any(&["NoSuchBucket"]) {
        Some("the bucket does not exist")
    } else if any(&[
        "status code: 301",
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraint",
    ]) {
        Some("the bucket is in another region: set --s3-region")
    } else if any(&["certificate", "UnknownIssuer"]) {
        Some("the storage's certificate is not trusted: name its root with --ca-file")
    } else if any(&["169.254"]) {
        Some("no keys were given: set --s3-endpoint and keys, or let the catalog vend them")
    } else {
        None
    }
}

const MARK: &str = "hogflare.check-mark";
