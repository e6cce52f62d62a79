//! Where table files are: locations (URLs) to objects, read through one store, written durably.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::error::{Error, Result};

/// The files of the tables. Reads go through an `ObjectStore`, which the query engine shares; local
/// writes do not, because `object_store` never syncs: what is put here survives a power cut.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    /// Files of this machine, `file:///…`.
    pub fn local() -> Objects {
        Objects { store: Arc::new(LocalFileSystem::new()) }
    }

    /// Local files, read through another store (for tests that hold or fail a read).
    pub fn local_through(store: Arc<dyn ObjectStore>) -> Objects {
        Objects { store }
    }

    /// The store behind [`Objects::path`].
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Path of a location inside the store.
    pub fn path(&self, location: &str) -> Result<ObjectPath> {
        let url = local_url(location)?;
        ObjectPath::from_url_path(url.path()).map_err(|error| Error::Refused(format!("location {location}: {error}")))
    }

    pub async fn read(&self, location: &str) -> Result<Bytes> {
        let failed = |source| Error::Object { doing: "read", location: location.to_owned(), source };
        let object = self.store.get(&self.path(location)?).await.map_err(failed)?;
        object.bytes().await.map_err(failed)
    }

    /// Creates an object that did not exist; durable when this returns.
    pub fn put_new(&self, location: &str, bytes: &[u8]) -> Result<()> {
        let path = local_path(location)?;
        let folder = create_parent(&path)?;
        let unfinished = path.with_extension("tmp");
        write_synced(&unfinished, bytes)?;
        fs::rename(&unfinished, &path).map_err(Error::io("rename to", &path))?;
        sync_folder(&folder)
    }

    /// Makes a synced local file an object, without a copy where the file system can; durable when
    /// this returns. An object that is already there is of an earlier try that no commit names; it is
    /// replaced and never written through, since it may be the very same file.
    pub fn place(&self, file: &Path, location: &str) -> Result<()> {
        let path = local_path(location)?;
        let folder = create_parent(&path)?;
        let mut linked = fs::hard_link(file, &path);
        if linked.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
            fs::remove_file(&path).map_err(Error::io("replace", &path))?;
            linked = fs::hard_link(file, &path);
        }
        if linked.is_err() {
            let bytes = fs::read(file).map_err(Error::io("read", file))?;
            return self.put_new(location, &bytes);
        }
        sync_folder(&folder)
    }

    pub fn delete(&self, location: &str) -> Result<()> {
        let path = local_path(location)?;
        fs::remove_file(&path).map_err(Error::io("delete", &path))
    }

    /// Files of a folder with their ages in seconds; empty if there is no such folder.
    pub fn list(&self, folder_location: &str) -> Result<Vec<(String, u64)>> {
        let folder = local_path(folder_location)?;
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &folder))?;
            let metadata = entry.metadata().map_err(Error::io("look at", &entry.path()))?;
            let age = metadata.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
            if metadata.is_file() {
                files.push((location_of(&entry.path()), age.as_secs()));
            }
        }
        Ok(files)
    }
}

/// `file:///…` of an absolute path.
pub fn location_of(path: &Path) -> String {
    Url::from_file_path(path).map(String::from).unwrap_or_else(|()| format!("file://{}", path.display()))
}

/// The path of a `file:` location.
pub fn local_path(location: &str) -> Result<PathBuf> {
    let no_path = |()| Error::Refused(format!("location {location} is not a path of this machine"));
    local_url(location)?.to_file_path().map_err(no_path)
}

fn local_url(location: &str) -> Result<Url> {
    let url = Url::parse(location).map_err(|error| Error::Refused(format!("location {location}: {error}")))?;
    if url.scheme() != "file" {
        let scheme = url.scheme();
        return Err(Error::Refused(format!("location {location}: this release reads file:// only, not {scheme}://")));
    }
    Ok(url)
}

/// Writes a file and syncs its bytes; the caller syncs the folder.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("sync", path))
}

/// Replaces a file so that a crash leaves the old or the new one; durable when this returns.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = path.with_extension("tmp");
    write_synced(&unfinished, bytes)?;
    fs::rename(&unfinished, path).map_err(Error::io("rename to", path))?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Makes names created in or removed from a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    file.sync_all().map_err(Error::io("sync", folder))
}

// A new folder's own name must be durable too, up to the first folder that was there.
fn create_parent(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    create_folder(&folder)?;
    Ok(folder)
}

/// Creates a folder and those above it, durably.
pub fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(above) = folder.parent() else { return Ok(()) };
    create_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("create", folder)(error)),
        _ => sync_folder(above),
    }
}
