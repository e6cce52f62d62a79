//! A network between client and server that can cut an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// No cut.
const NEVER: usize = usize::MAX;

/// Passes connections on to a server; answers can be cut after a number of bytes, or delayed.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: String,
    faults: Arc<Faults>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Faults {
    cut_after_bytes: AtomicUsize,
    delay_ms: AtomicUsize,
    cuts: AtomicUsize,
    closing: AtomicBool,
}

impl Proxy {
    pub(crate) fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("cannot listen");
        let address = listener.local_addr().expect("address").to_string();
        let faults = Arc::new(Faults {
            cut_after_bytes: AtomicUsize::new(NEVER),
            delay_ms: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let (target, shared) = (target.to_owned(), Arc::clone(&faults));
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.closing.load(Ordering::SeqCst) {
                    break;
                }
                if let Ok(server) = TcpStream::connect(&target) {
                    join(client, server, &shared);
                }
            }
        });
        Proxy { address, faults, accepting: Some(accepting) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The client gets this many bytes of an answer, then a closed connection.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.faults.cut_after_bytes.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn pass(&self) {
        self.cut_after(NEVER);
        self.delay(Duration::ZERO);
    }

    /// Holds answers back this long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.faults.delay_ms.store(usize::try_from(delay.as_millis()).expect("short"), Ordering::SeqCst);
    }

    /// Answers cut so far.
    pub(crate) fn cuts(&self) -> usize {
        self.faults.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.faults.closing.store(true, Ordering::SeqCst);
        TcpStream::connect(&self.address).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
    }
}

fn join(client: TcpStream, server: TcpStream, faults: &Arc<Faults>) {
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else { return };
    std::thread::spawn(move || {
        std::io::copy(&mut from_client, &mut to_server).ok();
        to_server.shutdown(Shutdown::Write).ok();
    });
    let faults = Arc::clone(faults);
    std::thread::spawn(move || {
        pass_answer(server, &client, &faults);
        client.shutdown(Shutdown::Both).ok();
    });
}

fn pass_answer(mut server: TcpStream, mut client: &TcpStream, faults: &Faults) {
    let mut buffer = [0; 16 * 1024];
    let mut passed = 0;
    loop {
        let read = match server.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let delay = faults.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            std::thread::sleep(Duration::from_millis(delay as u64));
        }
        let left = faults.cut_after_bytes.load(Ordering::SeqCst).saturating_sub(passed);
        if client.write_all(&buffer[..read.min(left)]).is_err() {
            return;
        }
        if left < read {
            faults.cuts.fetch_add(1, Ordering::SeqCst);
            server.shutdown(Shutdown::Both).ok();
            return;
        }
        passed += read;
    }
}
