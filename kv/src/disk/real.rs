//! Folders of the operating system's file system.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use super::{Append, Disk, Growth, LOG_PREFIX, RESERVE, ReadAt, Rest};

/// A member's data folder, and the one where its log is if that is another; only their owner may look into them.
#[derive(Debug)]
pub struct RealDisk {
    data: Folder,
    log: Option<Folder>,
}

/// One of them.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    reserve: Reserve,
}

/// The link in the data folder that leads to the log, if that is elsewhere: whoever forgets to say where it is must not begin a new
/// one, and lose what the old one has.
const LINK: &str = "wal";

/// The link in the log's folder that leads back: without it the folder is another one, or an empty one on which a disk should be mounted.
const BACK: &str = "data";

/// Whom the blocks are for that the file system keeps back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reserve {
    /// For this process' user: they are free to it.
    Ours,
    /// For somebody else, or nobody knows.
    Others,
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Folder {
    /// Opens a folder, creating it and what leads to it (mode 0700).
    fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| io::Error::new(error.kind(), format!("create folder {}: {error}", path.display())))?;
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let uid = rustix::process::geteuid().as_raw();
        let reserve = fs::metadata(path).map_or(Reserve::Others, |data| reserve(&table, data.dev(), uid));
        Ok(Self { path: path.to_owned(), reserve })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        let blocks = match self.reserve {
            Reserve::Ours => stat.f_bfree,
            Reserve::Others => stat.f_bavail,
        };
        Ok(blocks.saturating_mul(stat.f_frsize))
    }

    /// Makes a folder for the log of a member that this one does not have yet, and the link to it.
    fn begin_log(&self, log: &Path) -> io::Result<Self> {
        if self.names()?.iter().any(|name| is_of_log(name) || name.starts_with("snapshot-")) {
            return Err(refused(format!(
                "--wal-dir {}: the data folder {} holds a member with its log already; start it without --wal-dir",
                log.display(),
                self.path.display()
            )));
        }
        let opened = Self::open(log)?;
        let (data, back) = (fs::canonicalize(&self.path)?, fs::read_link(log.join(BACK)).ok());
        let anothers =
            back.as_ref().is_some_and(|back| *back != data) || opened.names()?.iter().any(|name| is_of_log(name));
        if anothers {
            return Err(refused(format!(
                "--wal-dir {}: another member's log is there; give each member a folder of its own",
                log.display()
            )));
        }
        // A start that was cut short may have made the first of them.
        if back.is_none() {
            symlink(data, log.join(BACK))?;
            opened.sync_names()?;
        }
        symlink(fs::canonicalize(log)?, self.path.join(LINK))?;
        self.sync_names()?;
        Ok(opened)
    }
}

fn is_of_log(name: &str) -> bool {
    name.starts_with(LOG_PREFIX) || name == RESERVE
}

impl RealDisk {
    /// Opens a data folder, creating it and what leads to it. `log`: where the log is to be, if not in it.
    ///
    /// # Errors
    /// Names the folder and the operating system's reason; or the log is elsewhere already.
    pub fn open(folder: &Path, log: Option<&Path>) -> io::Result<Self> {
        let data = Folder::open(folder)?;
        let log = match (fs::read_link(folder.join(LINK)).ok(), log) {
            (None, None) => None,
            (None, Some(log)) => Some(data.begin_log(log)?),
            (Some(target), Some(log)) if fs::canonicalize(&target).ok() != fs::canonicalize(log).ok() => {
                return Err(refused(format!(
                    "--wal-dir {}: the log of the member in {} is in {}, where {} leads; start it without --wal-dir, or, while \
                     it is stopped, move the log and let the link lead there",
                    log.display(),
                    folder.display(),
                    target.display(),
                    folder.join(LINK).display(),
                )));
            }
            (Some(target), _) if fs::symlink_metadata(target.join(BACK)).is_err() => {
                return Err(refused(format!(
                    "the log of the member in {} is in {}, where {} leads, but that is not the folder that it was put in: \
                     is its disk mounted?",
                    folder.display(),
                    target.display(),
                    folder.join(LINK).display(),
                )));
            }
            (Some(target), _) => Some(Folder::open(&target)?),
        };
        Ok(Self { data, log })
    }

