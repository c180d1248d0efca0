//! A folder in memory that knows what a power cut would leave: for tests and simulation.
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Append, Disk, Growth, ReadAt, Rest};
use crate::lock::lock;

/// A file: what is there now, and how much of it is on stable storage.
#[derive(Debug, Clone, Default)]
struct MemoryFile {
    bytes: Arc<Mutex<Vec<u8>>>,
    synced: usize,
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        lock(&self.bytes)
    }
}

#[derive(Debug, Default)]
struct Files {
    now: BTreeMap<String, MemoryFile>,
    /// Names on stable storage.
    synced_names: Vec<String>,
    free: Option<u64>,
    syncs: u64,
    /// So many syncs fail.
    failing: u64,
}

/// A folder in memory; clones are the same folder.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<Files>>,
}

impl MemoryDisk {
    fn files(&self) -> MutexGuard<'_, Files> {
        lock(&self.files)
    }

    /// What a power cut leaves: of every file its synced bytes and as many of the others as `kept` answers, given the
    /// file's name and the number of bytes at risk. The clone is a disk of its own.
    #[must_use]
    pub fn after_power_cut(&self, mut kept: impl FnMut(&str, usize) -> usize) -> Self {
        let files = self.files();
        let mut after = Files::default();
        for (name, file) in files.now.iter().filter(|(name, _)| files.synced_names.contains(name)) {
            let bytes = file.bytes();
            let at_risk = bytes.len() - file.synced;
            let length = file.synced + kept(name, at_risk).min(at_risk);
            let bytes = Arc::new(Mutex::new(bytes[..length].to_vec()));
            after.now.insert(name.clone(), MemoryFile { bytes, synced: length });
            after.synced_names.push(name.clone());
        }
        Self { files: Arc::new(Mutex::new(after)) }
    }

    /// Changes the bytes of a file behind everyone's back.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.files().now.get_mut(name) {
            change(&mut file.bytes());
            let length = file.bytes().len();
            file.synced = length;
        }
    }

    /// Limits how many more bytes can be written; `None`: no limit.
    pub fn set_free(&self, free: Option<u64>) {
        self.files().free = free;
    }

    /// The next syncs of a file fail, so many of them.
    pub fn fail_syncs(&self, count: u64) {
        self.files().failing = count;
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> u64 {
        self.files().syncs
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().now.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.files().now.get(name).map(|file| file.bytes().clone()).ok_or_else(|| missing(name))
    }

    fn reader(&self, name: &str) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.read(name)?)))
    }

    fn read_at(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let files = self.files();
        let file = files.now.get(name).ok_or_else(|| missing(name))?;
        Ok(Box::new(MemoryRead(Arc::clone(&file.bytes))))
    }

    fn create(&self, name: &str, _growth: Growth) -> io::Result<Box<dyn Append>> {
        self.files().now.insert(name.to_owned(), MemoryFile::default());
        Ok(Box::new(MemoryAppend { disk: self.clone(), name: name.to_owned() }))
    }

    fn append(&self, name: &str, length: u64, _rest: Rest) -> io::Result<Box<dyn Append>> {
        let mut file = MemoryAppend { disk: self.clone(), name: name.to_owned() };
        file.cut(length)?;
        Ok(Box::new(file))
    }

    fn reserve(&self, name: &str, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        self.create(name, Growth::Exact)?.write(&vec![0; bytes])
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.now.remove(from).ok_or_else(|| missing(from))?;
        files.now.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut files = self.files();
        let gone = files.now.remove(name).ok_or_else(|| missing(name))?;
        files.free = files.free.map(|free| free + gone.bytes().len() as u64);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut files = self.files();
        files.synced_names = files.now.keys().cloned().collect();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.files().free.unwrap_or(u64::MAX))
    }

    fn display(&self, name: &str) -> String {
        format!("memory:{name}")
    }
}

#[derive(Debug)]
struct MemoryRead(Arc<Mutex<Vec<u8>>>);

impl ReadAt for MemoryRead {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let file = lock(&self.0);
        let found = usize::try_from(offset).ok().and_then(|from| file.get(from..from.checked_add(bytes.len())?));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }
}

struct MemoryAppend {
    disk: MemoryDisk,
    name: String,
}

impl MemoryAppend {
    fn with<T>(&self, act: impl FnOnce(&mut MemoryFile) -> T) -> io::Result<T> {
        self.disk.files().now.get_mut(&self.name).map(act).ok_or_else(|| missing(&self.name))
    }
}

impl Append for MemoryAppend {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = {
            let mut files = self.disk.files();
            let room =
                files.free.map_or(bytes.len(), |free| bytes.len().min(usize::try_from(free).unwrap_or(usize::MAX)));
            files.free = files.free.map(|free| free - room as u64);
            room
        };
        self.with(|file| file.bytes().extend_from_slice(&bytes[..room]))?;
        if room < bytes.len() { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn ahead(&self) -> u64 {
        self.disk.files().free.unwrap_or(u64::MAX)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut files = self.disk.files();
        if files.failing > 0 {
            files.failing -= 1;
            return Err(io::Error::other("the disk is gone"));
        }
        files.syncs += 1;
        drop(files);
        self.with(|file| {
            let length = file.bytes().len();
            file.synced = length;
        })
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.with(|file| {
            file.bytes().truncate(length);
            let length = file.bytes().len();
            file.synced = length;
        })
    }
}
