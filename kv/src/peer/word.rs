//! What members say to each other, and its form on the wire.
//!
//! A frame is `length u32 | crc u32 | kind u8 | payload`; numbers are little-endian, the checksum is CRC32C over kind and
//! payload. TCP's own checksum misses one damaged segment in some ten million; a store must not.
use bytes::{Buf as _, Bytes};
use hull_kv_proto::hullpb::{Answer, Forward, Hello, PeerWord, Question, Refusal, Welcome, peer_word};
use prost::Message as _;
use raft::eraftpb::Message;

use crate::limits::MAX_FRAME_BYTES;

/// Bytes before a frame's payload.
pub const FRAME_HEADER: usize = 9;

/// One thing said. Only [`Word::Raft`] can promise what must be on disk first.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// Raft's own.
    Raft(Message),
    /// Proposals for the leader.
    Forward(Forward),
    /// A proposal that the leader did not take.
    Refusal(Refusal),
    /// What only the leader knows.
    Question(Question),
    /// Its answer.
    Answer(Answer),
}

/// Everything that can stand in a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// The first of a connection.
    Hello(Hello),
    /// Its answer.
    Welcome(Welcome),
    /// One word.
    Word(Word),
    /// The next bytes of a snapshot.
    Piece(Bytes),
    /// The snapshot is complete.
    End,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFrame {
    /// Longer than [`MAX_FRAME_BYTES`].
    TooLong,
    /// The checksum is wrong.
    Checksum,
    /// The payload is not what its kind says.
    Shape,
}

impl std::fmt::Display for NoFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a frame is longer than any can be",
            Self::Checksum => "the checksum of a frame is wrong",
            Self::Shape => "a frame of a kind or shape that this version does not know",
        })
    }
}

impl std::error::Error for NoFrame {}

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const RAFT: u8 = 3;
const WORD: u8 = 4;
const PIECE: u8 = 5;
const END: u8 = 6;

impl Frame {
    /// Appends the frame to `to`.
    pub fn put(&self, to: &mut Vec<u8>) {
        let start = to.len();
        to.resize(start + FRAME_HEADER, 0);
        // Encoding into a Vec cannot fail: it grows.
        let kind = match self {
            Self::Hello(hello) => (HELLO, hello.encode(to).is_ok()).0,
            Self::Welcome(welcome) => (WELCOME, welcome.encode(to).is_ok()).0,
            Self::Word(Word::Raft(message)) => (RAFT, protobuf::Message::write_to_vec(message, to).is_ok()).0,
            Self::Word(word) => (WORD, to_wire(word).encode(to).is_ok()).0,
            Self::Piece(bytes) => {
                to.extend_from_slice(bytes);
                PIECE
            }
            Self::End => END,
        };
        let length = (to.len() - start - FRAME_HEADER) as u32;
        to[start + 8] = kind;
        let crc = crc32c::crc32c(&to[start + 8..]);
        to[start..start + 4].copy_from_slice(&length.to_le_bytes());
        to[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// The length of the payload that a header announces.
    ///
    /// # Errors
    /// No frame is that long.
    pub fn payload_length(header: &[u8; FRAME_HEADER]) -> Result<usize, NoFrame> {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length > MAX_FRAME_BYTES { Err(NoFrame::TooLong) } else { Ok(length) }
    }

    /// Reads a frame whose payload follows `header`.
    ///
    /// # Errors
    /// The bytes are not what was sent, or not what this version understands.
    pub fn take(header: &[u8; FRAME_HEADER], payload: Bytes) -> Result<Self, NoFrame> {
        let crc = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if crc32c::crc32c_append(crc32c::crc32c(&header[8..]), &payload) != crc {
            return Err(NoFrame::Checksum);
        }
        let shape = |_| NoFrame::Shape;
        Ok(match header[8] {
            HELLO => Self::Hello(Hello::decode(payload).map_err(shape)?),
            WELCOME => Self::Welcome(Welcome::decode(payload).map_err(shape)?),
            RAFT => {
                let message = protobuf::Message::parse_from_carllerche_bytes(&payload).map_err(|_| NoFrame::Shape)?;
                Self::Word(Word::Raft(message))
            }
            WORD => Self::Word(from_wire(PeerWord::decode(payload).map_err(shape)?).ok_or(NoFrame::Shape)?),
            PIECE => Self::Piece(payload),
            END if !payload.has_remaining() => Self::End,
            _ => return Err(NoFrame::Shape),
        })
    }
}

fn to_wire(word: &Word) -> PeerWord {
    let word = match word {
        Word::Forward(forward) => Some(peer_word::Word::Forward(forward.clone())),
        Word::Refusal(refusal) => Some(peer_word::Word::Refusal(*refusal)),
        Word::Question(question) => Some(peer_word::Word::Question(*question)),
        Word::Answer(answer) => Some(peer_word::Word::Answer(*answer)),
        Word::Raft(_) => None,
    };
    PeerWord { word }
}

fn from_wire(wire: PeerWord) -> Option<Word> {
    Some(match wire.word? {
        peer_word::Word::Forward(forward) => Word::Forward(forward),
        peer_word::Word::Refusal(refusal) => Word::Refusal(refusal),
        peer_word::Word::Question(question) => Word::Question(question),
        peer_word::Word::Answer(answer) => Word::Answer(answer),
    })
}

impl Word {
    /// About how many bytes it takes on the wire.
    pub fn size(&self) -> usize {
        match self {
            Self::Raft(message) => {
                64 + message.entries.iter().map(|e| 32 + e.data.len() + e.context.len()).sum::<usize>()
            }
            Self::Forward(forward) => 16 + forward.proposals.iter().map(|p| 16 + p.command.len()).sum::<usize>(),
            Self::Refusal(_) | Self::Question(_) | Self::Answer(_) => 32,
        }
    }
}
