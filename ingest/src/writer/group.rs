//! One group: its rows, its frames, its answers.

use arrow::array::{Array, RecordBatch};
use hogflare_catalog::frame::Part;
use hogflare_catalog::{Slot, Table};

use super::batch::{Batch, dead_letter_bytes, event_bytes};
use super::{Request, Writer};
use crate::admission::OverloadReason;
use crate::identity::{ChangeRows, Identity, StateError};
use crate::ids::RandomIds;
use crate::ingest::{Ack, AppendError};
use crate::telemetry;
use crate::wal::LogError;

/// A group on its way: what is appended and not yet visible, and the open frame.
#[derive(Debug, Default)]
struct Group {
    appended: Vec<Part>,
    /// When the oldest request was received, microseconds since 1970.
    received_us: i64,
    /// Rough bytes of the rows in the open frame.
    frame_bytes: usize,
    /// The same since rows were last shown.
    unshown_bytes: usize,
    rows: u64,
}

/// Rows of a group that are held back until its sync; a request can make many times its own size of them.
const UNSHOWN_BYTES_MAX: usize = 16 << 20;

/// Why the rest of a request is not stored; what came before it is.
#[derive(Debug)]
enum Refused {
    Overloaded(OverloadReason),
    State(StateError),
}

impl From<Refused> for AppendError {
    fn from(refused: Refused) -> AppendError {
        match refused {
            Refused::Overloaded(reason) => AppendError::Overloaded(reason.now()),
            Refused::State(error) => AppendError::State(error.to_string()),
        }
    }
}

type Refusable<T> = Result<Result<T, Refused>, LogError>;

impl Writer {
    /// Writes all rows of the requests, makes them durable and visible, and answers. On an error the
    /// requests are answered with it.
    pub(super) fn write_group(&mut self, requests: Vec<Request>) -> Result<u64, LogError> {
        match self.log_group(&requests) {
            Ok((answers, rows)) => {
                requests.into_iter().zip(answers).for_each(|(request, answer)| request.answer(answer));
                Ok(rows)
            }
            Err(error) => {
                requests.into_iter().for_each(|request| request.answer(Err(AppendError::Stopped)));
                Err(error)
            }
        }
    }

