//! As much of HTTP/1.1 as the clients of a catalog and of S3 use, made by hand so that an answer can be cut anywhere.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const HEADERS_MAX: usize = 64;

/// A request with its whole body.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Still percent-encoded, without the query.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The parts of the path between slashes, decoded.
    pub(super) fn segments(&self) -> Vec<String> {
        self.path.trim_start_matches('/').split('/').map(decode).collect()
    }
}

pub(super) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The next request of a connection; none once the client has closed it. `buffer` keeps what was read beyond it.
pub(super) async fn read_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Request>> {
    let (mut request, length) = loop {
        if let Some(read) = parse_head(buffer)? {
            break read;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    request.body = buffer.split_to(length).freeze();
    Ok(Some(request))
}

/// Takes a whole head out of the buffer; gives the length of its body too.
fn parse_head(buffer: &mut BytesMut) -> io::Result<Option<(Request, usize)>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_length = match parsed.parse(buffer).map_err(|error| invalid(error.to_string()))? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: parsed.headers.iter().map(|header| (header.name.to_lowercase(), text(header.value))).collect(),
        body: Bytes::new(),
    };
    if request.header("transfer-encoding").is_some() {
        return Err(invalid("the fake takes bodies of a stated length only".to_owned()));
    }
    let length = request.header("content-length").map_or(Ok(0), str::parse);
    let length = length.map_err(|_| invalid("content-length is no number".to_owned()))?;
    buffer.advance(head_length);
    Ok(Some((request, length)))
}

#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    /// An answer to HEAD states the length of this and leaves it out.
    pub(super) body: Bytes,
}

impl Response {
    pub(super) fn empty(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn with_body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response {
        Response { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    pub(super) fn text(status: u16, body: &str) -> Response {
        Response::with_body(status, "text/plain", body.to_owned())
    }

    pub(super) fn json(status: u16, body: &impl serde::Serialize) -> Response {
        Response::with_body(status, "application/json", serde_json::to_vec(body).expect("plain data"))
    }

    pub(super) fn xml(status: u16, body: &str) -> Response {
        let declared = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}");
        Response::with_body(status, "application/xml", declared)
    }

    pub(super) fn header(mut self, name: &'static str, value: impl ToString) -> Response {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Status line, headers and the empty line.
    pub(super) fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} -\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if ![204, 304].contains(&self.status) {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head
    }
}
