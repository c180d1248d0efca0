//! Opening the log: reads every record, cuts a torn tail, refuses damage.
use std::{fmt, io, io::Read as _, sync::Arc};

use hull_kv_core::Applied;
use raft::eraftpb::{Entry, HardState};

use super::{
    DiskState, Segment, Wal, file_name,
    record::{self, FILE_HEADER, FileHeader, Found, Record},
};
use crate::disk::{Disk, LOG_PREFIX, Rest};

/// Why a log cannot be opened. Every message says what to do.
#[derive(Debug)]
pub enum WalError {
    /// The disk refused.
    Io {
        /// What was being done to which file.
        doing: String,
        /// The disk's reason.
        source: io::Error,
    },
    /// Damage that no interrupted write explains.
    Damaged {
        /// The file.
        file: String,
        /// Where in it (bytes).
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A file in the middle is missing, or entries are.
    Gap {
        /// The file after the gap.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// The log of another member.
    Foreign {
        /// The file.
        file: String,
        /// Whose it is.
        found: u64,
        /// Who is asking.
        expected: u64,
    },
}

/// What to do about a damaged log.
const REMEDY: &str = "the member stops rather than serve wrong data. Restore the data folder from a backup of this \
     member, or remove it and let the member join again";

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Damaged { file, offset, what } => write!(f, "{file}: damaged at byte {offset}: {what}; {REMEDY}"),
            Self::Gap { file, what } => write!(f, "{file}: {what}; {REMEDY}"),
            Self::Foreign { file, found, expected } => write!(
                f,
                "{file}: written by member {found:x}, but this is member {expected:x}; start it with the data folder \
                 and the flags it had"
            ),
        }
    }
}

impl std::error::Error for WalError {}

/// What the log holds.
#[derive(Debug, Default)]
pub struct Replay {
    /// Entries without gaps, in order, overwritten ones left out.
    pub entries: Vec<Entry>,
    /// The last hard state.
    pub state: HardState,
    /// Bytes of a torn tail that were cut.
    pub cut: u64,
}

/// The member whose log this is, if there is one that says so.
///
/// # Errors
/// The disk's.
pub fn owner(disk: &dyn Disk) -> Result<Option<u64>, WalError> {
    let Some(first) = list(disk)?.first().map(|seq| file_name(*seq)) else { return Ok(None) };
    let doing = || format!("read {}", disk.display(&first));
    let mut header = [0; FILE_HEADER];
    let mut reader = disk.reader(&first).map_err(|source| WalError::Io { doing: doing(), source })?;
    match reader.read_exact(&mut header) {
        Ok(()) => Ok(FileHeader::decode(&header).map(|header| header.member)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(WalError::Io { doing: doing(), source }),
    }
}

impl Wal {
    /// Opens the log of `member` and gives every entry above `after`, which a snapshot covers. `None`: there is no log.
    ///
    /// # Errors
    /// Damage, a gap, another member's log, or the disk's.
    pub fn open(disk: Arc<dyn Disk>, member: u64, after: Applied) -> Result<Option<(Self, Replay)>, WalError> {
        let mut seqs = list(&*disk)?;
        let mut replay = Replay::default();
        let mut segments: Vec<Segment> = Vec::new();
        let newest = seqs.last().copied();
        for seq in std::mem::take(&mut seqs) {
            let place = if Some(seq) == newest { Place::Last } else { Place::Middle };
            match read_file(&*disk, seq, member, after, place, segments.last(), &mut replay)? {
                Some(segment) => segments.push(segment),
                // A new file that was never finished: nothing in it was acknowledged.
                None => disk.remove(&file_name(seq)).map_err(|source| WalError::Io {
                    doing: format!("remove {}", disk.display(&file_name(seq))),
                    source,
                })?,
            }
        }
        let Some(last) = segments.last().copied() else { return Ok(None) };
        let name = file_name(last.seq);
        check_commit(&*disk, &name, after, &replay)?;
        let file = disk
            .append(&name, last.length, if replay.cut > 0 { Rest::Cut } else { Rest::Zeros })
            .map_err(|source| WalError::Io { doing: format!("open {}", disk.display(&name)), source })?;
        let state = replay.state.clone();
        let wal = Self {
            disk,
            member,
            segments,
            file,
            durable: last.length,
            buffer: Vec::new(),
            state,
            disk_state: DiskState::Known,
        };
        Ok(Some((wal, replay)))
    }
}

/// Whether a file may end in a torn write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Middle,
    Last,
}

