//! The routes of S3, path style: `/<bucket>/<key>`.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};

use super::fault::Step;
use super::http::{Request, Response, decode};
use super::objects::{Object, UploadError};
use super::state::State;
use super::xml::{self, element};

const KEYS_PER_PAGE: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    List,
    DeleteMany,
    Put(String),
    Get(String),
    Head(String),
    Delete(String),
    StartUpload(String),
    PutPart(String, u32),
    FinishUpload(String, String),
    AbortUpload(String),
    Unknown,
}

impl Operation {
    pub(super) fn of(request: &Request, bucket: &str) -> Operation {
        let path = request.path.trim_start_matches('/');
        let (first, key) = path.split_once('/').unwrap_or((path, ""));
        if decode(first) != bucket {
            return Operation::Unknown;
        }
        let key = decode(key);
        let upload = request.query("uploadId").map(str::to_owned);
        let part = request.query("partNumber").and_then(|number| number.parse().ok());
        match (request.method.as_str(), key.is_empty(), upload, part) {
            ("GET", true, ..) => Operation::List,
            ("POST", true, ..) if request.query("delete").is_some() => Operation::DeleteMany,
            (_, true, ..) => Operation::Unknown,
            ("POST", _, Some(id), _) => Operation::FinishUpload(key, id),
            ("POST", ..) if request.query("uploads").is_some() => Operation::StartUpload(key),
            ("PUT", _, Some(id), Some(number)) => Operation::PutPart(id, number),
            ("DELETE", _, Some(id), _) => Operation::AbortUpload(id),
            ("PUT", ..) if request.header("x-amz-copy-source").is_none() => Operation::Put(key),
            ("GET", ..) => Operation::Get(key),
            ("HEAD", ..) => Operation::Head(key),
            ("DELETE", ..) => Operation::Delete(key),
            _ => Operation::Unknown,
        }
    }

    pub(super) fn step(&self) -> Step {
        match self {
            Operation::List => Step::List,
            Operation::Put(_) => Step::Put,
            Operation::Get(_) => Step::Get,
            Operation::Head(_) => Step::Head,
            Operation::Delete(_) | Operation::DeleteMany => Step::Delete,
            Operation::StartUpload(_)
            | Operation::PutPart(..)
            | Operation::FinishUpload(..)
            | Operation::AbortUpload(_) => Step::Multipart,
            Operation::Unknown => Step::Other,
        }
    }
}

impl State {
    pub(super) fn answer_storage(&mut self, operation: &Operation, request: &Request) -> Response {
        if let Err(refused) = self.access.check_keys(request, &self.settings, self.settings.clock.now_us()) {
            self.refused_keys += 1;
            return *refused;
        }
        match operation {
            Operation::List => self.list(request),
            Operation::Put(key) => self.put(key, request),
            Operation::Get(key) | Operation::Head(key) => match self.objects.get(key) {
                Some(object) => read(object, request),
                None => xml::error(404, "NoSuchKey", "The specified key does not exist."),
            },
            Operation::Delete(key) => {
                self.objects.remove(key);
                Response::empty(204)
            }
            Operation::DeleteMany => self.delete_many(request),
            Operation::Unknown => xml::error(501, "NotImplemented", "The fake does not do this."),
            _ => self.upload(operation, request).unwrap_or_else(refuse_upload),
        }
    }

    fn put(&mut self, key: &str, request: &Request) -> Response {
        if self.must_not_replace(key, request) {
            return xml::error(412, "PreconditionFailed", "The object exists.");
        }
        let object = self.objects.put(key, request.body.clone(), self.settings.clock.now_ms());
        Response::empty(200).header("etag", &object.etag)
    }

    fn must_not_replace(&self, key: &str, request: &Request) -> bool {
        let creates = self.settings.vice != Some(super::Vice::OverwritesObjects);
        creates && request.header("if-none-match") == Some("*") && self.objects.get(key).is_some()
    }

    fn upload(&mut self, operation: &Operation, request: &Request) -> Result<Response, UploadError> {
        let bucket = element("Bucket", &self.settings.bucket);
        match operation {
            Operation::StartUpload(key) => {
                let id = element("UploadId", &self.objects.start_upload(key));
                let key = element("Key", key);
                let answer =
                    format!("<InitiateMultipartUploadResult>{bucket}{key}{id}</InitiateMultipartUploadResult>");
                Ok(Response::xml(200, &answer))
            }
            Operation::PutPart(id, number) => {
                let etag = self.objects.put_part(id, *number, request.body.clone())?;
                Ok(Response::empty(200).header("etag", etag))
            }
            Operation::FinishUpload(key, _) if self.must_not_replace(key, request) => {
                Ok(xml::error(412, "PreconditionFailed", "The object exists."))
            }
            Operation::FinishUpload(key, id) => {
                let body = String::from_utf8_lossy(&request.body);
                let listed = xml::inside(&body, "Part").into_iter().map(|part| {
                    let number = xml::text(part, "PartNumber").and_then(|number| number.parse().ok());
                    Some((number?, xml::text(part, "ETag")?))
                });
                let listed: Option<Vec<(u32, String)>> = listed.collect();
                let (size, now_ms) = (self.settings.part_bytes_min, self.settings.clock.now_ms());
                let listed = listed.ok_or(UploadError::InvalidPart)?;
                let object = self.objects.finish_upload(id, &listed, size, now_ms)?;
                let (key, etag) = (element("Key", key), element("ETag", &object.etag));
                let answer =
                    format!("<CompleteMultipartUploadResult>{bucket}{key}{etag}</CompleteMultipartUploadResult>");
                Ok(Response::xml(200, &answer))
            }
            Operation::AbortUpload(id) => self.objects.abort_upload(id).map(|()| Response::empty(204)),
            _ => unreachable!("{operation:?} is no step of an upload"),
        }
    }

