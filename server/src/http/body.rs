//! Reading a body within its limits, charged to the budget of all requests as it grows.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::BytesMut;
use hogflare_ingest::{BytesPermit, Ingest, Overloaded};
use http_body_util::BodyExt;

/// Charged for a body of unknown length before its first byte.
const FIRST_CHARGE_BYTES: usize = 4 * 1024;
/// How much of a refused body is still read, and for how long.
const DRAIN_BYTES_MAX: usize = 64 << 20;
/// How long a body may take, and how long it may say nothing.
const BODY_LIMIT: Duration = Duration::from_secs(60);
const FRAME_LIMIT: Duration = Duration::from_secs(15);
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum ReadError {
    TooLarge {
        limit_bytes: usize,
    },
    Overloaded(Overloaded),
    TooSlow,
    /// The client went away or broke the framing.
    Broken,
}

impl From<Overloaded> for ReadError {
    fn from(overloaded: Overloaded) -> ReadError {
        ReadError::Overloaded(overloaded)
    }
}

/// Reads the whole body. One that is refused is read on and thrown away, so that the client, which
/// is still sending, gets to see the answer.
pub(super) async fn read(
    ingest: &Ingest,
    headers: &HeaderMap,
    mut body: Body,
    limit_bytes: usize,
) -> Result<(Bytes, BytesPermit), ReadError> {
    let read = read_within(ingest, headers, &mut body, limit_bytes).await;
    if matches!(read, Err(ReadError::TooLarge { .. } | ReadError::Overloaded(_))) {
        let _ = tokio::time::timeout(DRAIN_LIMIT, drain(&mut body)).await;
    }
    read
}

async fn drain(body: &mut Body) {
    let mut left_bytes = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if bytes > left_bytes {
            return;
        }
        left_bytes -= bytes;
    }
}

async fn read_within(
    ingest: &Ingest,
    headers: &HeaderMap,
    body: &mut Body,
    limit_bytes: usize,
) -> Result<(Bytes, BytesPermit), ReadError> {
    let stated = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if stated.is_some_and(|stated| stated > limit_bytes) {
        return Err(ReadError::TooLarge { limit_bytes });
    }
    // Charged as it arrives, not as announced: an announcement costs the sender nothing.
    let mut permit = ingest.reserve(FIRST_CHARGE_BYTES)?;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let deadline = tokio::time::Instant::now() + BODY_LIMIT;
    loop {
        let patience = deadline.min(tokio::time::Instant::now() + FRAME_LIMIT);
        let frame = tokio::time::timeout_at(patience, body.frame()).await.map_err(|_| ReadError::TooSlow)?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| ReadError::Broken)?.into_data() else { continue };
        if first.is_empty() {
            permit.grow_to(data.len())?;
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(first.len() + data.len());
            rest.extend_from_slice(&first);
        }
        if rest.len() + data.len() > limit_bytes {
            return Err(ReadError::TooLarge { limit_bytes });
        }
        permit.grow_to(rest.len() + data.len())?;
        rest.extend_from_slice(&data);
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    if bytes.len() > limit_bytes {
        return Err(ReadError::TooLarge { limit_bytes });
    }
    permit.grow_to(bytes.len())?;
    Ok((bytes, permit))
}

/// What a gzip body says it inflates to, so that room can be taken before. It may lie; the decoder's
/// own limit holds nevertheless.
pub(super) fn stated_inflated_bytes(body: &[u8]) -> usize {
    match body {
        [0x1f, 0x8b, 8, .., a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    }
}
