//! A disk whose power fails at a chosen operation: from then on nothing works until it is started again.
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hull_kv::disk::{Append, Disk, Growth, MemoryDisk, ReadAt, Rest};

/// No failure is planned.
const NEVER: u64 = u64::MAX;

/// A disk in memory, and how many operations it has left.
#[derive(Debug, Clone)]
pub(crate) struct FailingDisk {
    memory: MemoryDisk,
    left: Arc<AtomicU64>,
}

impl FailingDisk {
    pub(crate) fn new(memory: MemoryDisk) -> Self {
        Self { memory, left: Arc::new(AtomicU64::new(NEVER)) }
    }

    /// The power fails after so many more operations.
    pub(crate) fn fail_after(&self, operations: u64) {
        self.left.store(operations, Ordering::Relaxed);
    }

    /// What is there after the power comes back; of bytes at risk as many stay as `kept` says.
    pub(crate) fn after_power_cut(&self, kept: impl FnMut(&str, usize) -> usize) -> Self {
        Self::new(self.memory.after_power_cut(kept))
    }

    fn spend(&self) -> io::Result<()> {
        match self.left.load(Ordering::Relaxed) {
            NEVER => Ok(()),
            0 => Err(io::Error::other("the power failed")),
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

impl Disk for FailingDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.memory.read(name)
    }

    fn reader(&self, name: &str) -> io::Result<Box<dyn io::Read + Send>> {
        self.memory.reader(name)
    }

    fn read_at(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.memory.read_at(name)
    }

    fn create(&self, name: &str, growth: Growth) -> io::Result<Box<dyn Append>> {
        self.spend()?;
        Ok(Box::new(FailingFile { file: self.memory.create(name, growth)?, disk: self.clone() }))
    }

    fn append(&self, name: &str, length: u64, rest: Rest) -> io::Result<Box<dyn Append>> {
        self.spend()?;
        Ok(Box::new(FailingFile { file: self.memory.append(name, length, rest)?, disk: self.clone() }))
    }

    /// A megabyte of zeros would only cost time here.
    fn reserve(&self, _name: &str, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.spend()?;
        self.memory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.spend()?;
        self.memory.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.spend()?;
        self.memory.sync_names()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn display(&self, name: &str) -> String {
        self.memory.display(name)
    }
}

struct FailingFile {
    file: Box<dyn Append>,
    disk: FailingDisk,
}

impl Append for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.disk.spend() {
            // The write that the power cut hits is torn.
            self.file.write(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.spend()?;
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.disk.spend()?;
        self.file.cut(length)
    }
}
