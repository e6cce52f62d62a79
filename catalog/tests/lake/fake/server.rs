//! Connections: one after another request is read, taken, and answered as far as its fault lets it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::http::{Response, read_request};
use super::state::{Delivery, State};

/// Serves until `stop` is sent or dropped. Has a runtime of its own, so that tests that block do not stop it.
pub(super) fn run(listener: std::net::TcpListener, state: Arc<Mutex<State>>, stop: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("cannot build a runtime");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("cannot listen");
        tokio::select! {
            _ = stop => {}
            () = accept(listener, state) => {}
        }
    });
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("cannot accept connections");
                connections.spawn(serve(stream, Arc::clone(&state)));
            }
            Some(served) = connections.join_next() => {
                // A panic of the fake is a mistake in a test, which must not pass for a lost connection.
                if let Err(error) = served && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
}

/// A connection ends when the client closes it, breaks it or says what the fake does not understand.
async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let _ = stream.set_nodelay(true);
    let hang = state.lock().settings.hang;
    let mut buffer = BytesMut::new();
    while let Ok(Some(request)) = read_request(&mut stream, &mut buffer).await {
        let delivery = state.lock().take(&request);
        let goes_on = deliver(&mut stream, delivery, request.is_head(), hang).await;
        if !goes_on.unwrap_or(false) {
            return;
        }
    }
}

/// Whether the connection goes on.
async fn deliver(stream: &mut TcpStream, delivery: Delivery, is_head: bool, hang: Duration) -> io::Result<bool> {
    match delivery {
        Delivery::Answer(answer) => {
            stream.write_all(&encoded(&answer, is_head)).await?;
            Ok(true)
        }
        Delivery::Half(answer) => {
            let encoded = encoded(&answer, is_head);
            let body = if is_head { 0 } else { answer.body.len() };
            // Without a body, half of the head is what is left to cut.
            let sent = if body == 0 { encoded.len() / 2 } else { encoded.len() - body + body / 2 };
            stream.write_all(&encoded[..sent]).await?;
            stream.shutdown().await?;
            Ok(false)
        }
        Delivery::Reset => {
            stream.set_zero_linger()?;
            Ok(false)
        }
        Delivery::Hang => {
            let _ = tokio::time::timeout(hang, until_closed(stream)).await;
            stream.set_zero_linger()?;
            Ok(false)
        }
    }
}

async fn until_closed(stream: &mut TcpStream) {
    let mut ignored = [0; 64];
    while stream.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}

fn encoded(answer: &Response, is_head: bool) -> Vec<u8> {
    let mut bytes = answer.head().into_bytes();
    if !is_head {
        bytes.extend_from_slice(&answer.body);
    }
    bytes
}
