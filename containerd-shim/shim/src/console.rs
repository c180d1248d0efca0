//! A terminal: copies what is typed from a FIFO to it, and what is said from it to a FIFO, and never waits.

use std::os::fd::OwnedFd;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::termios::Winsize;

use crate::input::Input;
use crate::stdio::Behind;

/// How much is copied at once, in bytes: what a terminal's buffer holds.
const CHUNK: usize = 4096;

/// A terminal and what lies behind it.
#[derive(Debug)]
pub(crate) struct Console {
    /// Gone when every process has closed it.
    master: Option<OwnedFd>,
    input: Option<Input>,
    output: Option<OwnedFd>,
    typed: Vec<u8>,
    said: Vec<u8>,
}

impl Console {
    /// Of a terminal's master.
    pub(crate) fn new(master: OwnedFd, behind: Behind) -> Console {
        // One that blocks would only make the shim slower.
        let _ = rustix::io::ioctl_fionbio(&master, true);
        let Behind { input, output } = behind;
        Console { master: Some(master), input, output, typed: Vec::new(), said: Vec::new() }
    }

    /// What it waits for.
    pub(crate) fn interests(&self) -> Vec<(&OwnedFd, PollFlags)> {
        let mut wanted = Vec::new();
        let mut of_master = PollFlags::empty();
        of_master.set(PollFlags::IN, self.said.is_empty());
        of_master.set(PollFlags::OUT, !self.typed.is_empty());
        wanted.extend(self.master.as_ref().filter(|_| !of_master.is_empty()).map(|fd| (fd, of_master)));
        let typing = self.typed.is_empty() && self.master.is_some();
        let reader = self.input.as_ref().and_then(Input::reader);
        wanted.extend(reader.filter(|_| typing).map(|fd| (fd, PollFlags::IN)));
        wanted.extend(self.output.as_ref().filter(|_| !self.said.is_empty()).map(|fd| (fd, PollFlags::OUT)));
        wanted
    }

    /// Copies what is there, both ways.
    pub(crate) fn pump(&mut self) {
        while self.say() {}
        while self.r#type() {}
        if self.master.is_none() {
            self.input = None;
            if self.said.is_empty() {
                self.output = None;
            }
        }
    }

    /// Whether there may be more.
    fn say(&mut self) -> bool {
        if self.said.is_empty() {
            let Some(master) = &self.master else { return false };
            match read(master) {
                Ok(bytes) if bytes.is_empty() => self.master = None,
                Ok(bytes) => self.said = bytes,
                Err(Errno::AGAIN) => return false,
                // Its last process is gone.
                Err(_) => self.master = None,
            }
        }
        let Some(output) = &self.output else {
            self.said.clear();
            return self.master.is_some();
        };
        if !write(output, &mut self.said) {
            self.output = None;
        }
        self.said.is_empty() && self.master.is_some()
    }

    fn r#type(&mut self) -> bool {
        let reader = self.input.as_ref().and_then(Input::reader);
        let (Some(master), Some(reader)) = (&self.master, reader) else { return false };
        if self.typed.is_empty() {
            match read(reader) {
                Ok(bytes) if !bytes.is_empty() => self.typed = bytes,
                Err(Errno::AGAIN) => return false,
                _ => {
                    self.input = None;
                    return false;
                }
            }
        }
        if !write(master, &mut self.typed) {
            self.typed.clear();
        }
        self.typed.is_empty()
    }

    /// The FIFO of what is typed.
    pub(crate) fn input(&mut self) -> Option<&mut Input> {
        self.input.as_mut()
    }

    /// Gives it a size. One that every process has closed has none any more.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn resize(&self, width: u16, height: u16) -> Result<(), Errno> {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        self.master.as_ref().map_or(Ok(()), |master| rustix::termios::tcsetwinsize(master, size))
    }
}

fn read(from: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = [0; CHUNK];
    loop {
        match rustix::io::read(from, &mut bytes) {
            Err(Errno::INTR) => {}
            result => return result.map(|length| bytes[..length].to_vec()),
        }
    }
}

/// Writes as much as goes. False when nothing ever will.
fn write(to: &OwnedFd, bytes: &mut Vec<u8>) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => drop(bytes.drain(..length)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return true,
            Err(_) => {
                bytes.clear();
                return false;
            }
        }
    }
    *bytes = Vec::new();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode};
    use rustix::pipe::{PipeFlags, pipe_with};
    use rustix::pty::OpenptFlags;

    #[test]
    fn what_is_typed_and_said_goes_through_and_the_end_is_seen() {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let ours = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let path = std::env::temp_dir().join(format!("hull-console-{}", std::process::id()));
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut input = Input::new(&path);
        input.begin();
        let (reader, output) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut console = Console::new(master, Behind { input: Some(input), output: Some(output) });
        console.resize(120, 40).unwrap();
        assert_eq!(rustix::termios::tcgetwinsize(&ours).unwrap().ws_col, 120);
        std::fs::write(&path, b"hi\n").unwrap();
        console.pump();
        let mut bytes = [0; 64];
        assert_eq!(rustix::io::read(&ours, &mut bytes), Ok(3));
        rustix::io::write(&ours, b"yes").unwrap();
        drop(ours);
        console.pump();
        let length = rustix::io::read(&reader, &mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"hi\r\nyes");
        assert_eq!(rustix::io::read(&reader, &mut bytes), Ok(0));
        assert!(console.interests().is_empty());
        std::fs::remove_file(path).unwrap();
    }
}
