//! Files of this machine, written so that what is put here survives a power cut.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use url::Url;

use crate::error::{Error, Result};

/// Creates a file that did not exist; durable when this returns. Blocking.
pub fn put_new(location: &str, bytes: &[u8]) -> Result<()> {
    let path = local_path(location)?;
    let folder = create_parent(&path)?;
    let unfinished = path.with_extension("tmp");
    write_synced(&unfinished, bytes)?;
    fs::rename(&unfinished, &path).map_err(Error::io("rename to", &path))?;
    sync_folder(&folder)
}

/// Links a synced file to a location, or copies it where the file system cannot; durable when this
/// returns. A file that is already there is of an earlier try that no commit names; it is replaced and
/// never written through, since it may be the very same file. Blocking.
pub(super) fn place(file: &Path, location: &str) -> Result<()> {
    let path = local_path(location)?;
    let folder = create_parent(&path)?;
    let mut linked = fs::hard_link(file, &path);
    if linked.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
        fs::remove_file(&path).map_err(Error::io("replace", &path))?;
        linked = fs::hard_link(file, &path);
    }
    if linked.is_err() {
        let bytes = fs::read(file).map_err(Error::io("read", file))?;
        return put_new(location, &bytes);
    }
    sync_folder(&folder)
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
        return Err(Error::Refused(format!("location {location}: it is not on this machine: {scheme}://")));
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
