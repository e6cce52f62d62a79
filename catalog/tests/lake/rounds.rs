//! Tables that are due together are committed in one transaction, whatever becomes of its answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hogflare_catalog::table_catalog::{CatalogError, CommitReply, LoadedTable, TableCatalog};
use hogflare_catalog::{Clock, LakeSettings, Slot, SystemClock, Table};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};
use iceberg_catalog_rest::{CommitTableRequest, CreateTableRequest};

use crate::harness::{Opened, open, open_with};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Given,
    /// Applied, but the answer is lost.
    Lost,
    /// Not applied, and nobody knows.
    NeverArrived,
}

/// The tables of a transaction, and the position up to which it has their rows.
type Transaction = Vec<(String, u64)>;

/// What happens to the first transaction, and which commits of either kind there were.
#[derive(Debug)]
struct Observed {
    inner: Arc<dyn TableCatalog>,
    first: Answer,
    together: Arc<Mutex<Vec<Transaction>>>,
    single: Arc<AtomicUsize>,
    /// A table whose own commits are refused.
    refused: Option<&'static str>,
}

fn through(table: &TableIdent, request: &CommitTableRequest) -> (String, u64) {
    let added = request.updates.iter().find_map(|update| match update {
        TableUpdate::AddSnapshot { snapshot } => snapshot.summary().additional_properties.get("hogflare.through"),
        _ => None,
    });
    (table.name().to_owned(), added.unwrap().parse().unwrap())
}

#[async_trait]
impl TableCatalog for Observed {
    async fn load(&self, table: &TableIdent) -> Result<Option<LoadedTable>, CatalogError> {
        self.inner.load(table).await
    }

    async fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), CatalogError> {
        self.inner.ensure_namespace(namespace).await
    }

    async fn create(&self, table: &TableIdent, request: CreateTableRequest) -> Result<LoadedTable, CatalogError> {
        self.inner.create(table, request).await
    }

    async fn commit(&self, table: &TableIdent, request: CommitTableRequest) -> CommitReply {
        self.single.fetch_add(1, Ordering::SeqCst);
        if self.refused == Some(table.name()) {
            return CommitReply::Rejected("not today".to_owned());
        }
        self.inner.commit(table, request).await
    }

    fn takes_transactions(&self) -> bool {
        true
    }

    async fn commit_together(
        &self,
        commits: Vec<(TableIdent, CommitTableRequest)>,
    ) -> Result<Vec<LoadedTable>, CatalogError> {
        let first = {
            let mut together = self.together.lock().unwrap();
            together.push(commits.iter().map(|(table, request)| through(table, request)).collect());
            together.len() == 1
        };
        match self.first {
            Answer::NeverArrived if first => Err(CatalogError::new("connection refused")),
            Answer::Lost if first => {
                self.inner.commit_together(commits).await?;
                Err(CatalogError::new("connection reset"))
            }
            _ => self.inner.commit_together(commits).await,
        }
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<(), CatalogError> {
        self.inner.drop_table(table).await
    }
}

/// The tables that these tests write to.
const APPENDED: [Table; 2] = [Table::Events, Table::DeadLetter];

fn waiting(opened: &Opened) -> [u64; 2] {
    let view = opened.views.current();
    APPENDED.map(|table| view.tail(table, Slot::Main).rows())
}

fn positions(opened: &Opened) -> [u64; 2] {
    let view = opened.views.current();
    APPENDED.map(|table| {
        let metadata = &view.head(table).unwrap().metadata;
        let mark = hogflare_catalog::watermark::read_watermark(metadata, opened.views.writer(), Slot::Main);
        mark.unwrap().map_or(0, |mark| mark.position)
    })
}

