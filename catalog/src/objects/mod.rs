//! Where table files are: locations (URLs) to objects, on this machine or in a bucket.
//!
//! One store serves uploads, manifest reads and queries alike, so that credentials are renewed in one
//! place. Local files are written by our own functions instead: `object_store` never syncs.

mod cloud;
mod credentials;
pub mod local;
mod place;
mod route;

pub use cloud::{S3Settings, StorageSettings};
pub use credentials::{CredentialSource, StorageCredential};
pub use local::{create_folder, local_path, location_of, replace_file, sync_folder, write_synced};

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::error::{Error, Result};
use crate::telemetry;
use cloud::Clouds;
use place::Place;
use route::RoutedStore;

/// The files of the tables.
#[derive(Clone, Debug)]
pub struct Objects {
    routed: Arc<RoutedStore>,
    store: Arc<dyn ObjectStore>,
    single_put_bytes_max: usize,
    part_bytes: usize,
}

/// A file of a listing.
#[derive(Clone, Debug)]
pub struct ListedObject {
    pub path: ObjectPath,
    pub location: String,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
}

impl Objects {
    pub fn new(settings: StorageSettings) -> Objects {
        Objects::over(Arc::new(LocalFileSystem::new()), settings)
    }

    /// Files of this machine alone, `file:///…`.
    pub fn local() -> Objects {
        Objects::new(StorageSettings::default())
    }

    /// Local files, read through another store (for tests that hold or fail a read).
    pub fn local_through(store: Arc<dyn ObjectStore>) -> Objects {
        Objects::over(store, StorageSettings::default())
    }

    fn over(local: Arc<dyn ObjectStore>, settings: StorageSettings) -> Objects {
        let StorageSettings { single_put_bytes_max, part_bytes, .. } = settings;
        let routed = Arc::new(RoutedStore::new(local, Clouds::new(settings)));
        let store = Arc::clone(&routed) as Arc<dyn ObjectStore>;
        Objects { routed, store, single_put_bytes_max, part_bytes }
    }

    /// The store behind [`Objects::path`].
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Path of a location inside the store.
    pub fn path(&self, location: &str) -> Result<ObjectPath> {
        Place::of(location)?.path()
    }

    /// Uses these credentials for what lies under their prefixes, and asks `source` for newer ones when
    /// they end. Keys that the operator set win.
    pub fn learn(&self, credentials: Vec<StorageCredential>, source: &Arc<dyn CredentialSource>) {
        self.routed.clouds().learn(credentials, source);
    }

    pub async fn read(&self, location: &str) -> Result<Bytes> {
        let failed = |source| Error::Object { doing: "read", location: location.to_owned(), source };
        let object = self.store.get(&self.path(location)?).await.map_err(failed)?;
        object.bytes().await.map_err(failed)
    }

    pub async fn size(&self, location: &str) -> Result<u64> {
        let failed = |source| Error::Object { doing: "look at", location: location.to_owned(), source };
        Ok(self.store.head(&self.path(location)?).await.map_err(failed)?.size)
    }

    /// Creates an object that did not exist; durable when this returns. Names are given once, so an object
    /// that is there already is this one, put by an earlier try whose answer was lost.
    pub async fn put_new(&self, location: &str, bytes: Bytes) -> Result<()> {
        let place = Place::of(location)?;
        if place.is_local() {
            let location = location.to_owned();
            return blocking(move || local::put_new(&location, &bytes)).await;
        }
        let path = place.path()?;
        let put = if bytes.len() > self.single_put_bytes_max {
            self.put_parts(&path, &bytes).await
        } else {
            self.put_once(&path, &bytes).await
        };
        put.map_err(|source| Error::Object { doing: "write", location: location.to_owned(), source })
    }

