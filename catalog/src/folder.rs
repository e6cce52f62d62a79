//! The data folder: who owns it, which writer it is, and whether this release may open it.
//!
//! ```text
//! hogflare.json   format, writer id, creation time, absolute path, key of the dedup hash
//! LOCK            held for the life of the process
//! epoch           number of starts, rewritten durably at each
//! incarnations    names of the starts, a line each, appended durably
//! ```

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::names;
use crate::objects::{create_folder, replace_file, sync_folder};
use crate::writer_id::WriterId;

/// Version of everything in the folder. A folder of a later version is refused.
const FORMAT: u32 = 1;
/// Starts whose names are kept, 9 bytes each.
const INCARNATIONS_KEPT: usize = 10_000;

/// An open data folder. Dropping it gives up the lock.
#[derive(Debug)]
pub struct DataFolder {
    /// Absolute.
    pub path: PathBuf,
    pub writer: WriterId,
    /// Key of the dedup hash, so that clients cannot construct collisions.
    pub hash_key: [u8; 16],
    /// How often the folder was opened, this time included.
    pub epoch: u64,
    /// Names of the starts, this one last. An object or a claim that carries one is of this folder.
    pub incarnations: Vec<String>,
    /// Whether it was created by this start.
    pub created: bool,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    writer: Uuid,
    created_ms: i64,
    /// Table files carry absolute locations, so a moved folder cannot be read.
    path: PathBuf,
    hash_key: String,
}

impl DataFolder {
    /// Opens or creates the folder, takes its lock and counts the start.
    pub fn open(path: &Path, clock: &dyn Clock) -> Result<DataFolder> {
        // The rows of the log are everybody's data but nobody else's business.
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(Error::io("create the data folder", path))?;
        let path = fs::canonicalize(path).map_err(Error::io("find the data folder", path))?;
        if let Some(above) = path.parent() {
            sync_folder(above)?;
        }
        let lock = take_lock(&path)?;
        let identity_path = path.join("hogflare.json");
        let created = !identity_path.exists();
        let identity =
            if created { create_identity(&identity_path, &path, clock)? } else { read_identity(&identity_path)? };
        if identity.path != path {
            return Err(Error::Refused(format!(
                "the data folder was created at {} and is now at {}; its tables hold absolute locations, so move it \
                 back, or start with an empty folder",
                identity.path.display(),
                path.display()
            )));
        }
        for folder in ["wal", "sealed", "dedup", "heads", "warehouse", "spill", "tmp"] {
            create_folder(&path.join(folder))?;
        }
        for folder in ["spill", "tmp"] {
            empty_folder(&path.join(folder))?;
        }
        let epoch = count_start(&path.join("epoch"))?;
        let incarnations = name_start(&path.join("incarnations"))?;
        let hash_key = Uuid::parse_str(&identity.hash_key).map_err(|_| damaged(&identity_path))?.into_bytes();
        Ok(DataFolder {
            writer: WriterId::new(identity.writer),
            hash_key,
            epoch,
            incarnations,
            created,
            path,
            _lock: lock,
        })
    }
}

fn take_lock(folder: &Path) -> Result<File> {
    let path = folder.join("LOCK");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Error::Refused(format!(
            "another process uses the data folder {}; stop it, or choose another folder with --data-dir",
            folder.display()
        ))
    })?;
    Ok(file)
}

fn create_identity(file: &Path, folder: &Path, clock: &dyn Clock) -> Result<Identity> {
    let mut others = fs::read_dir(folder).map_err(Error::io("list", folder))?.flatten();
    if let Some(other) = others.find(|entry| entry.file_name() == "wal" || entry.file_name() == "catalog.sqlite") {
        return Err(Error::Refused(format!(
            "{} holds {} but no hogflare.json: restore that file, or choose an empty folder",
            folder.display(),
            other.file_name().to_string_lossy()
        )));
    }
    let identity = Identity {
        format: FORMAT,
        writer: Uuid::new_v4(),
        created_ms: clock.now_ms(),
        path: folder.to_owned(),
        hash_key: Uuid::new_v4().simple().to_string(),
    };
    let text = serde_json::to_vec_pretty(&identity).expect("plain data");
    replace_file(file, &text)?;
    Ok(identity)
}

fn read_identity(file: &Path) -> Result<Identity> {
    let text = fs::read(file).map_err(Error::io("read", file))?;
    let format: serde_json::Value = serde_json::from_slice(&text).map_err(|_| damaged(file))?;
    match format["format"].as_u64() {
        Some(found) if found > u64::from(FORMAT) => Err(Error::Refused(format!(
            "the data folder has format {found}, written by a later release; this one reads format {FORMAT}"
        ))),
        Some(_) => serde_json::from_value(format).map_err(|_| damaged(file)),
        None => Err(damaged(file)),
    }
}

fn count_start(file: &Path) -> Result<u64> {
    let before = match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map_err(|_| damaged(file))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(Error::io("read", file)(error)),
    };
    replace_file(file, format!("{}\n", before + 1).as_bytes())?;
    Ok(before + 1)
}

/// Draws the name of this start and notes it behind the earlier ones.
fn name_start(file: &Path) -> Result<Vec<String>> {
    let before = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::io("read", file)(error)),
    };
    let mut names: Vec<String> = before.lines().map(str::to_owned).collect();
    names.drain(..names.len().saturating_sub(INCARNATIONS_KEPT));
    names.push(names::incarnation());
    replace_file(file, format!("{}\n", names.join("\n")).as_bytes())?;
    Ok(names)
}

fn empty_folder(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).map_err(Error::io("empty", folder))?;
    create_folder(folder)
}

fn damaged(file: &Path) -> Error {
    Error::Corrupt(format!("{} is damaged; restore it from a copy", file.display()))
}
