//! Decoded manifest lists and manifests, by path. They never change, so nothing is ever stale.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{ManifestFile, Snapshot, TableMetadata};
use parking_lot::Mutex;

use crate::error::Result;
use crate::manifest::{LiveFile, read_manifest, read_manifest_list};
use crate::objects::Objects;

/// A manifest is at most 4 MiB while it is still merged.
const WRITTEN_BYTES_MAX: usize = 32 << 20;

/// Keeps the most recently used decoded metadata within a budget.
#[derive(Debug)]
pub struct MetadataCache {
    objects: Objects,
    lists: Mutex<Recent<Arc<[ManifestFile]>>>,
    manifests: Mutex<Recent<Arc<[LiveFile]>>>,
    /// Files that this process wrote and did not need to read yet.
    written: Mutex<Recent<Bytes>>,
}

impl MetadataCache {
    /// `entries_max` bounds the data files and manifests held, about 2 kB each.
    pub fn new(objects: Objects, entries_max: usize) -> MetadataCache {
        let recent = || Mutex::new(Recent::new(entries_max / 2));
        let manifests = Mutex::new(Recent::new(entries_max / 2));
        let written = Mutex::new(Recent::new(WRITTEN_BYTES_MAX));
        MetadataCache { objects, lists: recent(), manifests, written }
    }

    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Keeps the bytes of a metadata file that was written, so that the next commit need not fetch it.
    pub(crate) fn note_written(&self, location: &str, bytes: &Bytes) {
        self.written.lock().put(location, bytes.clone(), bytes.len());
    }

    async fn read(&self, location: &str) -> Result<Bytes> {
        let written = self.written.lock().take(location);
        match written {
            Some(bytes) => Ok(bytes),
            None => self.objects.read(location).await,
        }
    }

    /// The manifests of a snapshot.
    pub async fn manifest_list(&self, snapshot: &Snapshot, metadata: &TableMetadata) -> Result<Arc<[ManifestFile]>> {
        let location = snapshot.manifest_list();
        if let Some(list) = self.lists.lock().get(location) {
            return Ok(list);
        }
        let bytes = self.read(location).await?;
        let list: Arc<[ManifestFile]> = read_manifest_list(&bytes, metadata)?.into();
        self.lists.lock().put(location, Arc::clone(&list), list.len());
        Ok(list)
    }

    /// The live entries of a manifest, with inherited numbers filled in.
    pub async fn manifest(&self, manifest: &ManifestFile) -> Result<Arc<[LiveFile]>> {
        let location = manifest.manifest_path.as_str();
        if let Some(files) = self.manifests.lock().get(location) {
            return Ok(files);
        }
        let bytes = self.read(location).await?;
        let files: Arc<[LiveFile]> = read_manifest(&bytes, manifest)?.into();
        self.manifests.lock().put(location, Arc::clone(&files), files.len());
        Ok(files)
    }
}

/// A map that forgets the least recently used half when it is full.
#[derive(Debug)]
struct Recent<V> {
    entries: HashMap<String, (V, usize, u64)>,
    weight: usize,
    weight_max: usize,
    tick: u64,
}

impl<V: Clone> Recent<V> {
    fn new(weight_max: usize) -> Recent<V> {
        Recent { entries: HashMap::new(), weight: 0, weight_max, tick: 0 }
    }

    fn get(&mut self, key: &str) -> Option<V> {
        self.tick += 1;
        let (value, _, used) = self.entries.get_mut(key)?;
        *used = self.tick;
        Some(value.clone())
    }

    fn take(&mut self, key: &str) -> Option<V> {
        let (value, weight, _) = self.entries.remove(key)?;
        self.weight -= weight;
        Some(value)
    }

    fn put(&mut self, key: &str, value: V, weight: usize) {
        self.tick += 1;
        let weight = weight + 1;
        if let Some((_, replaced, _)) = self.entries.insert(key.to_owned(), (value, weight, self.tick)) {
            self.weight -= replaced;
        }
        self.weight += weight;
        if self.weight > self.weight_max {
            self.forget_older_half();
        }
    }

    fn forget_older_half(&mut self) {
        let mut used: Vec<u64> = self.entries.values().map(|(_, _, used)| *used).collect();
        used.sort_unstable();
        let median = used[used.len() / 2];
        self.entries.retain(|_, (_, _, used)| *used >= median);
        self.weight = self.entries.values().map(|(_, weight, _)| weight).sum();
    }
}
