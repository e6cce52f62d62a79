//! Databases in MaxMind's format: where an address is, and whose network it belongs to.
//!
//! Format: <https://maxmind.github.io/MaxMind-DB/>. A file is read into memory as a whole, so that
//! whoever replaces it cannot pull it away under a look-up.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use parking_lot::{Mutex, RwLock};

use super::keys::Stated;
use super::records::{NetworkRecord, PlaceRecord};

/// Records of a file that are read before it is used, to see whether they are of the right kind.
const TRIED_RECORDS: usize = 1_000;
/// The largest that is sold is below a gigabyte; a larger file is none.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Which files to read; none by default.
#[derive(Clone, Debug, Default)]
pub struct GeoPaths {
    /// A city, country or enterprise database.
    pub geoip: Option<PathBuf>,
    /// An ASN or ISP database.
    pub asn: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum GeoFileError {
    #[error("cannot read {path}; it must be a database in MaxMind's format (.mmdb)")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes and cannot be a database in MaxMind's format")]
    TooLarge { path: PathBuf },
    #[error("{path} is no intact database in MaxMind's format (.mmdb); download it again")]
    Damaged {
        path: PathBuf,
        #[source]
        source: MaxMindDbError,
    },
    #[error("{path} is of the type {found:?}, but {flag} needs {needed}")]
    Kind { path: PathBuf, found: String, flag: &'static str, needed: &'static str },
}

/// The files, and what they held when they were last read intact.
#[derive(Debug, Default)]
pub struct GeoFiles {
    watched: Vec<Watched>,
    current: RwLock<Arc<Databases>>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    kind: Kind,
    /// What the file looked like when it was last tried; nothing if it could not be looked at.
    tried: Mutex<Option<Stamp>>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Place,
    Network,
}

/// Changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length_bytes: u64,
    modified: (i64, i64),
}

type Database = Reader<Vec<u8>>;

/// The databases of one moment.
#[derive(Clone, Default)]
pub(super) struct Databases {
    place: Option<Arc<Database>>,
    network: Option<Arc<Database>>,
}

impl GeoFiles {
    /// Reads the files and checks them whole; of a city database of 60 MB that takes a second or two.
    ///
    /// # Errors
    /// A file is missing, damaged or of another kind.
    pub fn open(paths: &GeoPaths) -> Result<GeoFiles, GeoFileError> {
        let named = [(&paths.geoip, Kind::Place), (&paths.asn, Kind::Network)];
        let mut files = GeoFiles::default();
        for (path, kind) in named {
            let Some(path) = path else { continue };
            // Before it is read: what changes meanwhile is read again.
            let stamp = stamp(path).ok();
            let database = read(path, kind)?;
            files.put(kind, database);
            files.watched.push(Watched { path: path.clone(), kind, tried: Mutex::new(stamp) });
        }
        Ok(files)
    }

    /// Reads files anew that were written or replaced since they were last tried: the path of each that
    /// is used from now on, or why the one before it stays in use. To be called now and then; blocks.
    pub fn reload_if_changed(&self) -> Vec<Result<PathBuf, GeoFileError>> {
        let changed = self.watched.iter().filter_map(|file| {
            let now = stamp(&file.path);
            let mut tried = file.tried.lock();
            if tried.as_ref() == now.as_ref().ok() {
                return None;
            }
            *tried = now.as_ref().ok().copied();
            let read = match now {
                Ok(_) => read(&file.path, file.kind),
                Err(source) => Err(GeoFileError::Read { path: file.path.clone(), source }),
            };
            Some(read.map(|database| {
                self.put(file.kind, database);
                file.path.clone()
            }))
        });
        changed.collect()
    }

    pub(super) fn current(&self) -> Arc<Databases> {
        Arc::clone(&self.current.read())
    }

    fn put(&self, kind: Kind, database: Database) {
        let mut current = self.current.write();
        let mut databases = Databases::clone(&current);
        match kind {
            Kind::Place => databases.place = Some(Arc::new(database)),
            Kind::Network => databases.network = Some(Arc::new(database)),
        }
        *current = Arc::new(databases);
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    Ok(Stamp { inode: metadata.ino(), length_bytes: metadata.len(), modified })
}

fn read(path: &Path, kind: Kind) -> Result<Database, GeoFileError> {
    let read_error = |source| GeoFileError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(read_error)?.len() > FILE_BYTES_MAX {
        return Err(GeoFileError::TooLarge { path: path.to_owned() });
    }
    let bytes = fs::read(path).map_err(read_error)?;
    let damaged = |source| GeoFileError::Damaged { path: path.to_owned(), source };
    let database = Reader::from_source(bytes).map_err(damaged)?;
    kind.check(path, &database)?;
    database.verify().map_err(damaged)?;
    for network in database.networks(WithinOptions::default()).map_err(damaged)?.take(TRIED_RECORDS) {
        let network = network.map_err(damaged)?;
        match kind {
            Kind::Place => network.decode::<PlaceRecord<'_>>().map(drop),
            Kind::Network => network.decode::<NetworkRecord<'_>>().map(drop),
        }
        .map_err(damaged)?;
    }
    Ok(database)
}

impl Kind {
    /// The two files are easily confused, and a look-up in the wrong one finds nothing.
    fn check(self, path: &Path, database: &Database) -> Result<(), GeoFileError> {
        let found = &database.metadata().database_type;
        let names_network = ["ASN", "ISP"].iter().any(|name| found.contains(name));
        let names_place = ["City", "Country", "Enterprise"].iter().any(|name| found.contains(name));
        let (flag, needed) = match self {
            Kind::Place if names_network && !names_place => ("--geoip-db", "a city, country or enterprise database"),
            Kind::Network if names_place && !names_network => ("--asn-db", "an ASN or ISP database"),
            _ => return Ok(()),
        };
        Err(GeoFileError::Kind { path: path.to_owned(), found: found.clone(), flag, needed })
    }
}

impl std::fmt::Debug for Databases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |database: &Option<Arc<Database>>| database.as_ref().map(|one| one.metadata().database_type.clone());
        f.debug_struct("Databases").field("place", &name(&self.place)).field("network", &name(&self.network)).finish()
    }
}

impl Databases {
    /// Nothing where the file has no record. The file was checked: a record that cannot be read is like
    /// one that is not there.
    pub(super) fn place(&self, ip: IpAddr) -> Stated {
        let found = self.place.as_ref().and_then(|database| database.lookup(ip).ok()?.decode().ok()?);
        found.map(|record: PlaceRecord<'_>| record.stated()).unwrap_or_default()
    }

    pub(super) fn network(&self, ip: IpAddr) -> Stated {
        let found = self.network.as_ref().and_then(|database| database.lookup(ip).ok()?.decode().ok()?);
        found.map(|record: NetworkRecord<'_>| record.stated()).unwrap_or_default()
    }
}