    /// Writes an object, whatever was there; durable when this returns.
    pub async fn replace(&self, location: &str, bytes: Bytes) -> Result<()> {
        let place = Place::of(location)?;
        if place.is_local() {
            let path = local_path(location)?;
            return blocking(move || replace_file(&path, &bytes)).await;
        }
        let put = self.store.put(&place.path()?, PutPayload::from(bytes)).await;
        put.map(|_| ()).map_err(|source| Error::Object { doing: "write", location: location.to_owned(), source })
    }

    /// Whether the store keeps an object that is there when it is asked to create it.
    pub(crate) async fn refuses_second_put(&self, location: &str) -> Result<bool> {
        let place = Place::of(location)?;
        if place.is_local() {
            return Ok(true);
        }
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(&place.path()?, PutPayload::from_static(b"again"), create).await;
        Ok(matches!(put, Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })))
    }

    /// Makes a synced local file with these bytes an object, without a copy where the file system can;
    /// durable when this returns.
    pub async fn place(&self, file: &Path, bytes: Bytes, location: &str) -> Result<()> {
        if !Place::of(location)?.is_local() {
            return self.put_new(location, bytes).await;
        }
        let (file, location) = (file.to_owned(), location.to_owned());
        blocking(move || local::place(&file, &location)).await
    }

    /// Deleting what is not there is no error.
    pub async fn delete(&self, location: &str) -> Result<()> {
        match self.store.delete(&self.path(location)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(Error::Object { doing: "delete", location: location.to_owned(), source }),
        }
    }

    /// The files below a folder; none if there is no such folder.
    pub async fn list(&self, folder: &str) -> Result<Vec<ListedObject>> {
        let failed = |source| Error::Object { doing: "list", location: folder.to_owned(), source };
        let prefix = self.path(folder)?;
        let listed = self.store.list(Some(&prefix)).map_ok(|object| ListedObject {
            location: format!("{}/{}", folder.trim_end_matches('/'), relative(&prefix, &object.location)),
            modified_ms: object.last_modified.timestamp_millis(),
            path: object.location,
        });
        listed.try_collect().await.map_err(failed)
    }

    async fn put_once(&self, path: &ObjectPath, bytes: &Bytes) -> object_store::Result<()> {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(path, PutPayload::from(bytes.clone()), create).await;
        match put {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                self.check_same_size(path, bytes).await
            }
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                self.store.put(path, PutPayload::from(bytes.clone())).await.map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }

    async fn check_same_size(&self, path: &ObjectPath, bytes: &Bytes) -> object_store::Result<()> {
        let there = self.store.head(path).await?.size;
        if there == bytes.len() as u64 {
            return Ok(());
        }
        let what = format!("an object of {there} bytes stands where one of {} bytes belongs", bytes.len());
        Err(object_store::Error::AlreadyExists { path: path.to_string(), source: what.into() })
    }

    async fn put_parts(&self, path: &ObjectPath, bytes: &Bytes) -> object_store::Result<()> {
        let mut upload = self.store.put_multipart(path).await?;
        for first in (0..bytes.len()).step_by(self.part_bytes) {
            let part = bytes.slice(first..(first + self.part_bytes).min(bytes.len()));
            telemetry::store_request("put", "data", part.len() as u64, 0);
            if let Err(error) = upload.put_part(PutPayload::from(part)).await {
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        telemetry::store_request("put", "data", 0, 0);
        upload.complete().await.map(|_| ())
    }
}

/// Whether a location is a file of this machine.
pub fn is_local(location: &str) -> bool {
    Place::of(location).is_ok_and(|place| place.is_local())
}

/// See [`Objects::path`]; the same for all stores.
pub fn path_of(location: &str) -> Result<ObjectPath> {
    Place::of(location)?.path()
}

fn relative(prefix: &ObjectPath, path: &ObjectPath) -> String {
    let rest = path.as_ref().strip_prefix(prefix.as_ref()).unwrap_or(path.as_ref());
    rest.trim_start_matches('/').to_owned()
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = tokio::task::spawn_blocking(run).await;
    ended.map_err(|error| Error::Corrupt(format!("a file operation ended early: {error}")))?
}
