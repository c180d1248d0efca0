//! The control socket's language: what hullctl may ask PID 1, and what it answers.
//!
//! `/run/hull/init.sock` is SOCK_SEQPACKET: one [`Request`] a connection, then packets of [`Response`] until [`Response::Done`] or
//! [`Response::Refused`], which are always the last. Both are postcard. Whoever asks must be root (SO_PEERCRED).
//! A reader that does not read stops only its own answer.

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::limits::{LINE_BYTES, LOG_PIECE_BYTES, NAME_BYTES, PATH_BYTES};

/// Where PID 1 listens.
pub const SOCKET: &str = "/run/hull/init.sock";

/// A service's or slot's name.
pub type Name = String<NAME_BYTES>;
/// One line for people. [`line`] cuts what is too long.
pub type Line = String<LINE_BYTES>;
/// An absolute path on the node.
pub type Path = String<PATH_BYTES>;

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one at a time, and nothing here may allocate")]
pub enum Request {
    /// Answered by one `Node`, a `Service` each, a `Complaint` each, a `Note` each.
    Status,
    /// Answered by pieces of `Log`. `init` is PID 1's own log, `update` that of stage and swap.
    Logs {
        /// The service.
        name: Name,
        /// Whether to go on when everything kept was sent.
        follow: Follow,
    },
    /// Stops the service and starts it again, at once.
    Restart {
        /// The service.
        name: Name,
    },
    /// Orderly shutdown, then firmware.
    Reboot,
    /// Orderly shutdown, then power off.
    Poweroff,
    /// Verifies a release and writes it to the slot that is not in use. Answered by `Progress`.
    UpdateStage {
        /// Directory with targets.json, hull.efi, root.img; absolute, on the node.
        path: Path,
    },
    /// Loads the staged slot, stops everything in order and jumps. Answered by `Progress`; `Done` comes before the stop.
    UpdateSwap {
        /// Whether the node must be healthy before it.
        from: SwapFrom,
    },
    /// Answered by a `Slot` each.
    UpdateStatus,
}

/// From what node a swap starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwapFrom {
    /// A healthy one: what does not run before a swap does not run after it either, and would be blamed on the new release.
    Healthy,
    /// Any.
    Whatever,
}

/// Whether `Logs` ends with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Follow {
    /// Ends when everything kept was sent.
    UntilNow,
    /// Goes on until the reader hangs up.
    Forever,
}

/// One packet of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, on the stack of whoever encodes it: nothing here may allocate"
)]
pub enum Response {
    /// The node as a whole.
    Node(Node),
    /// One service.
    Service(Service),
    /// Something wrong on the kernel command line.
    Complaint(Complaint),
    /// Something people should know about this boot: a fall-back with its reason, a degraded state, a repaired table.
    Note(Line),
    /// A piece of log, any bytes; lines end with `\n` and may be cut between two pieces.
    Log(Vec<u8, LOG_PIECE_BYTES>),
    /// The reader was too slow, or the log older than what is kept: so many bytes are missing here.
    LogLost {
        /// Bytes that are gone.
        bytes: u64,
    },
    /// A slot of the disk.
    Slot(Slot),
    /// How far a stage or swap is.
    Progress(Progress),
    /// Last packet: not done, and everything is as it was.
    Refused(Refusal),
    /// Last packet: done (or, for reboot, poweroff and swap: it will be done, and the node stops now).
    Done,
}

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Host name.
    pub name: String<64>,
    /// Release version of the running initramfs.
    pub version: Name,
    /// What runs.
    pub root: RunningRoot,
    /// Milliseconds since the kernel started (CLOCK_BOOTTIME).
    pub uptime_ms: u64,
    /// Milliseconds from PID 1's start until every service was ready; `None` as long as one is not.
    pub up_after_ms: Option<u64>,
    /// Where state goes.
    pub state: State,
    /// What the network service last said, e.g. `eth0 10.0.2.15/24`; empty before.
    pub addresses: Line,
    /// Where the store listens (`hull.kv.listen`).
    pub kv_endpoint: Name,
    /// Judgement on this boot.
    pub trial: Trial,
    /// Milliseconds between the old system's stop of the store and this system's ready store, if this boot is the end of a swap.
    pub swap_gap_ms: Option<u64>,
    /// Heap allocations of PID 1 since the node was up: always 0, or something is wrong.
    pub allocations_since_up: u64,
    /// Processes that nobody waited for and PID 1 reaped.
    pub orphans_reaped: u64,
    /// PID 1's own resident memory, in KiB.
    pub resident_kib: u32,
    /// Complaints and notes that did not fit into the tables.
    pub lost_messages: u32,
}