    fn folder_of(&self, name: &str) -> &Folder {
        self.log.as_ref().filter(|_| is_of_log(name)).unwrap_or(&self.data)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder_of(name).path.join(name)
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.data.names()?;
        if let Some(log) = &self.log {
            names.retain(|name| !is_of_log(name));
            names.extend(log.names()?.into_iter().filter(|name| is_of_log(name)));
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }

    fn reader(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::BufReader::with_capacity(READ_BUFFER, File::open(self.path(name))?)))
    }

    fn read_at(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(RealRead(File::open(self.path(name))?)))
    }

    fn create(&self, name: &str, growth: Growth) -> io::Result<Box<dyn Append>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path(name))?;
        Ok(Box::new(RealFile { file, at: 0, allocated: 0, growth }))
    }

    fn append(&self, name: &str, length: u64, rest: Rest) -> io::Result<Box<dyn Append>> {
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        let allocated = file.metadata()?.len();
        let mut file = RealFile { file, at: length, allocated, growth: Growth::Ahead };
        if rest == Rest::Cut {
            file.cut(length)?;
        }
        Ok(Box::new(file))
    }

    fn reserve(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path(name))?;
        Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.log.as_ref().map_or(Ok(()), Folder::sync_names)?;
        self.data.sync_names()
    }

    /// Where there is less of it.
    fn free_bytes(&self) -> io::Result<u64> {
        let of_log = self.log.as_ref().map_or(Ok(u64::MAX), Folder::free_bytes)?;
        Ok(of_log.min(self.data.free_bytes()?))
    }

    fn display(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Looks in the table of mounts (proc_pid_mountinfo(5)) for the device's option `resuid` (ext4(5)).
fn reserve(table: &str, device: u64, uid: u32) -> Reserve {
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let wanted = format!("resuid={uid}");
    let ours = table
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some(&number))
        .any(|line| line.rsplit(' ').next().is_some_and(|options| options.split(',').any(|option| option == wanted)));
    if ours { Reserve::Ours } else { Reserve::Others }
}

#[derive(Debug)]
struct RealRead(File);

impl ReadAt for RealRead {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Bytes read at once from a snapshot.
const READ_BUFFER: usize = 256 * 1024;

/// Zeros written ahead at once (bytes): one sync in some hundred makes a new length durable.
const AHEAD: u64 = 256 * 1024;

struct RealFile {
    file: File,
    /// Where the next write goes.
    at: u64,
    /// Length of the file: from `at` on it is zeros.
    allocated: u64,
    growth: Growth,
}

impl RealFile {
    /// Extends the file beyond `end`. That it cannot is no failure: the write that needs the space will say so.
    fn extend(&mut self, end: u64) {
        let zeros = vec![0; AHEAD as usize];
        if self.file.write_all_at(&zeros, end).is_ok() {
            self.allocated = end + AHEAD;
        } else if let Ok(metadata) = self.file.metadata() {
            self.allocated = metadata.len();
        }
    }
}

impl Append for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.growth == Growth::Ahead && self.at > self.allocated {
            self.extend(self.at);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn ahead(&self) -> u64 {
        self.allocated.saturating_sub(self.at)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        (self.at, self.allocated) = (length, length);
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_kept_back_for_this_user_are_free_to_it() {
        let table = "24 1 253:0 / / ro - erofs /dev/dm-0 ro\n31 24 8:4 / /var rw,nosuid - ext4 /dev/vda4 rw,resuid=900,errors=remount-ro\n";
        let device = rustix::fs::makedev(8, 4);
        assert_eq!(reserve(table, device, 900), Reserve::Ours);
        assert_eq!(reserve(table, device, 90), Reserve::Others);
        assert_eq!(reserve(table, rustix::fs::makedev(253, 0), 900), Reserve::Others);
    }
}
