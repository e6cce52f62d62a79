//! The handle that requests use, and the way from a folder to a running writer.

mod recovery;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use hogflare_catalog::tables::{SLOTS, TABLES};
use hogflare_catalog::{Clock, Views, WriterId};
use tokio::sync::oneshot;

use crate::admission::{Admission, AdmissionSettings, BytesPermit, Health, OverloadReason, Overloaded};
use crate::dedup::{GENERATION_KEYS, Hash, Key};
use crate::disk::Disk;
use crate::identity::{Missing, Opening, State, StateSettings, StateWriter};
use crate::telemetry;
use crate::wal::{BODY_BYTES_MAX, FrameStall, LogError, LogPositions, Positions};
use crate::writer::{Batch, Request, Writer, WriterParts, dead_letter_bytes, event_bytes};

/// How long a request waits for room in the tail before it is refused.
const WAIT_FOR_ROOM_MAX: Duration = Duration::from_secs(2);
const WAIT_FOR_ROOM_STEP: Duration = Duration::from_millis(5);
/// What a frame's body may hold beside rows: the metadata of its batches.
const FRAME_OVERHEAD_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub struct IngestSettings {
    /// The log is its subfolder `wal`, the keys of stored events `dedup`.
    pub data_folder: PathBuf,
    /// Identity of the log folder.
    pub writer: WriterId,
    /// Seeds the hash of dedup keys; another one forgets the window.
    pub hash_key: [u8; 16],
    pub admission: AdmissionSettings,
    /// Disk space of the log and of sealed files together. Above it events are refused with 503.
    pub wal_bytes_max: u64,
    /// Allocated when a segment of the log is opened.
    pub segment_bytes: u64,
    /// Rows of one frame; more rows make more frames.
    pub frame_bytes: usize,
    /// Largest row, with all its columns. Must fit the body of a frame, 4 MiB.
    pub row_bytes_max: usize,
    /// Keys in a generation of the dedup window, of which it keeps eight for each slot.
    pub dedup_generation_keys: usize,
    /// For tests that kill the process.
    pub frame_stall: Option<FrameStall>,
}

impl IngestSettings {
    pub fn new(data_folder: PathBuf, writer: WriterId, hash_key: [u8; 16]) -> IngestSettings {
        IngestSettings {
            data_folder,
            writer,
            hash_key,
            admission: AdmissionSettings::default(),
            wal_bytes_max: 10 << 30,
            segment_bytes: 64 << 20,
            frame_bytes: 1 << 20,
            row_bytes_max: 3 << 20,
            dedup_generation_keys: GENERATION_KEYS,
            frame_stall: None,
        }
    }

    /// More than any frame takes in a segment, with the schemas that may stand before it.
    fn frame_room_bytes(&self) -> u64 {
        (self.frame_bytes.max(self.row_bytes_max) + 2 * FRAME_OVERHEAD_BYTES) as u64
    }

    fn check(&self) {
        let body_bytes = self.frame_bytes.max(self.row_bytes_max) + FRAME_OVERHEAD_BYTES;
        assert!(body_bytes <= BODY_BYTES_MAX, "frame_bytes and row_bytes_max must fit the body of a frame");
        assert!(self.segment_bytes >= 2 * self.frame_room_bytes(), "segment_bytes must hold several frames");
    }
}

/// Where rows come from and go to.
#[derive(Clone, Debug)]
pub struct IngestParts {
    pub disk: Arc<dyn Disk>,
    pub views: Arc<Views>,
    pub clock: Arc<dyn Clock>,
    /// Where persons and groups are known. Without it events keep the person ids that they come with.
    pub state: Option<StateSettings>,
}

/// What the catalog knows when the log is opened.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct Replay<'a> {
    /// Rows up to these positions are in their tables or in sealed files: they are not published.
    pub covered: Positions,
    /// Rows in memory above which `on_pressure` is called.
    pub pressure_bytes: u64,
    /// Makes room by sealing published rows. Called between frames, while the log is read.
    pub on_pressure: &'a dyn Fn(),
}

