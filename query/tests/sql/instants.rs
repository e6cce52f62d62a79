//! A query that is held between any two of its reads sees one instant, whatever passes meanwhile.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use hogflare_catalog::Objects;
use hogflare_query::SqlRequest;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{Notify, Semaphore};

use crate::fixture::{DAY_US, Lake, document, event, rows};

/// The local file system, holding one read: the one with the number `held`, counted from 0.
#[derive(Debug)]
struct Held {
    files: LocalFileSystem,
    reads: AtomicUsize,
    held: AtomicUsize,
    arrived: Notify,
    released: Semaphore,
}

const NONE: usize = usize::MAX;

impl Held {
    fn new() -> Arc<Held> {
        Arc::new(Held {
            files: LocalFileSystem::new(),
            reads: AtomicUsize::new(0),
            held: AtomicUsize::new(NONE),
            arrived: Notify::new(),
            released: Semaphore::new(0),
        })
    }

    async fn pass(&self) {
        if self.reads.fetch_add(1, Ordering::SeqCst) == self.held.load(Ordering::SeqCst) {
            self.arrived.notify_one();
            self.released.acquire().await.unwrap().forget();
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held files")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Held {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.files.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.pass().await;
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.pass().await;
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

// Joins the table with itself, so that the two scans would differ if they saw two instants.
const SQL: &str = "SELECT count(*), count(DISTINCT a.event), sum(a._position), min(a.event), \
    (SELECT count(*) FROM hogflare_events WHERE properties <> 'x') AS again \
    FROM events a JOIN events b ON a.event = b.event WHERE b.properties <> 'x'";

async fn filled(held: &Arc<Held>) -> Lake {
    let mut lake = Lake::over(Objects::local_through(Arc::clone(held) as Arc<dyn ObjectStore>));
    let file = lake.commit(&[event("f1", "x", DAY_US, "{}"), event("f2", "x", DAY_US, "{}")]).await;
    lake.delete(&file, &[1]).await;
    lake.sealed(&[event("s1", "x", DAY_US, "{}")]);
    lake.tail(&[event("t1", "x", DAY_US, "{}")]);
    lake
}

const BEFORE: &str = r#"[[3,3,4,"f1",3]]"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_during_a_query_do_not_change_what_it_sees() {
    let held = Held::new();
    let lake = filled(&held).await;
    held.reads.store(0, Ordering::SeqCst);
    assert_eq!(rows(&lake.engine(), SQL).await, BEFORE);
    let reads = held.reads.load(Ordering::SeqCst);
    assert!(reads >= 6, "list, manifests, delete file, footers and data: {reads}");

    let mut held_reads = 0;
    for read in 0..reads {
        let held = Held::new();
        let mut lake = filled(&held).await;
        let engine = Arc::new(lake.engine());
        held.reads.store(0, Ordering::SeqCst);
        held.held.store(read, Ordering::SeqCst);
        let mut query = tokio::task::JoinSet::from_iter([{
            let engine = Arc::clone(&engine);
            async move { document(&engine, SqlRequest::of_sql(SQL)).await }
        }]);
        // Two scans may or may not share a footer, so the number of reads varies a little.
        let ended = tokio::select! {
            () = held.arrived.notified() => None,
            ended = query.join_next() => ended,
        };
        if let Some(ended) = ended {
            assert_eq!(ended.unwrap().unwrap()["rows"].to_string(), BEFORE);
            continue;
        }
        held_reads += 1;
        held.held.store(NONE, Ordering::SeqCst);
        lake.tail(&[event("t2", "x", DAY_US, "{}")]);
        // Everything acknowledged moves into the table; the sealed files go when the query ends.
        lake.commit_tail().await;
        lake.commit(&[event("f3", "x", DAY_US, "{}")]).await;
        lake.tail(&[event("t3", "x", DAY_US, "{}")]);
        assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, "[[6]]");
        held.released.add_permits(1);
        let answer = query.join_all().await.remove(0).unwrap();
        assert_eq!(answer["rows"].to_string(), BEFORE, "held at read {read} of {reads}");
        assert_eq!(rows(&engine, "SELECT count(DISTINCT event), count(*) FROM events").await, "[[6,6]]");
    }
    assert!(held_reads >= 6, "{held_reads} of {reads}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_never_go_down_while_rows_arrive_and_move() {
    let held = Held::new();
    let mut lake = filled(&held).await;
    let engine = Arc::new(lake.engine());
    let watch = tokio::task::JoinSet::from_iter([{
        let engine = Arc::clone(&engine);
        async move {
            let mut last = 0;
            loop {
                let answer =
                    document(&engine, SqlRequest::of_sql("SELECT count(*), count(DISTINCT event) FROM events"));
                let answer = answer.await.unwrap();
                let row = answer["rows"][0].as_array().unwrap();
                assert_eq!(row[0], row[1], "no row twice");
                let count = row[0].as_u64().unwrap();
                assert!(count >= last, "{count} after {last}");
                last = count;
                if count == 63 {
                    return;
                }
            }
        }
    }]);
    for round in 0..60 {
        lake.tail(&[event(&format!("r{round}"), "x", DAY_US, "{}")]);
        if round % 3 == 2 {
            lake.commit_tail().await;
        }
        tokio::task::yield_now().await;
    }
    watch.join_all().await;
}
