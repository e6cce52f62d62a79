//! What the storage holds: objects by key, and uploads that are not finished.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Bound;

use bytes::Bytes;

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    /// In quotes, as it is sent.
    pub(super) etag: String,
    pub(super) modified_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Objects {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    uploads_started: usize,
}

/// Parts by number.
#[derive(Debug)]
struct Upload {
    key: String,
    parts: BTreeMap<u32, Bytes>,
}

/// Why an upload cannot be finished, in the storage's words.
#[derive(Clone, Copy, Debug)]
pub(super) enum UploadError {
    NoSuchUpload,
    InvalidPart,
    EntityTooSmall,
}

impl Objects {
    pub(super) fn get(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)
    }

    pub(super) fn put(&mut self, key: &str, bytes: Bytes, modified_ms: i64) -> &Object {
        let object = Object { etag: etag_of(&bytes), bytes, modified_ms };
        self.objects.insert(key.to_owned(), object);
        &self.objects[key]
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.objects.remove(key).is_some()
    }

    /// Keys with a prefix, in order.
    pub(super) fn keys<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a String> {
        self.keys_after(prefix, None)
    }

    /// Keys with a prefix that come after another, in order.
    pub(super) fn keys_after<'a>(&'a self, prefix: &'a str, after: Option<&str>) -> impl Iterator<Item = &'a String> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(prefix.to_owned()),
        };
        let keys = self.objects.range((start, Bound::Unbounded)).map(|(key, _)| key);
        keys.take_while(move |key| key.starts_with(prefix))
    }

    pub(super) fn sizes(&self) -> BTreeMap<String, u64> {
        self.objects.iter().map(|(key, object)| (key.clone(), object.bytes.len() as u64)).collect()
    }

    pub(super) fn start_upload(&mut self, key: &str) -> String {
        self.uploads_started += 1;
        let id = format!("upload-{}", self.uploads_started);
        self.uploads.insert(id.clone(), Upload { key: key.to_owned(), parts: BTreeMap::new() });
        id
    }

    /// Gives the part's tag.
    pub(super) fn put_part(&mut self, id: &str, number: u32, bytes: Bytes) -> Result<String, UploadError> {
        let upload = self.uploads.get_mut(id).ok_or(UploadError::NoSuchUpload)?;
        let etag = etag_of(&bytes);
        upload.parts.insert(number, bytes);
        Ok(etag)
    }

    /// Joins the listed parts by R2's rule: all but the last are of one size, and the last is not larger.
    pub(super) fn finish_upload(
        &mut self,
        id: &str,
        listed: &[(u32, String)],
        part_bytes_min: usize,
        modified_ms: i64,
    ) -> Result<&Object, UploadError> {
        let upload = self.uploads.get(id).ok_or(UploadError::NoSuchUpload)?;
        let mut parts = Vec::new();
        for (number, etag) in listed {
            let part = upload.parts.get(number).ok_or(UploadError::InvalidPart)?;
            if etag_of(part) != *etag {
                return Err(UploadError::InvalidPart);
            }
            parts.push(part);
        }
        let (last, others) = parts.split_last().ok_or(UploadError::InvalidPart)?;
        let size = others.first().map_or(last.len(), |first| first.len());
        if others.iter().any(|part| part.len() != size) || last.len() > size {
            return Err(UploadError::InvalidPart);
        }
        if !others.is_empty() && size < part_bytes_min {
            return Err(UploadError::EntityTooSmall);
        }
        let bytes: Vec<u8> = parts.into_iter().flatten().copied().collect();
        let key = upload.key.clone();
        self.uploads.remove(id);
        Ok(self.put(&key, Bytes::from(bytes), modified_ms))
    }

    pub(super) fn abort_upload(&mut self, id: &str) -> Result<(), UploadError> {
        self.uploads.remove(id).map(|_| ()).ok_or(UploadError::NoSuchUpload)
    }

    pub(super) fn unfinished_uploads(&self) -> usize {
        self.uploads.len()
    }
}

fn etag_of(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("\"{:016x}\"", hasher.finish())
}