impl Replay<'_> {
    /// Nothing is known: all rows of the log are published.
    pub fn of_everything() -> Replay<'static> {
        Replay { covered: [[0; TABLES]; SLOTS], pressure_bytes: u64::MAX, on_pressure: &|| {} }
    }
}

/// What was found in the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub segments: usize,
    pub frames: u64,
    /// Rows in the log.
    pub rows: u64,
    /// Those of them that are visible again; the others were covered.
    pub published_rows: u64,
    /// Bytes of frames that were being written when the last process ended: never acknowledged.
    pub cut_bytes: u64,
    /// Keys in the dedup window.
    pub dedup_keys: usize,
    /// Position of the next row.
    pub next: Positions,
}

/// What became of the rows of a request. All of it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    pub stored: u64,
    /// Events that were stored before: by this request, or by one that it retries.
    pub repeats: u64,
    /// Dead letters.
    pub rejected: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Some of the rows may be stored all the same; a retry finds them as repeats.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// Nothing was stored. Dead letters are counted behind the events.
    #[error("row {index} takes {bytes} bytes, more than {limit_bytes}")]
    RowTooLarge { index: usize, bytes: usize, limit_bytes: usize },
    /// Some of the rows may be stored all the same; a retry finds them as repeats.
    #[error("persons cannot be looked up: {0}")]
    State(String),
    /// The writer ended before it could say whether the rows are durable.
    #[error("the writer has ended; a restart recovers")]
    Stopped,
}

/// Takes rows and says when they are durable and visible. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    queue: SyncSender<Request>,
    admission: Arc<Admission>,
    clock: Arc<dyn Clock>,
    positions: LogPositions,
    hash: Hash,
    row_bytes_max: usize,
    state: Option<State>,
}

/// What was opened: the handle, what runs on threads of its own, and what was found.
#[derive(Debug)]
pub struct Opened {
    pub ingest: Ingest,
    pub writer: Writer,
    /// Ends after the writer.
    pub state_writer: Option<StateWriter>,
    pub recovered: Recovered,
}

impl Ingest {
    /// Recovers the log, the dedup window and the state, publishes the rows that are not covered, and makes
    /// the writers. The caller runs each on a thread of its own. A full disk is no error here: then events are
    /// refused until there is room.
    pub fn open(settings: IngestSettings, parts: IngestParts, replay: Replay<'_>) -> Result<Opened, LogError> {
        settings.check();
        let (sender, receiver) = sync_channel(settings.admission.queue_requests_max);
        let admission = Admission::new(settings.admission.clone(), Arc::clone(&parts.views));
        let hash = Hash::new(&settings.hash_key);
        let positions = LogPositions::default();
        let mut opening = parts.state.clone().map(Opening::open).transpose()?;
        let recovery = recovery::Recovery { settings: &settings, parts: &parts, hash: &hash, replay };
        let (log, dedup, recovered) = recovery.run(&positions, opening.as_mut())?;
        let (state, identity, state_writer) = match opening.map(|opening| opening.finish(&positions)).transpose()? {
            Some((state, identity, writer)) => (Some(state), Some(identity), Some(writer)),
            None => (None, None, None),
        };
        let ingest = Ingest {
            queue: sender,
            admission: Arc::clone(&admission),
            clock: Arc::clone(&parts.clock),
            positions: positions.clone(),
            hash,
            row_bytes_max: settings.row_bytes_max,
            state,
        };
        let writer = Writer::new(WriterParts {
            queue: receiver,
            admission,
            views: parts.views,
            log,
            positions,
            dedup,
            identity,
            writer_id: settings.writer.clone(),
            next: recovered.next,
            frame_bytes: settings.frame_bytes,
        });
        Ok(Opened { ingest, writer, state_writer, recovered })
    }

    /// Persons and groups as far as they are known, if they are.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Room for a request, to be taken before its body is read.
    pub fn reserve(&self, bytes: usize) -> Result<BytesPermit, Overloaded> {
        BytesPermit::take(&self.admission, bytes)
    }