fn list(disk: &dyn Disk) -> Result<Vec<u64>, WalError> {
    let names = disk.list().map_err(|source| WalError::Io { doing: format!("list {}", disk.display("")), source })?;
    let mut seqs: Vec<u64> =
        names.iter().filter_map(|name| u64::from_str_radix(name.strip_prefix(LOG_PREFIX)?, 16).ok()).collect();
    seqs.sort_unstable();
    Ok(seqs)
}

/// Reads one file; `None` if it is the last one and was never finished.
fn read_file(
    disk: &dyn Disk,
    seq: u64,
    member: u64,
    after: Applied,
    place: Place,
    previous: Option<&Segment>,
    replay: &mut Replay,
) -> Result<Option<Segment>, WalError> {
    let name = file_name(seq);
    let shown = disk.display(&name);
    let bytes = disk.read(&name).map_err(|source| WalError::Io { doing: format!("read {shown}"), source })?;
    let Some(header) = FileHeader::decode(&bytes) else {
        let unfinished = bytes.len() < FILE_HEADER || bytes[..FILE_HEADER].iter().all(|byte| *byte == 0);
        if place == Place::Last && unfinished && previous.is_some() {
            return Ok(None);
        }
        return Err(WalError::Damaged { file: shown, offset: 0, what: "the file's header is wrong" });
    };
    if header.member != member {
        return Err(WalError::Foreign { file: shown, found: header.member, expected: member });
    }
    if let Some(previous) = previous
        && previous.seq + 1 != seq
    {
        let what = format!("file {} before it is missing", file_name(seq - 1));
        return Err(WalError::Gap { file: shown, what });
    }
    let length = read_records(&bytes, &shown, seq, after, place, replay)?;
    Ok(Some(Segment { seq, first_index: header.first_index, length }))
}

/// Reads all records of a file; answers where the good ones end.
fn read_records(
    bytes: &[u8],
    shown: &str,
    seq: u64,
    after: Applied,
    place: Place,
    replay: &mut Replay,
) -> Result<u64, WalError> {
    let mut offset = FILE_HEADER;
    loop {
        let damaged = |what| WalError::Damaged { file: shown.to_owned(), offset: offset as u64, what };
        match record::read(bytes, seq, offset) {
            Found::Record(Record::Entry(entry), next) => {
                take_entry(entry, after, shown, replay)?;
                offset = next;
            }
            Found::Record(Record::HardState(state), next) => {
                replay.state = state;
                offset = next;
            }
            Found::End if place == Place::Middle && offset < bytes.len() => return Err(damaged("the file ends early")),
            Found::End => break,
            Found::Torn if place == Place::Last && !record::later_batch_follows(bytes, seq, offset) => {
                replay.cut = (bytes.len() - offset) as u64;
                break;
            }
            Found::Torn => return Err(damaged("a record that had been synced is incomplete")),
            Found::Damaged(what) => return Err(damaged(what)),
        }
    }
    Ok(offset as u64)
}

/// Appends an entry; one with an index that is there already replaces it and everything behind it, as raft does. Terms
/// never fall: an entry older than the snapshot is left over from before the snapshot came from elsewhere.
fn take_entry(entry: Entry, after: Applied, shown: &str, replay: &mut Replay) -> Result<(), WalError> {
    if entry.index <= after.index || entry.term < after.term {
        return Ok(());
    }
    let first = after.index + 1;
    let at = (entry.index - first) as usize;
    if at > replay.entries.len() {
        let expected = first + replay.entries.len() as u64;
        let what = format!("entry {} follows where entry {expected} belongs", entry.index);
        return Err(WalError::Gap { file: shown.to_owned(), what });
    }
    replay.entries.truncate(at);
    replay.entries.push(entry);
    Ok(())
}

/// A commit index beyond the last entry means that a synced entry is gone.
fn check_commit(disk: &dyn Disk, name: &str, after: Applied, replay: &Replay) -> Result<(), WalError> {
    let last = after.index + replay.entries.len() as u64;
    if replay.state.commit > last {
        let what = format!("entries up to {} were committed, but the log ends at {last}", replay.state.commit);
        return Err(WalError::Gap { file: disk.display(name), what });
    }
    Ok(())
}
