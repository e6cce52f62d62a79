//! Commits whose answer does not say what happened: each row is in the table once all the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use hogflare_catalog::table_catalog::{CatalogError, CommitReply, LoadedTable, TableCatalog};
use hogflare_catalog::{LakeSettings, Table};
use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{CommitTableRequest, CreateTableRequest};
use parking_lot::Mutex;

use crate::harness::{Opened, open, open_with};

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Applied, but the answer is lost.
    AnswerLost,
    /// Not applied, and nobody knows.
    NeverArrived,
    /// Applied, and the replay of the same post is what is answered.
    Replayed,
    /// Refused for a while.
    RateLimited,
    /// Answered with a table that does not show the commit.
    WrongAnswer,
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn TableCatalog>,
    faults: Mutex<VecDeque<Fault>>,
    away: Arc<AtomicBool>,
    /// Goes away once the faults are used up.
    away_after_faults: Arc<AtomicBool>,
}

#[async_trait]
impl TableCatalog for Faulty {
    async fn load(&self, table: &TableIdent) -> Result<Option<LoadedTable>, CatalogError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(CatalogError::new("away"));
        }
        self.inner.load(table).await
    }

    async fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        self.inner.ensure_namespace(namespace).await
    }

    async fn create(&self, table: &TableIdent, request: CreateTableRequest) -> Result<LoadedTable, CatalogError> {
        self.inner.create(table, request).await
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<(), CatalogError> {
        self.inner.drop_table(table).await
    }

    async fn commit(&self, table: &TableIdent, request: CommitTableRequest) -> CommitReply {
        if self.away.load(Ordering::SeqCst) {
            return CommitReply::Unknown("away".to_owned());
        }
        let fault = self.faults.lock().pop_front();
        if fault.is_some() && self.away_after_faults.load(Ordering::SeqCst) {
            self.away.store(true, Ordering::SeqCst);
        }
        let before = self.inner.load(table).await.unwrap().unwrap();
        let again: CommitTableRequest = serde_json::from_value(serde_json::to_value(&request).unwrap()).unwrap();
        match fault {
            None => self.inner.commit(table, request).await,
            Some(Fault::AnswerLost) => {
                self.inner.commit(table, request).await;
                CommitReply::Unknown("connection reset".to_owned())
            }
            Some(Fault::NeverArrived) => CommitReply::Unknown("connection refused".to_owned()),
            Some(Fault::Replayed) => {
                self.inner.commit(table, request).await;
                self.inner.commit(table, again).await
            }
            Some(Fault::RateLimited) => CommitReply::RateLimited(std::time::Duration::from_millis(1)),
            Some(Fault::WrongAnswer) => {
                self.inner.commit(table, request).await;
                CommitReply::Applied(before)
            }
        }
    }
}

fn open_faulty(path: &std::path::Path, next: u64, faults: &[Fault]) -> (Opened, Arc<AtomicBool>, Arc<AtomicBool>) {
    let (away, away_after_faults) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let switches = (Arc::clone(&away), Arc::clone(&away_after_faults));
    let faults = Mutex::new(faults.iter().copied().collect());
    let opened = open_with(path, next, LakeSettings::default(), |inner| {
        Arc::new(Faulty { inner, faults, away: switches.0, away_after_faults: switches.1 })
    });
    (opened, away, away_after_faults)
}

fn snapshots(opened: &Opened) -> usize {
    opened.views.current().head(Table::Events).unwrap().metadata.snapshots().len()
}

#[tokio::test]
async fn an_unclear_answer_neither_loses_nor_doubles() {
    use Fault::{AnswerLost, NeverArrived, RateLimited, Replayed, WrongAnswer};
    for faults in [
        vec![AnswerLost],
        vec![NeverArrived],
        vec![Replayed],
        vec![RateLimited],
        vec![WrongAnswer],
        vec![NeverArrived, NeverArrived, AnswerLost],
        vec![RateLimited, Replayed, NeverArrived],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (mut opened, ..) = open_faulty(folder.path(), 1, &faults);
        opened.make_ready().await;
        opened.append(7, 20_000);
        opened.lake.finish().await.unwrap();
        assert_eq!(opened.rows().await, (7, 0), "{faults:?}");
        assert_eq!(snapshots(&opened), 1, "{faults:?}");
        opened.append(5, 20_000);
        opened.lake.finish().await.unwrap();
        assert_eq!(opened.rows().await, (12, 0), "{faults:?}");
    }
}

/// The process ends while a commit is pending: applied or not, the next one finds out.
#[tokio::test]
async fn a_pending_commit_is_resolved_by_the_next_process() {
    for applied in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let fault = if applied { Fault::AnswerLost } else { Fault::NeverArrived };
        let (mut opened, _, away_after_faults) = open_faulty(folder.path(), 1, &[fault]);
        opened.make_ready().await;
        opened.append(9, 20_000);
        away_after_faults.store(true, Ordering::SeqCst);
        opened.lake.finish().await.unwrap();
        drop(opened);

        let mut opened = open(folder.path(), 10);
        opened.make_ready().await;
        opened.append(1, 20_000);
        opened.lake.finish().await.unwrap();
        assert_eq!(opened.rows().await, (10, 0), "applied: {applied}");
        assert_eq!(opened.watermark().position, 10);
    }
}

#[tokio::test]
async fn a_catalog_that_is_away_holds_nothing_but_commits() {
    let folder = tempfile::tempdir().unwrap();
    let (mut opened, away, _) = open_faulty(folder.path(), 1, &[]);
    opened.make_ready().await;
    away.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        opened.append(4, 20_000);
        opened.lake.seal_all().unwrap();
    }
    opened.lake.finish().await.unwrap();
    assert!(opened.lake.trouble(Table::Events).is_some());
    assert_eq!(opened.rows().await, (0, 20));
    away.store(false, Ordering::SeqCst);
    opened.lake.finish().await.unwrap();
    assert_eq!(opened.rows().await, (20, 0));
}
