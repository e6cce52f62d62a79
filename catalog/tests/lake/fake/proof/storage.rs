//! The storage, driven by `object_store`.

use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};

use super::super::{FakeLake, FakeSettings, Fault, Step};

const PART_BYTES: usize = 1_000;

fn settings() -> FakeSettings {
    FakeSettings { part_bytes_min: PART_BYTES, ..FakeSettings::default() }
}

fn store(fake: &FakeLake) -> AmazonS3 {
    let patient = RetryConfig { max_retries: 2, ..RetryConfig::default() };
    AmazonS3Builder::new()
        .with_endpoint(fake.endpoint())
        .with_bucket_name("lake")
        .with_region("auto")
        .with_access_key_id("static-key")
        .with_secret_access_key("any")
        .with_virtual_hosted_style_request(false)
        .with_allow_http(true)
        .with_retry(patient)
        .build()
        .unwrap()
}

#[tokio::test]
async fn objects_are_put_read_in_ranges_and_deleted() {
    let fake = FakeLake::start(settings());
    let store = store(&fake);
    let path = Path::from("folder/with space & <sign>+é");
    let put = store.put(&path, PutPayload::from_static(b"0123456789")).await.unwrap();
    let head = store.head(&path).await.unwrap();
    assert_eq!((head.size, head.e_tag, &head.location), (10, put.e_tag, &path));
    for (range, expected) in [
        (None, Some("0123456789")),
        (Some(GetRange::Bounded(2..5)), Some("234")),
        (Some(GetRange::Bounded(8..20)), Some("89")),
        (Some(GetRange::Offset(7)), Some("789")),
        (Some(GetRange::Suffix(3)), Some("789")),
        (Some(GetRange::Suffix(30)), Some("0123456789")),
        (Some(GetRange::Bounded(10..12)), None),
        (Some(GetRange::Offset(10)), None),
    ] {
        let options = GetOptions { range: range.clone(), ..GetOptions::default() };
        let read = match store.get_opts(&path, options).await {
            Ok(found) => Some(String::from_utf8(found.bytes().await.unwrap().to_vec()).unwrap()),
            Err(_) => None,
        };
        assert_eq!(read.as_deref(), expected, "{range:?}");
    }
    let stale = GetOptions { if_match: Some("\"other\"".to_owned()), ..GetOptions::default() };
    assert!(matches!(store.get_opts(&path, stale).await, Err(Error::Precondition { .. })));
    store.delete(&path).await.unwrap();
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));
    assert!(fake.objects().is_empty());
}

#[tokio::test]
async fn an_object_that_is_there_is_not_created_again() {
    let fake = FakeLake::start(settings());
    let store = store(&fake);
    let path = Path::from("once");
    store.put_opts(&path, PutPayload::from_static(b"first"), PutMode::Create.into()).await.unwrap();
    let second = store.put_opts(&path, PutPayload::from_static(b"second"), PutMode::Create.into()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "first");
    store.put(&path, PutPayload::from_static(b"third")).await.unwrap();
    assert_eq!(fake.objects()["once"], 5);
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "third");
}

/// Sizes of parts, and whether they make an object.
#[tokio::test]
async fn parts_join_only_if_r2_would_join_them() {
    let fake = FakeLake::start(settings());
    let store = store(&fake);
    for (sizes, joins) in [
        (vec![PART_BYTES, PART_BYTES, PART_BYTES], true),
        (vec![PART_BYTES, PART_BYTES, 1], true),
        (vec![5], true),
        (vec![PART_BYTES, PART_BYTES + 1], false),
        (vec![PART_BYTES + 1, PART_BYTES, PART_BYTES], false),
        (vec![PART_BYTES - 1, PART_BYTES - 1], false),
    ] {
        let path = Path::from("parts");
        let mut upload = store.put_multipart(&path).await.unwrap();
        for (number, size) in (0_u8..).zip(&sizes) {
            upload.put_part(PutPayload::from(vec![number; *size])).await.unwrap();
        }
        assert_eq!(upload.complete().await.is_ok(), joins, "{sizes:?}");
        match joins {
            true => {
                let expected: Vec<u8> = (0_u8..).zip(&sizes).flat_map(|(number, size)| vec![number; *size]).collect();
                assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), expected, "{sizes:?}");
                store.delete(&path).await.unwrap();
            }
            false => {
                upload.abort().await.unwrap();
                assert!(fake.objects().is_empty(), "{sizes:?}");
            }
        }
        assert_eq!(fake.unfinished_uploads(), 0, "{sizes:?}");
    }
}

#[tokio::test]
async fn keys_are_listed_in_pages_and_folders_and_deleted_together() {
    let fake = FakeLake::start(settings());
    let store = store(&fake);
    // Two pages of S3, and objects to both sides of the prefix.
    let mut expected: Vec<Path> =
        (0..1_100).map(|number| Path::from(format!("p/{}/{number:04}", number % 3))).collect();
    expected.sort();
    for path in expected.iter().chain([&Path::from("a"), &Path::from("q/a"), &Path::from("p.txt")]) {
        store.put(path, PutPayload::from_static(b"x")).await.unwrap();
    }
    let listed: Vec<_> = store.list(Some(&Path::from("p"))).try_collect().await.unwrap();
    assert!(listed.iter().all(|object| object.size == 1 && object.e_tag.is_some()));
    let mut paths: Vec<Path> = listed.into_iter().map(|object| object.location).collect();
    paths.sort();
    assert_eq!(paths, expected);
    assert_eq!(fake.counts().requests(Step::List), 2);

    let after: Vec<_> = store.list_with_offset(Some(&Path::from("p")), &expected[1_097]).try_collect().await.unwrap();
    assert_eq!(after.len(), 2);
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(top.common_prefixes, [Path::from("p"), Path::from("q")]);
    let objects: Vec<Path> = top.objects.into_iter().map(|object| object.location).collect();
    assert_eq!(objects, [Path::from("a"), Path::from("p.txt")]);
    let below = store.list_with_delimiter(Some(&Path::from("p"))).await.unwrap();
    assert_eq!((below.common_prefixes.len(), below.objects.len()), (3, 0));

    let doomed = futures::stream::iter(expected).map(Ok).boxed();
    let deleted: Vec<Path> = store.delete_stream(doomed).try_collect().await.unwrap();
    assert_eq!(deleted.len(), 1_100);
    assert_eq!(fake.objects().into_keys().collect::<Vec<_>>(), ["a", "p.txt", "q/a"]);
}

#[tokio::test]
async fn a_client_that_tries_again_gets_through_faults() {
    let fake = FakeLake::start(settings());
    let store = store(&fake);
    let (path, bytes) = (Path::from("a"), vec![7_u8; 100_000]);
    fake.script(Step::Put, Fault::Status(503));
    fake.script(Step::Put, Fault::AppliedThen(500));
    store.put(&path, bytes.clone().into()).await.unwrap();
    fake.script(Step::Get, Fault::Reset);
    fake.script(Step::Get, Fault::Truncated);
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), bytes);
    assert_eq!(fake.scripted_left(), 0);
    assert_eq!((fake.counts().requests(Step::Put), fake.counts().requests(Step::Get)), (3, 3));
    // The rest of the cut answer is asked for, and not what had come already.
    let traffic = fake.counts().of(super::super::Client::Wire, Step::Get);
    assert_eq!((traffic.bytes_up, traffic.bytes_down), (0, 100_000));
}
