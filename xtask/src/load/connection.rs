//! One keep-alive connection, HTTP/1.1 by hand: the generator must cost little beside the server.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const ANSWER_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 32 << 10;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    head: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) fn open(url: &str, path: &str, gzip: bool) -> Result<Self> {
        let address = url.strip_prefix("http://").context("the address must begin with http://")?;
        let mut resolved = address.to_socket_addrs().with_context(|| format!("no such address: {address}"))?;
        let loopback = resolved.find(|address| address.ip().is_loopback());
        let loopback = loopback.with_context(|| format!("load goes to this machine only, not to {address}"))?;
        let stream = TcpStream::connect(loopback).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let encoding = if gzip { "content-encoding: gzip\r\n" } else { "" };
        let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{encoding}");
        Ok(Connection { stream, head, request: Vec::new(), answer: Vec::new() })
    }

    /// Sends a body and returns the status of the answer.
    pub(super) fn post(&mut self, body: &[u8]) -> Result<u16> {
        self.request.clear();
        write!(self.request, "{}content-length: {}\r\n\r\n", self.head, body.len())?;
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request)?;
        self.read_answer()
    }

    fn read_answer(&mut self) -> Result<u16> {
        self.answer.clear();
        let head_end = loop {
            if let Some(at) = self.answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more()?;
        };
        let head = std::str::from_utf8(&self.answer[..head_end])?;
        let status = head.get(9..12).context("no status")?.parse()?;
        let length: usize = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .context("no content-length")?
            .1
            .trim()
            .parse()?;
        while self.answer.len() < head_end + length {
            self.read_more()?;
        }
        Ok(status)
    }

    /// Of the last answer, with its head.
    pub(super) fn answer_bytes(&self) -> usize {
        self.answer.len()
    }

    fn read_more(&mut self) -> Result<()> {
        ensure!(self.answer.len() < ANSWER_BYTES_MAX, "the answer is too long");
        let mut buffer = [0; READ_BYTES];
        let read = self.stream.read(&mut buffer)?;
        ensure!(read > 0, "the server closed the connection");
        self.answer.extend_from_slice(&buffer[..read]);
        Ok(())
    }
}
