//! What is typed or piped into a process: from a FIFO to its pipe or terminal.
//!
//! The FIFO is opened when the process is started, not when it is made: a client that has nothing to say would otherwise say so before it
//! knows the process, and its CloseIO would be lost. A writing end is held until then, so that a client that comes and goes is not the end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

/// How much is moved at once, in bytes: what a pipe holds.
const CHUNK: usize = 65_536;

/// A FIFO that is read.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    reader: Option<OwnedFd>,
    holder: Holder,
}

/// Who keeps the FIFO from ending.
#[derive(Debug)]
enum Holder {
    /// It is not open yet.
    Later,
    /// This end.
    Held(#[expect(dead_code, reason = "held, never used")] OwnedFd),
    /// Nobody: it ends with its last client.
    Nobody,
}

impl Input {
    /// The FIFO at a path, not opened yet.
    pub(crate) fn new(path: &Path) -> Input {
        Input { path: path.to_path_buf(), reader: None, holder: Holder::Later }
    }

    /// Opens it. One that is gone has nothing to say.
    pub(crate) fn begin(&mut self) {
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.reader = rustix::fs::open(&self.path, OFlags::RDONLY | flags, Mode::empty()).ok();
        if let Holder::Later = self.holder {
            let holder = rustix::fs::open(&self.path, OFlags::WRONLY | flags, Mode::empty());
            self.holder = holder.map_or(Holder::Nobody, Holder::Held);
        }
    }

    /// Nothing more comes but what its clients have still to say.
    pub(crate) fn close(&mut self) {
        self.holder = Holder::Nobody;
    }

    /// What is read, once it is open.
    pub(crate) fn reader(&self) -> Option<&OwnedFd> {
        self.reader.as_ref()
    }
}

/// A FIFO that becomes the standard input of a process, a pipe.
#[derive(Debug)]
pub(crate) struct Feed {
    input: Input,
    pipe: OwnedFd,
    waits: Waits,
}

/// What a feed waits for.
#[derive(Debug, PartialEq, Eq)]
enum Waits {
    /// More to read.
    Input,
    /// Room in the pipe.
    Room,
}

/// Whether there will be more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// There may.
    Maybe,
    /// It has ended.
    Never,
}

impl Feed {
    /// From a FIFO to the writing end of a pipe.
    pub(crate) fn new(input: Input, pipe: OwnedFd) -> Feed {
        Feed { input, pipe, waits: Waits::Input }
    }

    /// The FIFO.
    pub(crate) fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    /// What it waits for.
    pub(crate) fn interest(&self) -> Option<(&OwnedFd, PollFlags)> {
        let reader = self.input.reader()?;
        Some(match self.waits {
            Waits::Input => (reader, PollFlags::IN),
            Waits::Room => (&self.pipe, PollFlags::OUT),
        })
    }

    /// Moves what is there.
    pub(crate) fn pump(&mut self) -> More {
        let Some(reader) = self.input.reader() else { return More::Maybe };
        loop {
            match splice(reader, None, &self.pipe, None, CHUNK, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
                Ok(0) => return More::Never,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = rustix::io::ioctl_fionread(reader).unwrap_or(0);
                    self.waits = if left > 0 { Waits::Room } else { Waits::Input };
                    return More::Maybe;
                }
                // Its process has closed its end.
                Err(_) => return More::Never,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::FileType;

    #[test]
    fn clients_come_and_go_and_the_end_is_when_it_is_said() {
        let path = std::env::temp_dir().join(format!("hull-feed-{}", std::process::id()));
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (reader, pipe) = rustix::pipe::pipe().unwrap();
        let mut feed = Feed::new(Input::new(&path), pipe);
        assert!(feed.interest().is_none());
        feed.input().begin();
        let mut bytes = [0; 8];
        for word in [b"one", b"two"] {
            std::fs::write(&path, word).unwrap();
            assert_eq!(feed.pump(), More::Maybe);
            assert_eq!(rustix::io::read(&reader, &mut bytes), Ok(3));
            assert_eq!(&bytes[..3], word);
        }
        feed.input().close();
        assert_eq!(feed.pump(), More::Never);
        drop(feed);
        assert_eq!(rustix::io::read(&reader, &mut bytes), Ok(0));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_full_pipe_is_waited_for() {
        let path = std::env::temp_dir().join(format!("hull-full-{}", std::process::id()));
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (reader, pipe) = rustix::pipe::pipe().unwrap();
        let mut feed = Feed::new(Input::new(&path), pipe);
        feed.input().begin();
        let chunk = vec![7; CHUNK];
        for _ in 0..2 {
            std::fs::write(&path, &chunk).unwrap();
            assert_eq!(feed.pump(), More::Maybe);
        }
        assert_eq!(feed.interest().unwrap().1, PollFlags::OUT);
        let mut bytes = vec![0; CHUNK];
        assert!(rustix::io::read(&reader, &mut bytes[..]).unwrap() > 0);
        assert_eq!(feed.pump(), More::Maybe);
        std::fs::remove_file(path).unwrap();
    }
}