    /// Stores the rows of a request. When it returns `Ok`, they survive a power failure, queries see
    /// them, and each will be in its table exactly once.
    pub async fn append(&self, batch: Box<dyn Batch>, permit: BytesPermit) -> Result<Ack, AppendError> {
        let events = batch.events() as u64;
        self.wait_for_room().await;
        if let Some((state, missing)) = self.missing(batch.as_ref())? {
            let looked_up = state.prefetch(missing).await;
            looked_up.map_err(|error| AppendError::State(error.to_string()))?;
        }
        let answer = self.enqueue(batch, permit).inspect_err(|_| {
            metrics::counter!(telemetry::EVENTS, "outcome" => "overloaded").increment(events);
        })?;
        answer.await.unwrap_or(Err(AppendError::Stopped))
    }

    /// What the writer would have to read from the state file for the request.
    fn missing(&self, batch: &dyn Batch) -> Result<Option<(State, Missing)>, AppendError> {
        let Some(state) = &self.state else { return Ok(None) };
        if state.is_full() {
            return Err(OverloadReason::State.now().into());
        }
        let missing = state.missing((0..batch.events()).filter_map(|index| batch.identity(index)));
        Ok((!missing.is_empty()).then(|| (state.clone(), missing)))
    }

    /// Rows are sealed within fractions of a second: a request that is already here waits for that
    /// rather than being sent away. What waits is bounded by the bytes of all requests.
    async fn wait_for_room(&self) {
        let full = || self.admission.check().is_err_and(|refused| refused.reason == OverloadReason::Tail);
        let deadline = tokio::time::Instant::now() + WAIT_FOR_ROOM_MAX;
        while full() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(WAIT_FOR_ROOM_STEP).await;
        }
    }

    /// Looks at every row and hands the request to the writer.
    pub(crate) fn enqueue(
        &self,
        batch: Box<dyn Batch>,
        permit: BytesPermit,
    ) -> Result<oneshot::Receiver<Result<Ack, AppendError>>, AppendError> {
        self.admission.check()?;
        let (keys, bytes) = self.examine(batch.as_ref())?;
        let (reply, answer) = oneshot::channel();
        let received_us = self.clock.now_us();
        self.admission.queued.fetch_add(1, Ordering::Relaxed);
        let sent = self.queue.try_send(Request { batch, keys, bytes, received_us, reply, _permit: permit });
        sent.map_err(|error| {
            self.admission.queued.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => OverloadReason::Queue.now(),
                TrySendError::Disconnected(_) => OverloadReason::Stopping.now(),
            }
        })?;
        Ok(answer)
    }

    /// The dedup key of each event, and the bytes of all rows. Done here, in parallel, and not in the
    /// writer.
    fn examine(&self, batch: &dyn Batch) -> Result<(Vec<Key>, usize), AppendError> {
        let limit_bytes = self.row_bytes_max;
        let check = |index: usize, bytes: usize| match bytes {
            bytes if bytes > limit_bytes => Err(AppendError::RowTooLarge { index, bytes, limit_bytes }),
            bytes => Ok(bytes),
        };
        let mut keys = Vec::with_capacity(batch.events());
        let mut sum = 0;
        for index in 0..batch.events() {
            let row = batch.event(index);
            sum += check(index, event_bytes(&row))?;
            let key = if batch.has_own_uuid(index) { self.hash.of_row(&row) } else { None };
            keys.push(key.unwrap_or(0));
        }
        for index in 0..batch.dead_letters() {
            sum += check(batch.events() + index, dead_letter_bytes(&batch.dead_letter(index)))?;
        }
        Ok((keys, sum))
    }

    /// Refuses new requests. The writer answers those that wait and ends.
    pub fn stop(&self) {
        self.admission.set_health(Health::Stopping);
    }

    pub fn health(&self) -> Health {
        self.admission.health()
    }

    /// For whoever commits: what is durable, and what the log need not keep.
    pub fn positions(&self) -> &LogPositions {
        &self.positions
    }
}
