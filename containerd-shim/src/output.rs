//! A container's output on its way into two bounded files: `log`, and `log.1` with what was in it before.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Size in bytes at which a log becomes the older one. Both are in memory: a container keeps at most twice this, some 1,500 lines.
const SIZE: u64 = 64 << 10;

/// Read at once, in bytes; what a pipe passes on whole.
const PIECE: usize = 4096;

/// The newer file.
pub(crate) struct Log {
    path: PathBuf,
    file: Option<File>,
    length: u64,
}

impl Log {
    /// Goes on where the container's earlier life stopped. Without a file the output is read all the same: a container must never wait
    /// for its log.
    pub(crate) fn open(folder: &Path) -> Log {
        let mut log = Log { path: folder.join("log"), file: None, length: 0 };
        log.reopen();
        log
    }

    fn reopen(&mut self) {
        self.file = OpenOptions::new().create(true).append(true).open(&self.path).ok();
        self.length = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |data| data.len());
    }

    /// Moves one piece from the pipe to the file; whether there may be more.
    pub(crate) fn take(&mut self, from: impl AsFd) -> bool {
        let mut piece = [0; PIECE];
        match rustix::io::read(from, &mut piece) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => false,
            Ok(length) => {
                self.write(&piece[..length]);
                true
            }
            Err(rustix::io::Errno::INTR) => true,
            Err(_) => false,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.length >= SIZE {
            let _ = fs::rename(&self.path, self.path.with_extension("1"));
            self.reopen();
        }
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_ok()
        {
            self.length += bytes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chatty_container_keeps_its_last_words_in_bounded_space() {
        let folder = std::env::temp_dir().join(format!("hull-output-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut log = Log::open(&folder);
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        for number in 0..20_000 {
            rustix::io::write(&writer, format!("line {number:6}\n").as_bytes()).unwrap();
            assert!(log.take(&reader));
        }
        drop(writer);
        assert!(!log.take(&reader));
        let (older, newer) =
            (fs::read_to_string(folder.join("log.1")).unwrap(), fs::read_to_string(folder.join("log")).unwrap());
        assert!(
            newer.ends_with("line  19999\n")
                && older.len() as u64 <= SIZE + PIECE as u64
                && newer.len() as u64 <= SIZE + PIECE as u64
        );
        let numbers: Vec<u32> = (older + &newer).lines().map(|line| line[5..].trim().parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a line is missing");
        fs::remove_dir_all(&folder).unwrap();
    }
}
