//! The disk as the log uses it: the seam at which tests lose power.
//!
//! A write, a truncation, a creation and a removal may be lost or reordered by a power failure until
//! the file (for its contents) and the folder (for its names) are synced.

#[cfg(test)]
pub(crate) mod model;

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// What an acknowledgement survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Death of the process and loss of power.
    #[default]
    Fsync,
    /// Death of the process only: the operating system writes when it likes.
    Os,
}

/// Folders and files by name.
pub trait Disk: Debug + Send + Sync {
    /// With [`Durability::Os`], `sync` and `sync_folder` do nothing.
    fn durability(&self) -> Durability;

    /// Creates the folder and its parents if they are absent.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Names of the files in a folder, in order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// An empty file in the place of whatever had the name; with a size, that many zeros for which the
    /// disk has room. On failure no file remains.
    fn create(&self, path: &Path, allocate_bytes: u64) -> io::Result<Box<dyn DiskFile>>;

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations and removals in the folder survive a power failure.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Debug + Send {
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills the buffer from an offset; an error if the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    fn truncate(&mut self, size_bytes: u64) -> io::Result<()>;

    /// Makes contents and size survive a power failure. After an error nothing is known about either.
    fn sync(&mut self) -> io::Result<()>;
}

/// The whole contents of a file.
pub(crate) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.size_bytes()?).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Whether the error says that space is used up and may come back.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk {
    durability: Durability,
}

impl RealDisk {
    pub fn new(durability: Durability) -> RealDisk {
        RealDisk { durability }
    }
}

impl Disk for RealDisk {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(folder)?;
        folder.parent().map_or(Ok(()), |parent| self.sync_folder(parent))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &Path, allocate_bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        if let Err(error) = allocate(&file, allocate_bytes) {
            std::fs::remove_file(path)?;
            return Err(error);
        }
        Ok(Box::new(RealFile { file, durability: self.durability }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(RealFile { file, durability: self.durability }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match self.durability {
            Durability::Fsync => File::open(folder)?.sync_all(),
            Durability::Os => Ok(()),
        }
    }
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    const STEP: usize = 1 << 20;
    if bytes == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; STEP];
            for offset in (0..bytes).step_by(STEP) {
                let rest = usize::try_from(bytes - offset).unwrap_or(STEP);
                file.write_all_at(&zeros[..rest.min(STEP)], offset)?;
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    durability: Durability,
}

impl DiskFile for RealFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.durability {
            Durability::Fsync => self.file.sync_data(),
            Durability::Os => Ok(()),
        }
    }
}