    fn delete_many(&mut self, request: &Request) -> Response {
        let body = String::from_utf8_lossy(&request.body);
        let mut deleted = String::new();
        for key in xml::inside(&body, "Key") {
            let key = xml::unescape(key);
            self.objects.remove(&key);
            deleted.push_str(&format!("<Deleted>{}</Deleted>", element("Key", &key)));
        }
        Response::xml(200, &format!("<DeleteResult>{deleted}</DeleteResult>"))
    }

    /// ListObjectsV2. A continuation token is the last key or common prefix of the page before.
    fn list(&self, request: &Request) -> Response {
        let prefix = request.query("prefix").unwrap_or_default();
        let delimiter = request.query("delimiter").filter(|delimiter| !delimiter.is_empty());
        let asked = request.query("max-keys").and_then(|keys| keys.parse().ok());
        let keys_max = asked.unwrap_or(KEYS_PER_PAGE).min(KEYS_PER_PAGE);
        let continued = request.query("continuation-token");
        let after = continued.or_else(|| request.query("start-after"));

        let (mut entries, mut last, mut count, mut more) = (String::new(), String::new(), 0, false);
        for key in self.objects.keys_after(prefix, after) {
            // All keys below a common prefix stand for one entry.
            let folder = delimiter.and_then(|delimiter| {
                let below = &key[prefix.len()..];
                below.find(delimiter).map(|end| &key[..prefix.len() + end + delimiter.len()])
            });
            let name = folder.unwrap_or(key);
            if name == last || folder.is_some_and(|folder| continued == Some(folder)) {
                continue;
            }
            if count == keys_max {
                more = true;
                break;
            }
            entries.push_str(&match folder {
                Some(folder) => format!("<CommonPrefixes>{}</CommonPrefixes>", element("Prefix", folder)),
                None => self.listed(key),
            });
            last = name.to_owned();
            count += 1;
        }
        let next = if more { element("NextContinuationToken", &last) } else { String::new() };
        let (name, prefix) = (element("Name", &self.settings.bucket), element("Prefix", prefix));
        let counted = format!("<KeyCount>{count}</KeyCount><IsTruncated>{more}</IsTruncated>");
        Response::xml(200, &format!("<ListBucketResult>{name}{prefix}{counted}{next}{entries}</ListBucketResult>"))
    }

    fn listed(&self, key: &str) -> String {
        let object = self.objects.get(key).expect("a listed key has an object");
        let modified = time_of(object).to_rfc3339_opts(SecondsFormat::Millis, true);
        let (key, modified) = (element("Key", key), element("LastModified", &modified));
        let (etag, size) = (element("ETag", &object.etag), object.bytes.len());
        format!("<Contents>{key}{modified}{etag}<Size>{size}</Size></Contents>")
    }
}

/// An object or a range of it.
fn read(object: &Object, request: &Request) -> Response {
    if request.header("if-match").is_some_and(|etag| etag != "*" && etag != object.etag) {
        return xml::error(412, "PreconditionFailed", "The object is another one.");
    }
    let length = object.bytes.len();
    let modified = time_of(object).format("%a, %d %b %Y %H:%M:%S GMT");
    let described = |status, bytes: Bytes| {
        let answer = Response::with_body(status, "application/octet-stream", bytes);
        answer.header("etag", &object.etag).header("last-modified", modified).header("accept-ranges", "bytes")
    };
    match request.header("range").map(|range| range_of(range, length)) {
        None => described(200, object.bytes.clone()),
        Some(Some((start, end))) => described(206, object.bytes.slice(start..end))
            .header("content-range", format!("bytes {start}-{}/{length}", end - 1)),
        Some(None) => xml::error(416, "InvalidRange", "The requested range is not satisfiable")
            .header("content-range", format!("bytes */{length}")),
    }
}

/// `bytes=2-5`, `bytes=2-` or `bytes=-4` as start and end, the end excluded.
fn range_of(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, length.min(last.saturating_add(1))),
        (Ok(first), Err(_)) => (first, length),
        (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length),
        (Err(_), Err(_)) => return None,
    };
    (start < end).then_some((start, end))
}

fn time_of(object: &Object) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(object.modified_ms).unwrap_or_default()
}

fn refuse_upload(error: UploadError) -> Response {
    match error {
        UploadError::NoSuchUpload => xml::error(404, "NoSuchUpload", "The specified upload does not exist."),
        UploadError::InvalidPart => xml::error(400, "InvalidPart", "All non-trailing parts must have the same length."),
        UploadError::EntityTooSmall => xml::error(400, "EntityTooSmall", "A part is smaller than allowed."),
    }
}