/// What is mounted as `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunningRoot {
    /// A slot of the disk, through dm-verity.
    Slot {
        /// Which.
        slot: SlotName,
        /// dm-verity root hash, 64 hex digits.
        root_hash: String<64>,
    },
    /// The root image inside the initramfs; there is no disk.
    Embedded {
        /// dm-verity root hash or empty.
        root_hash: String<64>,
    },
    /// None: PID 1 looks for a disk.
    Missing {
        /// Why, and what to do.
        reason: Line,
    },
}

/// Where state goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one a node, and nothing here may allocate")]
pub enum State {
    /// The state partition.
    Disk,
    /// In memory, because there is no disk or `hull.state=memory` asks for it.
    Memory,
    /// In memory, because the state partition is broken: services that need their old state are held back.
    Degraded {
        /// Why, and what to do.
        reason: Line,
    },
}

/// Judgement on this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trial {
    /// The slot was proved before.
    None,
    /// Not yet decided.
    Running {
        /// Until then the node must be healthy, in milliseconds from now.
        left_ms: u64,
        /// What is still missing.
        waiting_for: Line,
    },
    /// Proved: the slot is good.
    Good,
    /// Failed: the machine goes back to the other slot.
    Failed {
        /// Why.
        reason: Line,
    },
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// What it does now.
    pub state: ServiceState,
    /// Times it was started again by itself.
    pub restarts: u32,
    /// Its last STATUS= line.
    pub status: Line,
    /// Resident memory of its cgroup in bytes, if known.
    pub memory_bytes: Option<u64>,
}

/// What a service does now. Times are milliseconds before (since) or after (until) the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceState {
    /// Waits for others to be ready.
    Waiting,
    /// Runs, not ready.
    Starting {
        /// Process id.
        pid: u32,
        /// Since.
        for_ms: u64,
    },
    /// Runs and is ready.
    Ready {
        /// Process id.
        pid: u32,
        /// Since.
        for_ms: u64,
    },
    /// Ended and starts again.
    BackingOff {
        /// In so long.
        in_ms: u64,
        /// Why it ended.
        reason: Line,
    },
    /// Was told to stop.
    Stopping {
        /// Process id.
        pid: u32,
    },
    /// Ended and stays so.
    Stopped {
        /// Why.
        reason: Line,
    },
    /// Not started, on purpose.
    HeldBack {
        /// Why, and what to do.
        reason: Line,
    },
}

/// A slot's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotName {
    /// `hull-a`.
    A,
    /// `hull-b`.
    B,
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// A slot of the disk, as told to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Which.
    pub slot: SlotName,
    /// What is in it.
    pub content: SlotContent,
    /// 0 (never) to 15.
    pub priority: u8,
    /// Whether the system runs from it.
    pub usage: SlotUsage,
    /// Version of the release in it; empty if unknown.
    pub version: Name,
    /// Root hash, 64 hex digits, or what of it is known (the PARTUUID's 32).
    pub root_hash: String<64>,
    /// Why it is bad; empty otherwise or if unknown.
    pub reason: Line,
}

/// What is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotContent {
    /// Nothing that may boot.
    Empty,
    /// A verified release that has not been tried.
    Staged {
        /// Tries left.
        tries: u8,
    },
    /// On trial.
    Trying {
        /// Tries left.
        tries: u8,
    },
    /// Proved.
    Good,
    /// Tries spent.
    Bad,
}

/// Whether the system runs from a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotUsage {
    /// This is the running root.
    Running,
    /// It is not.
    Idle,
}

/// How far something long is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, e.g. `writing hull-b`.
    pub step: Line,
    /// Bytes or units done.
    pub done: u64,
    /// Of so many; 0 when unknown.
    pub total: u64,
}

/// Something wrong on the kernel command line. It never stops a boot: the default applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The key, cut if longer.
    pub key: String<64>,
    /// The value, cut if longer.
    pub value: String<64>,
    /// What was expected, and what applies instead.
    pub expected: Line,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command line: {}={}: {}", self.key, self.value, self.expected)
    }
}

/// Not done, and everything is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// On what, e.g. `release /var/tmp/r2`.
    pub object: Line,
    /// What was tried, e.g. `stage`.
    pub operation: Line,
    /// What is wrong.
    pub cause: Line,
    /// What to do.
    pub remedy: Line,
}

impl Refusal {
    /// Cuts each part to a [`Line`].
    #[must_use]
    pub fn new(object: &str, operation: &str, cause: &str, remedy: &str) -> Self {
        Self { object: line(object), operation: line(operation), cause: line(cause), remedy: line(remedy) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}; {}", self.operation, self.object, self.cause, self.remedy)
    }
}