#[tokio::test]
async fn tables_that_are_due_are_committed_together() {
    for first in [Answer::Given, Answer::Lost, Answer::NeverArrived] {
        let folder = tempfile::tempdir().unwrap();
        let (together, single) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&together), Arc::clone(&single));
        let mut opened = open_with(folder.path(), 1, LakeSettings::default(), |inner| {
            Arc::new(Observed { inner, first, together: counts.0, single: counts.1, refused: None })
        });
        let mut expected = 0;
        for round in 1..=3 {
            opened.append(round, 20_000);
            opened.append_dead_letters(round);
            expected += round as u64;
            opened.lake.seal_all().unwrap();
            run_until_settled(&opened).await;
            assert_eq!(waiting(&opened), [0, 0], "{first:?}");
            assert_eq!(positions(&opened), [expected, expected], "{first:?}, round {round}");
        }
        assert_eq!(together.lock().unwrap().len(), 3, "{first:?}");
        let alone = if first == Answer::NeverArrived { 2 } else { 0 };
        assert_eq!(single.load(Ordering::SeqCst), alone, "{first:?}");
        assert_eq!(opened.rows().await, (expected, 0), "{first:?}");
    }
}

/// Readers of the tables find the person of every event, also when persons need more than one commit.
#[tokio::test]
async fn events_wait_for_rows_that_they_refer_to() {
    let folder = tempfile::tempdir().unwrap();
    let (together, single) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicUsize>::default());
    let counts = (Arc::clone(&together), Arc::clone(&single));
    let mut opened = open_with(folder.path(), 1, LakeSettings::default(), |inner| {
        Arc::new(Observed { inner, first: Answer::Given, together: counts.0, single: counts.1, refused: None })
    });
    // Of persons 80 files, of events 40; a commit takes 64.
    for _ in 0..40 {
        opened.append_with_person(1, 2);
        opened.lake.seal_all().unwrap();
    }
    run_until_settled(&opened).await;
    let through = |table: Table, position: u64| (LakeSettings::default().ident(table).name().to_owned(), position);
    let expected = [vec![through(Table::Persons, 64)], vec![through(Table::Persons, 80), through(Table::Events, 40)]];
    assert_eq!(*together.lock().unwrap(), expected);
    assert_eq!(single.load(Ordering::SeqCst), 0);
}

/// A transaction that fails is followed by commits of single tables; events do not overtake persons there, nor when
/// the server ends.
#[tokio::test]
async fn events_wait_for_rows_that_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (together, single) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicUsize>::default());
    let counts = (Arc::clone(&together), Arc::clone(&single));
    let mut opened = open_with(folder.path(), 1, LakeSettings::default(), |inner| {
        let refused = Some("hogflare_persons");
        Arc::new(Observed { inner, first: Answer::NeverArrived, together: counts.0, single: counts.1, refused })
    });
    opened.append_with_person(3, 1);
    opened.lake.seal_all().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let refusal = async {
        while opened.lake.trouble(Table::Persons).is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Some ticks.
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.send(true).unwrap();
    };
    tokio::join!(Arc::clone(&opened.lake).run_round_committer(stopped), refusal);
    opened.lake.finish().await.unwrap();
    assert_eq!((together.lock().unwrap().len(), waiting(&opened)[0]), (1, 3));
}

/// A pause of persons is one of events, whether tables are committed together or each by itself.
#[tokio::test]
async fn events_wait_while_what_they_refer_to_is_paused() {
    for in_rounds in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = open(folder.path(), 1);
        opened.append_with_person(3, 1);
        opened.lake.seal_all().unwrap();
        let (pauses, now_us) = (Arc::clone(opened.lake.pauses()), SystemClock.now_us());
        pauses.pause(Table::Persons, now_us, Duration::from_secs(3_600));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let waits_then_goes = async {
            while Table::ALL.iter().any(|table| opened.views.current().head(*table).is_none()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            // Some ticks.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let waiting = opened.views.current().tail(Table::Events, Slot::Main).rows();
            assert_eq!(waiting, 3, "in rounds: {in_rounds}");
            pauses.resume(Table::Persons, now_us);
            while !opened.lake.is_settled() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            stop.send(true).unwrap();
        };
        if in_rounds {
            tokio::join!(Arc::clone(&opened.lake).run_round_committer(stopped), waits_then_goes);
        } else {
            let each = Table::ALL.map(|table| Arc::clone(&opened.lake).run_committer(table, stopped.clone()));
            tokio::join!(futures::future::join_all(each), waits_then_goes);
        }
    }
}

async fn run_until_settled(opened: &Opened) {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let settled = async {
        while !opened.lake.is_settled() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Some ticks with nothing to commit.
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.send(true).unwrap();
    };
    tokio::join!(Arc::clone(&opened.lake).run_round_committer(stopped), settled);
}
