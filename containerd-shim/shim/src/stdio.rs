//! Standard streams as containerd names them: a FIFO by its path, `file://PATH`, `binary://PROGRAM?key=value`, or nothing.
//!
//! A process writes to its FIFO itself: no byte of its output goes through the shim. The shim holds both ends open, so that neither a
//! daemon that is restarted nor a reader that comes late is an error for the process, and lets go when the process has ended.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::input::{Feed, Input};
use crate::refusal::{Code, Refusal};

/// Whether a process has a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tty {
    /// It has none.
    None,
    /// Its streams are one.
    Wanted,
}

impl From<bool> for Tty {
    fn from(wanted: bool) -> Tty {
        if wanted { Tty::Wanted } else { Tty::None }
    }
}

/// Whose streams these are.
#[derive(Debug, Clone)]
pub(crate) struct Of {
    /// The container's id.
    pub(crate) id: String,
    /// And containerd's namespace.
    pub(crate) namespace: String,
}

/// What containerd asks for.
#[derive(Debug, Clone)]
pub(crate) struct Io {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: Tty,
}

/// The streams of one process, opened.
pub(crate) struct Opened {
    /// What becomes its own.
    pub(crate) streams: Streams,
    /// What the shim holds.
    pub(crate) held: Held,
}

/// What becomes descriptors 0 to 2.
pub(crate) struct Streams {
    pub(crate) input: OwnedFd,
    pub(crate) output: OwnedFd,
    pub(crate) errors: OwnedFd,
    /// A program to be started that reads the other ends.
    pub(crate) logger: Option<Logger>,
}

/// What the shim holds open.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What feeds its standard input.
    pub(crate) input: Option<Feed>,
    /// Ends of the others.
    pub(crate) outputs: Vec<OwnedFd>,
}

/// A program that logs: it finds standard output as descriptor 3, standard error as 4, and closes 5 when it is ready.
#[derive(Debug)]
pub(crate) struct Logger {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// What it is told in its environment.
    pub(crate) of: Of,
    pub(crate) output: OwnedFd,
    pub(crate) errors: OwnedFd,
}

/// Where a stream goes.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Nowhere,
    Path(PathBuf),
    Append(PathBuf),
    Program(PathBuf, Vec<String>),
}

fn target(text: &str) -> Result<Target, Refusal> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(if text.is_empty() { Target::Nowhere } else { Target::Path(text.into()) });
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = PathBuf::from(form_urlencoded::parse(path.replace('+', "%2B").replace('&', "%26").as_bytes()).fold(
        String::new(),
        |path, (key, value)| if value.is_empty() { path + &key } else { format!("{path}{key}={value}") },
    ));
    match scheme {
        "fifo" => Ok(Target::Path(path)),
        "file" => Ok(Target::Append(path)),
        "binary" => {
            let words = form_urlencoded::parse(query.as_bytes())
                .flat_map(|(key, value)| [key.into_owned(), value.into_owned()])
                .collect();
            Ok(Target::Program(path, words))
        }
        other => Err(Refusal::new(
            Code::InvalidArgument,
            format!("{text}: {other}:// is no stream: fifo, file and binary are"),
        )),
    }
}

fn opened(path: &Path, flags: OFlags) -> Result<OwnedFd, Refusal> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))
        .map_err(|error| Refusal::new(Code::Unknown, format!("open {}: {error}", path.display())))
}

fn nothing() -> Result<OwnedFd, Refusal> {
    opened(Path::new("/dev/null"), OFlags::RDWR)
}

/// Whether a path is a FIFO. One that is not there is an error.
fn is_fifo(path: &Path) -> Result<bool, Refusal> {
    rustix::fs::stat(path)
        .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
        .map_err(|error| Refusal::new(Code::NotFound, format!("open {}: {error}", path.display())))
}

/// Opens an output: first what is held, so that the process's own end does not wait for a reader.
fn output(path: &Path, held: &mut Held) -> Result<OwnedFd, Refusal> {
    if is_fifo(path)? {
        held.outputs.push(opened(path, OFlags::RDWR | OFlags::NONBLOCK)?);
        return opened(path, OFlags::WRONLY);
    }
    opened(path, OFlags::WRONLY | OFlags::APPEND)
}

