//! Decoders of the store: requests in JSON, frames between members, settings.

use std::ffi::OsString;
use std::sync::Arc;

use bytes::Bytes;
use hull_kv::config::Config;
use hull_kv::disk::{Disk, MemoryDisk};
use hull_kv::peer::{FRAME_HEADER, Frame};
use hull_kv::wal::Wal;
use hull_kv_core::Applied;
use hull_kv_proto::json::{from_json, to_json};
use hull_kv_proto::schema::{self, Message};
use raft::prelude::{Entry, HardState};

/// Messages that the gateway takes.
const MESSAGES: [&Message; 6] = [
    &schema::ETCDSERVERPB_TXNREQUEST,
    &schema::ETCDSERVERPB_RANGEREQUEST,
    &schema::ETCDSERVERPB_PUTREQUEST,
    &schema::ETCDSERVERPB_WATCHREQUEST,
    &schema::ETCDSERVERPB_LEASEGRANTREQUEST,
    &schema::ETCDSERVERPB_TXNRESPONSE,
];

/// JSON to a message and back, and bytes that need not be a message to JSON. The first byte chooses the message.
pub(crate) fn gateway(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let message = MESSAGES[usize::from(*choice) % MESSAGES.len()];
    for encoded in from_json(message, rest).unwrap_or_default() {
        to_json(message, &encoded).expect("what came of JSON is shown as JSON");
    }
    let _ = to_json(message, rest);
}

/// A frame between members: its kind, its payload. The checksum is made right: it keeps accidents out, not enemies.
pub(crate) fn peer(bytes: &[u8]) {
    let Some((kind, payload)) = bytes.split_first() else { return };
    let mut header = [0; FRAME_HEADER];
    header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8] = *kind;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[8..]), payload);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    if let Ok(frame) = Frame::take(&header, Bytes::copy_from_slice(payload)) {
        // And goes over the wire again as the same frame.
        let mut wire = Vec::new();
        frame.put(&mut wire);
        let (header, payload) = wire.split_at(FRAME_HEADER);
        let header = header.try_into().expect("a frame begins with its header");
        Frame::take(&header, Bytes::copy_from_slice(payload)).expect("what was sent is understood");
    }
}

/// Flags and variables: a line each, a variable where the line has no dash in front.
pub(crate) fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (flags, variables): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('-'));
    let variable = |name: &str| {
        variables
            .iter()
            .find_map(|line| line.split_once('=').filter(|(known, _)| *known == name))
            .map(|(_, value)| value.to_owned())
    };
    let _ = Config::parse(flags.into_iter().map(OsString::from), variable);
}

/// Member whose log it is.
const MEMBER: u64 = 7;

/// Before the first entry.
const START: Applied = Applied { index: 0, term: 0 };

/// A log with bytes of the input in it, from a place that its first two bytes name: what it still says is a beginning of what was
/// written, or it is refused.
pub(crate) fn log(bytes: &[u8]) {
    let Some((place, changed)) = bytes.split_at_checked(2) else { return };
    let disk = MemoryDisk::default();
    let entries: Vec<Entry> =
        (1..=4).map(|index| Entry { index, term: 1, data: vec![index as u8; 20].into(), ..Entry::default() }).collect();
    let mut wal = Wal::create(Arc::new(disk.clone()), MEMBER, 1, HardState::default()).expect("a log in memory");
    let _ = wal.append(&entries, None).expect("entries in memory");
    drop(wal);
    let name = disk.list().expect("files in memory").remove(0);
    disk.tamper(&name, |file| {
        let place = usize::from(u16::from_le_bytes([place[0], place[1]])) % file.len();
        for (at, byte) in changed.iter().enumerate().take(file.len() - place) {
            file[place + at] = *byte;
        }
    });
    if let Ok(Some((_, replay))) = Wal::open(Arc::new(disk), MEMBER, START) {
        assert!(replay.entries.len() <= entries.len());
        assert_eq!(replay.entries, entries[..replay.entries.len()]);
    }
}
