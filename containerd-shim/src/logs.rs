//! Reads what a container wrote: the monitor's two files, older first, and then what is added.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One piece at a time, in bytes.
const PIECE: usize = 16 << 10;

/// A reader that follows the log over its rotation.
pub(crate) struct Follower {
    path: PathBuf,
    current: Option<File>,
    pending: Vec<File>,
}

impl Follower {
    /// Begins with the oldest byte that is kept. `path` is the newer file, `path.1` the older.
    pub(crate) fn open(path: &Path) -> Follower {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        let mut pending: Vec<File> =
            [PathBuf::from(older), path.to_owned()].iter().filter_map(|p| File::open(p).ok()).collect();
        pending.reverse();
        Follower { path: path.to_owned(), current: pending.pop(), pending }
    }

    /// The next piece; `None` when everything that is there was read.
    pub(crate) fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            let Some(file) = &mut self.current else {
                self.current = File::open(&self.path).ok();
                if self.current.is_none() {
                    return Ok(None);
                }
                continue;
            };
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece)?;
            if length > 0 {
                piece.truncate(length);
                return Ok(Some(String::from_utf8_lossy(&piece).into_owned()));
            }
            if let Some(next) = self.pending.pop() {
                self.current = Some(next);
                continue;
            }
            if !rotated(file, &self.path)? {
                return Ok(None);
            }
            self.current = None;
        }
    }
}

/// Whether the file is no longer the one under its name, and whether all of it was read.
fn rotated(file: &mut File, path: &Path) -> io::Result<bool> {
    let mine = file.metadata()?;
    let Ok(there) = std::fs::metadata(path) else { return Ok(false) };
    let at_end = file.stream_position()? >= mine.size();
    Ok(at_end && (mine.ino(), mine.dev()) != (there.ino(), there.dev()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn all(follower: &mut Follower) -> String {
        let mut text = String::new();
        while let Some(piece) = follower.next().unwrap() {
            text += &piece;
        }
        text
    }

    #[test]
    fn a_log_is_followed_over_its_rotation() {
        let folder = std::env::temp_dir().join(format!("hull-logs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (log, older) = (folder.join("log"), folder.join("log.1"));
        fs::write(&older, "one\n").unwrap();
        fs::write(&log, "two\n").unwrap();
        let mut follower = Follower::open(&log);
        assert_eq!(all(&mut follower), "one\ntwo\n");
        writeln!(fs::OpenOptions::new().append(true).open(&log).unwrap(), "three").unwrap();
        assert_eq!(all(&mut follower), "three\n");
        fs::rename(&log, &older).unwrap();
        fs::write(&log, "four\n").unwrap();
        assert_eq!(all(&mut follower), "four\n");
        fs::remove_dir_all(&folder).unwrap();
    }
}