/// Opens the streams of a process without a terminal.
///
/// # Errors
/// One is not there, or is none.
pub(crate) fn open(io: &Io, of: &Of) -> Result<Opened, Refusal> {
    let mut held = Held::default();
    let input = match target(&io.stdin)? {
        Target::Path(path) if is_fifo(&path)? => {
            let (input, theirs) = pipe()?;
            held.input = Some(Feed::new(Input::new(&path), theirs));
            input
        }
        Target::Path(path) | Target::Append(path) => opened(&path, OFlags::RDONLY)?,
        Target::Nowhere | Target::Program(..) => nothing()?,
    };
    let mut logger = None;
    let (output, errors) = match target(&io.stdout)? {
        Target::Program(program, arguments) => {
            let ((read_output, output), (read_errors, errors)) = (pipe()?, pipe()?);
            held.outputs.extend([copy(&read_output)?, copy(&output)?, copy(&read_errors)?, copy(&errors)?]);
            logger = Some(Logger { program, arguments, of: of.clone(), output: read_output, errors: read_errors });
            (output, errors)
        }
        Target::Append(path) => {
            let file = append(&path)?;
            let errors = match target(&io.stderr)? {
                Target::Append(path) => append(&path)?,
                Target::Path(path) => self::output(&path, &mut held)?,
                Target::Nowhere | Target::Program(..) => copy(&file)?,
            };
            (file, errors)
        }
        stdout => {
            let mut one = |target| match target {
                Target::Path(path) => self::output(&path, &mut held),
                Target::Append(path) => append(&path),
                Target::Nowhere | Target::Program(..) => nothing(),
            };
            (one(stdout)?, one(target(&io.stderr)?)?)
        }
    };
    Ok(Opened { streams: Streams { input, output, errors, logger }, held })
}

/// What lies behind a terminal: what is typed comes from the one, what is said goes to the other.
pub(crate) struct Behind {
    pub(crate) input: Option<Input>,
    pub(crate) output: Option<OwnedFd>,
}

/// Opens the streams of a process with a terminal.
///
/// # Errors
/// One is not there, or is none.
pub(crate) fn open_terminal(io: &Io, of: &Of) -> Result<(Opened, Behind), Refusal> {
    let both = OFlags::RDWR | OFlags::NONBLOCK;
    let input = match target(&io.stdin)? {
        Target::Path(path) | Target::Append(path) => Some(Input::new(&path)),
        Target::Nowhere | Target::Program(..) => None,
    };
    let mut held = Held::default();
    let mut logger = None;
    let output = match target(&io.stdout)? {
        Target::Nowhere => None,
        Target::Path(path) if is_fifo(&path)? => Some(opened(&path, both)?),
        Target::Path(path) => Some(opened(&path, OFlags::WRONLY | OFlags::APPEND)?),
        Target::Append(path) => Some(append(&path)?),
        Target::Program(program, arguments) => {
            let ((read_output, output), (read_errors, errors)) = (pipe()?, pipe()?);
            held.outputs.extend([copy(&read_output)?, errors]);
            logger = Some(Logger { program, arguments, of: of.clone(), output: read_output, errors: read_errors });
            rustix::io::ioctl_fionbio(&output, true).map_err(refused)?;
            Some(output)
        }
    };
    let streams = Streams { input: nothing()?, output: nothing()?, errors: nothing()?, logger };
    Ok((Opened { streams, held }, Behind { input, output }))
}

fn append(path: &Path) -> Result<OwnedFd, Refusal> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Refusal::new(Code::Unknown, format!("create {}: {error}", folder.display())))?;
    }
    opened(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
}

fn refused(error: rustix::io::Errno) -> Refusal {
    Refusal::new(Code::Unknown, format!("open a stream: {error}"))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Refusal> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(refused)
}

fn copy(fd: &OwnedFd) -> Result<OwnedFd, Refusal> {
    fd.try_clone().map_err(|error| Refusal::new(Code::Unknown, format!("copy a stream: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_in_four_ways() {
        assert_eq!(target("").unwrap(), Target::Nowhere);
        assert_eq!(target("/run/f/1").unwrap(), Target::Path("/run/f/1".into()));
        assert_eq!(target("fifo:///run/f").unwrap(), Target::Path("/run/f".into()));
        assert_eq!(target("file:///var/log/a%20b+c=d").unwrap(), Target::Append("/var/log/a b+c=d".into()));
        let words = ["id", "x y", "to", "z"].map(str::to_owned).to_vec();
        assert_eq!(target("binary:///bin/log?id=x%20y&to=z").unwrap(), Target::Program("/bin/log".into(), words));
        assert!(target("ftp://h/x").unwrap_err().message.contains("ftp:// is no stream"));
    }

    #[test]
    fn what_a_process_says_waits_for_a_reader_that_comes_late() {
        let path = std::env::temp_dir().join(format!("hull-stdio-{}", std::process::id()));
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let stdout = path.to_str().unwrap().to_owned();
        let io = Io { stdin: String::new(), stdout, stderr: String::new(), terminal: Tty::None };
        let Opened { streams, held } = open(&io, &Of { id: String::new(), namespace: String::new() }).unwrap();
        rustix::io::write(&streams.output, b"early").unwrap();
        let reader = opened(&path, OFlags::RDONLY | OFlags::NONBLOCK).unwrap();
        let mut bytes = [0; 8];
        assert_eq!(rustix::io::read(&reader, &mut bytes), Ok(5));
        drop((streams, held));
        assert_eq!(rustix::io::read(&reader, &mut bytes), Ok(0));
        std::fs::remove_file(path).unwrap();
    }
}