    /// When this returns answers, everything that they acknowledge is durable and visible.
    fn log_group(&mut self, requests: &[Request]) -> Result<(Vec<Result<Ack, AppendError>>, u64), LogError> {
        assert!(self.builder.is_empty(), "every group starts with an empty frame");
        let received_us = requests.iter().map(|request| request.received_us).min().unwrap_or(0);
        let mut group = Group { received_us, ..Group::default() };
        self.log.begin_group();
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(self.add_request(&mut group, request)?.map_err(AppendError::from));
        }
        self.show(&mut group)?;
        let rows = group.rows;
        metrics::histogram!(telemetry::GROUP_ROWS).record(rows as f64);
        count(&answers);
        Ok((answers, rows))
    }

    fn add_request(&mut self, group: &mut Group, request: &Request) -> Refusable<Ack> {
        let batch = request.batch.as_ref();
        let mut ack = Ack::default();
        for index in 0..batch.events() {
            let key = request.keys[index];
            if key != 0 && self.dedup.contains(key) {
                ack.repeats += 1;
                continue;
            }
            if let Err(refused) = self.add_event(group, batch, index)? {
                return Ok(Err(refused));
            }
            if key != 0 {
                self.dedup.insert(batch.slot(index), key);
            }
            ack.stored += 1;
        }
        for index in 0..batch.dead_letters() {
            let row = batch.dead_letter(index);
            if let Err(refused) = self.make_room(group, dead_letter_bytes(&row))? {
                return Ok(Err(refused));
            }
            self.builder.push_dead_letter(Slot::Main, &row);
            ack.rejected += 1;
        }
        Ok(Ok(ack))
    }

    /// Adds an event with what it changes of persons and groups: all of it, in one frame.
    fn add_event(&mut self, group: &mut Group, batch: &dyn Batch, index: usize) -> Refusable<()> {
        let slot = batch.slot(index);
        let mut row = batch.event(index);
        let (Some(identity), Some(event)) = (&self.identity, batch.identity(index)) else {
            if let Err(refused) = self.make_room(group, event_bytes(&row))? {
                return Ok(Err(refused));
            }
            self.builder.push_event(slot, &row);
            return Ok(Ok(()));
        };
        let resolved = match identity.resolve(&event) {
            Ok(resolved) => resolved,
            Err(error) => return Ok(Err(Refused::State(error))),
        };
        resolved.stamp(&mut row);
        let rows = ChangeRows::new(&event, &resolved.changes, &mut RandomIds);
        if let Err(refused) = self.make_room(group, event_bytes(&row) + rows.bytes())? {
            return Ok(Err(refused));
        }
        self.builder.push_event(slot, &row);
        rows.push(&mut self.builder);
        if let Some(identity) = &mut self.identity {
            identity.keep(event.project, resolved.changes);
        }
        Ok(Ok(()))
    }

    /// Ends the open frame if the rows would make it too large, and makes sure that the log can take the
    /// next one before its first row gets a position: so no position is given that is not logged.
    fn make_room(&mut self, group: &mut Group, row_bytes: usize) -> Refusable<()> {
        if group.unshown_bytes > UNSHOWN_BYTES_MAX {
            self.show(group)?;
            if let Some(reason) = self.pressure() {
                return Ok(Err(Refused::Overloaded(reason)));
            }
        }
        if group.frame_bytes > 0 && group.frame_bytes + row_bytes > self.frame_bytes {
            self.end_frame(group)?;
        }
        if group.frame_bytes == 0 && !self.ensure_room(row_bytes)? {
            return Ok(Err(Refused::Overloaded(OverloadReason::LogFull)));
        }
        group.frame_bytes += row_bytes;
        group.unshown_bytes += row_bytes;
        group.rows += 1;
        Ok(Ok(()))
    }

    fn end_frame(&mut self, group: &mut Group) -> Result<(), LogError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let mut parts = self.builder.finish();
        parts.iter_mut().for_each(shrink);
        self.log.append(group.received_us, &parts)?;
        group.appended.extend(parts);
        group.frame_bytes = 0;
        Ok(())
    }

    /// Makes what was added durable, and shows it.
    fn show(&mut self, group: &mut Group) -> Result<(), LogError> {
        self.end_frame(group)?;
        self.log.sync()?;
        group.unshown_bytes = 0;
        let appended = std::mem::take(&mut group.appended);
        if appended.is_empty() {
            return Ok(());
        }
        let ends: Vec<(Slot, Table, u64)> =
            appended.iter().map(|part| (part.slot, part.table, part.last_position())).collect();
        self.views.publish_group(appended, group.received_us)?;
        for (slot, table, position) in ends {
            self.positions.set_durable(slot, table, position);
        }
        match &mut self.identity {
            Some(identity) => identity.hand_over(&self.builder.next_positions()).map_err(LogError::from),
            None => Ok(()),
        }
    }

    /// Why the rest of a request has to come again later, if so.
    fn pressure(&self) -> Option<OverloadReason> {
        if self.identity.as_ref().is_some_and(Identity::is_full) {
            return Some(OverloadReason::State);
        }
        let is_full = self.views.tail_bytes() >= self.admission.settings.tail_bytes_max;
        is_full.then_some(OverloadReason::Tail)
    }
}

/// Builders leave up to twice the memory that the rows need.
fn shrink(part: &mut Part) {
    let schema = part.batch.schema();
    let batch = std::mem::replace(&mut part.batch, RecordBatch::new_empty(schema));
    let (schema, mut columns, _) = batch.into_parts();
    columns.iter_mut().for_each(|column| column.shrink_to_fit());
    part.batch = RecordBatch::try_new(schema, columns).expect("the same columns as before");
}

fn count(answers: &[Result<Ack, AppendError>]) {
    let sum = |field: fn(&Ack) -> u64| answers.iter().flatten().map(field).sum::<u64>();
    metrics::counter!(telemetry::EVENTS, "outcome" => "accepted").increment(sum(|ack| ack.stored));
    metrics::counter!(telemetry::EVENTS, "outcome" => "repeat").increment(sum(|ack| ack.repeats));
    metrics::counter!(telemetry::EVENTS, "outcome" => "rejected").increment(sum(|ack| ack.rejected));
}
