//! The embedded catalog with its files on a bucket.

use std::time::Duration;

use hogflare_catalog::embedded::WarehouseFiles;
use hogflare_catalog::objects::{S3Settings, StorageSettings};
use hogflare_catalog::{LakeSettings, Objects, OwnedRoot, Table};

use super::harness::copy_folder;
use crate::fake::{FakeLake, FakeSettings};
use crate::harness::{Opened, open_files};

const ROOT: &str = "s3://lake/ours";

fn open(folder: &std::path::Path, fake: &FakeLake, next: u64) -> Opened {
    let s3 = S3Settings {
        endpoint: Some(fake.endpoint().to_owned()),
        access_key_id: Some("static-key".to_owned()),
        secret_access_key: Some("secret".to_owned()),
        ..S3Settings::default()
    };
    let objects = Objects::new(StorageSettings { s3, ..StorageSettings::default() });
    let owned_root = Some(OwnedRoot { location: ROOT.to_owned(), believed_for: Duration::ZERO });
    let settings = LakeSettings { owned_root, metadata_grace: Duration::ZERO, ..LakeSettings::default() };
    let files = WarehouseFiles { root: Some(ROOT.to_owned()), objects: objects.clone(), ..WarehouseFiles::local() };
    open_files(folder, next, settings, files, |catalog| catalog)
}

#[tokio::test]
async fn rows_reach_tables_on_a_bucket() {
    let fake = FakeLake::start(FakeSettings::default());
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path(), &fake, 1);
    opened.make_ready().await;
    for _ in 0..30 {
        opened.append(1, 20_000);
        opened.lake.finish().await.unwrap();
    }
    assert_eq!(opened.rows().await, (30, 0));
    opened.lake.sweep_metadata(Table::Events).await.unwrap();
    assert!(fake.objects().keys().all(|key| key.starts_with("ours/")));
    drop(opened);
    let opened = open(folder.path(), &fake, 31);
    opened.make_ready().await;
    assert_eq!(opened.rows().await, (30, 0));
}

#[tokio::test]
async fn a_copy_takes_the_files_and_neither_deletes_what_the_other_wrote() {
    let fake = FakeLake::start(FakeSettings::default());
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut first = open(folder.path(), &fake, 1);
    first.make_ready().await;
    first.append(3, 20_000);
    first.lake.finish().await.unwrap();
    copy_folder(folder.path(), copy.path());
    first.append(1, 20_000);
    first.lake.finish().await.unwrap();
    let mut second = open(copy.path(), &fake, 4);
    second.make_ready().await;
    second.append(2, 20_000);
    second.lake.finish().await.unwrap();
    let objects = fake.objects();
    second.lake.sweep_metadata(Table::Events).await.unwrap();
    assert_eq!(first.rows().await, (4, 0), "the files of the first are there");

    first.append(4, 20_000);
    first.lake.finish().await.unwrap();
    assert!(first.lake.trouble(Table::Events).unwrap().starts_with("fenced"));
    assert_eq!(first.rows().await, (4, 4), "what was acknowledged is still shown");
    assert!(first.lake.sweep_metadata(Table::Events).await.is_err());
    assert_eq!(fake.objects(), objects);
    assert_eq!(second.rows().await, (5, 0));
}