/// What a terminal shows as a character, instead of obeying it: services without any rights write what an operator reads. Blank
/// space becomes a blank; C0, DEL, C1, marks that turn the direction of writing and separators of lines become `?`.
#[must_use]
pub fn shown(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
        control if control.is_control() => '?',
        other => other,
    }
}

/// A text of [`shown`] characters, cut to its capacity at a character's border; an ellipsis shows the cut.
#[must_use]
pub fn cut<const N: usize>(text: &str) -> String<N> {
    const ELLIPSIS: &str = "…";
    let mut out = String::new();
    let mut end = text.len();
    if end > N {
        end = N.saturating_sub(ELLIPSIS.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
    }
    for character in text[..end].chars() {
        let _ = out.push(shown(character)); // fits: what is shown is never longer than what was meant
    }
    if end < text.len() {
        let _ = out.push_str(ELLIPSIS); // room was kept for it
    }
    out
}

/// [`cut`] to a line.
#[must_use]
pub fn line(text: &str) -> Line {
    cut(text)
}

/// Formats into a line of [`shown`] characters without a heap; what does not fit is dropped.
#[must_use]
pub fn format_line(arguments: fmt::Arguments<'_>) -> Line {
    struct Cutting(Line);
    impl fmt::Write for Cutting {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for character in text.chars() {
                if self.0.push(shown(character)).is_err() {
                    break;
                }
            }
            Ok(())
        }
    }
    let mut out = Cutting(Line::new());
    let _ = fmt::write(&mut out, arguments); // Cutting never fails
    out.0
}

/// Writes a request or response into a buffer of at least [`PACKET_BYTES`](crate::limits::PACKET_BYTES) and gives the packet.
///
/// # Errors
/// The buffer is too small.
pub fn encode<'b, T: Serialize>(message: &T, buffer: &'b mut [u8]) -> Result<&'b [u8], postcard::Error> {
    postcard::to_slice(message, buffer).map(|written| &*written)
}

/// Reads a packet.
///
/// # Errors
/// It is not what the other side of the same release would have sent.
pub fn decode<'p, T: Deserialize<'p>>(packet: &'p [u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PACKET_BYTES;

    #[test]
    fn every_answer_fits_into_one_packet() {
        let full = |n: usize| "x".repeat(n);
        let long = line(&full(LINE_BYTES));
        let answers = [
            Response::Log(Vec::from_slice(&[255; LOG_PIECE_BYTES]).unwrap()),
            Response::Refused(Refusal::new(&full(300), &full(300), &full(300), &full(300))),
            Response::Node(Node {
                name: cut(&full(64)),
                version: cut(&full(NAME_BYTES)),
                root: RunningRoot::Missing { reason: long.clone() },
                uptime_ms: u64::MAX,
                up_after_ms: Some(u64::MAX),
                state: State::Degraded { reason: long.clone() },
                addresses: long.clone(),
                kv_endpoint: cut(&full(NAME_BYTES)),
                trial: Trial::Running { left_ms: u64::MAX, waiting_for: long.clone() },
                swap_gap_ms: Some(u64::MAX),
                allocations_since_up: u64::MAX,
                orphans_reaped: u64::MAX,
                resident_kib: u32::MAX,
                lost_messages: u32::MAX,
            }),
        ];
        for answer in answers {
            let mut buffer = [0; PACKET_BYTES];
            let packet = encode(&answer, &mut buffer).unwrap();
            assert_eq!(decode::<Response>(packet).unwrap(), answer);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_shows_it() {
        assert_eq!(cut::<8>("abcdefgh").as_str(), "abcdefgh");
        assert_eq!(cut::<8>("abcdefghi").as_str(), "abcde…");
        assert_eq!(cut::<8>("abcdéfghi").as_str(), "abcd…");
    }

    #[test]
    fn what_a_stranger_wrote_cannot_act_on_a_terminal() {
        let evil = "\x1b]0;x\x07 \u{9b}2J\x7f \u{202e}abc\u{2066}\nü…";
        let harmless = "?]0;x? ?2J? ?abc? ü…";
        assert_eq!(line(evil).as_str(), harmless);
        assert_eq!(format_line(format_args!("{evil}")).as_str(), harmless);
        assert_eq!(cut::<8>("\u{202e}\u{202e}\u{202e}").as_str(), "?…");
    }

    #[test]
    fn a_packet_of_rubbish_is_refused() {
        assert!(decode::<Request>(&[200, 1, 2]).is_err());
        assert!(decode::<Request>(&[]).is_err());
    }
}
