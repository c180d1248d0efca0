//! What reads bytes from the network or the disk, each as a function of bytes that must neither panic nor hang nor take much memory,
//! and whose accepted input must be what is written again. Shared by the fuzz targets and by `kv/tests/decoders.rs`.
use std::{
    io::Write as _,
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;
use hull_kv::{
    bolt::Reader,
    certificate::Certificate,
    config::Config,
    disk::{Disk, Growth, MemoryDisk},
    import::{EtcdLog, read_store},
    names::{Kind, NoAnswer, Question},
    peer::{FRAME_HEADER, Frame},
    shared::Shared,
    snapfile,
    wal::Wal,
};
use hull_kv_core::{Applied, Instant, Store, check_delete, check_put, check_range, check_txn};
use hull_kv_proto::{
    etcdserverpb::{
        DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, TxnRequest, WatchCreateRequest, WatchRequest,
    },
    gateway::ROUTES,
    hullpb::{Command, Forward, SnapshotPart},
    json,
};
use hull_kv_wire::Offline;
use prost::Message;

/// Operations in a transaction, as configured by default.
const OPS: usize = 128;

/// A frame between members; one that is taken is written as it came.
pub fn frame(bytes: &[u8]) {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER>() else { return };
    let Ok(length) = Frame::payload_length(header) else { return };
    let Some(payload) = bytes.get(FRAME_HEADER..FRAME_HEADER + length) else { return };
    if let Ok(frame) = Frame::take(header, Bytes::copy_from_slice(payload)) {
        let mut again = Vec::new();
        frame.put(&mut again);
        let header: &[u8; FRAME_HEADER] = again.first_chunk().expect("a frame has a header");
        let taken = Frame::take(header, Bytes::copy_from_slice(&again[FRAME_HEADER..]));
        assert_eq!(taken.ok(), Some(frame), "a frame is what was sent");
    }
}

/// What a client of HTTP/2 sends behind its first bytes, in pieces; its requests are answered, kept or dropped by turns.
pub fn http2(bytes: &[u8]) {
    let mut connection = Offline::new(8);
    let (mut kept, mut senders, mut turn) = (Vec::new(), Vec::new(), 0_usize);
    for piece in bytes.chunks(97) {
        let Ok(requests) = connection.receive(piece) else { break };
        for mut exchange in requests {
            turn += 1;
            let _ = exchange.head().request(());
            match turn % 5 {
                0 => {
                    let whole = exchange.take_whole().unwrap_or_else(|| Bytes::from(vec![7; 100_000]));
                    let _ = exchange.respond().message(whole);
                }
                1 => kept.push(exchange.split()),
                2 => drop(exchange),
                3 => senders.extend(exchange.respond().begin_grpc()),
                _ => {
                    let _ = exchange.respond().empty(&http::Response::new(()));
                }
            }
        }
        let mut context = Context::from_waker(Waker::noop());
        for (body, _) in &mut kept {
            let _ = body.poll_data(&mut context);
        }
        senders.retain_mut(|sender| sender.send(Bytes::from(vec![1; 5000])).is_ok() && turn % 7 != 0);
        whole_frames(&connection.output());
    }
    drop(kept);
    for sender in senders {
        let _ = sender.well();
    }
    whole_frames(&connection.output());
}

/// What goes out is made of whole frames of a size that every client takes.
fn whole_frames(mut bytes: &[u8]) {
    while let Some(([a, b, c, ..], _)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        assert!(length <= 16_384, "a frame of {length} bytes");
        bytes = bytes.get(9 + length..).expect("a frame is whole");
    }
    assert!(bytes.is_empty(), "a header is whole");
}

/// What members send each other inside frames, without the checksum in front.
pub fn peer_words(bytes: &[u8]) {
    let _ = Forward::decode(bytes);
    let _ = SnapshotPart::decode(bytes);
    if let Ok(command) = Command::decode(bytes) {
        let again = Command::decode(command.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&command));
    }
}

/// A name server's answer. The id is taken from it, so that it fits; with another one it is nobody's answer.
pub fn dns(bytes: &[u8]) {
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    for kind in [Kind::A, Kind::Aaaa] {
        let question = Question::new("db.example.org", kind).expect("a name");
        let Ok(addresses) = question.answer(id, bytes) else { continue };
        // The shortest record is one of the root.
        assert!((1..=bytes.len() / 15).contains(&addresses.len()), "{addresses:?}");
        assert!(addresses.iter().all(|address| address.is_ipv4() == (kind == Kind::A)), "{addresses:?}");
        assert_eq!(question.answer(!id, bytes), Err(NoAnswer::NotOurs));
    }
}

/// Commands of the log, one after the other, each behind its length (two bytes, little-endian): the state machine takes any.
pub fn commands(bytes: &[u8]) {
    let mut store = Store::new();
    let mut rest = bytes;
    let mut index = 0;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (command, behind) = behind.split_at(length);
        rest = behind;
        let Ok(command) = Command::decode(command) else { continue };
        index += 1;
        let before = store.revision();
        let _ = store.apply(Applied { index, term: 1 }, command, Instant(index));
        assert!(store.revision() - before <= 1, "one command is one revision at most");
    }
    let _ = store.hash_kv(0);
}

/// Requests of clients, and the checks before they enter the log.
pub fn request(bytes: &[u8]) {
    let _ = RangeRequest::decode(bytes).map(|request| check_range(&request).map(|()| Store::new().range(&request)));
    let _ = PutRequest::decode(bytes).map(|request| check_put(&request));
    let _ = DeleteRangeRequest::decode(bytes).map(|request| check_delete(&request));
    let _ = TxnRequest::decode(bytes).map(|request| check_txn(&request, OPS));
    let _ = LeaseGrantRequest::decode(bytes);
    let _ = WatchRequest::decode(bytes);
    let _ = WatchCreateRequest::decode(bytes);
}

/// The body of a request to the JSON gateway. What is understood is said again in JSON, and understood alike.
pub fn json(bytes: &[u8]) {
    for route in ROUTES {
        let Ok(messages) = json::from_json(route.input, bytes) else { continue };
        for message in messages {
            let again = json::to_json(route.input, &message).expect("what was understood can be said");
            let twice = json::from_json(route.input, again.as_bytes()).expect("what was said is understood");
            assert_eq!(twice.len(), 1, "{again}");
            let said = json::to_json(route.input, &twice[0]).expect("and said again");
            assert_eq!(said, again);
        }
    }
    for route in ROUTES {
        // Answers come from inside, but are read with the same tables.
        let _ = json::to_json(route.output, bytes);
    }
}

fn put_file(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let mut file = disk.create(name, Growth::Exact).expect("create");
    file.write(bytes).expect("write");
    file.sync().expect("sync");
    disk.sync_names().expect("sync");
}

/// A file of the log at the start of a member.
pub fn log(bytes: &[u8]) {
    let disk = MemoryDisk::default();
    put_file(&disk, "wal-0000000000000001", bytes);
    let disk: Arc<dyn Disk> = Arc::new(disk);
    if let Ok(Some((_, first))) = Wal::open(Arc::clone(&disk), 7, Applied::default()) {
        // A torn tail was cut: the second start finds the same, and nothing to cut.
        let (_, second) = Wal::open(disk, 7, Applied::default()).expect("it was opened before").expect("a log");
        assert_eq!((second.entries, second.cut), (first.entries, 0));
    }
}

/// The files of a member's own snapshot at its start, each behind the length of its name (a byte), its name, and its length (four
/// bytes, little-endian).
pub fn snapshot(bytes: &[u8]) {
    let disk = MemoryDisk::default();
    let mut rest = bytes;
    while let Some((length, behind)) = rest.split_first() {
        let (name, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        let Some((length, behind)) = behind.split_first_chunk::<4>() else { break };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX).min(behind.len());
        let (content, behind) = behind.split_at(length);
        rest = behind;
        put_file(&disk, &String::from_utf8_lossy(name), content);
    }
    if let Ok(Some(loaded)) = snapfile::load(&disk) {
        let _ = loaded.store.hash_kv(0);
    }
}

/// A snapshot from another member.
pub fn arriving(bytes: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let shared = Arc::new(Shared::new(2, Store::new(), snapfile::Runs::default()));
    let Ok(mut arriving) = snapfile::Arriving::begin(Arc::clone(&disk), &shared) else { return };
    for piece in bytes.chunks(100) {
        if arriving.write(piece).is_err() {
            return;
        }
    }
    let _ = arriving.finish();
}

/// A database file of etcd's.
pub fn database(bytes: &[u8]) {
    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(bytes).is_ok()
        && let Ok(reader) = Reader::open(file)
    {
        let _ = read_store(&reader);
    }
}

/// An etcd's own log; one that cannot be read to its end stays so whatever follows.
pub fn etcd_log(bytes: &[u8]) {
    let is_whole = |files: &[&[u8]]| EtcdLog::of(files.iter().map(Ok)).is_ok_and(|log| log.is_whole);
    if !is_whole(&[bytes]) {
        assert!(!is_whole(&[bytes, &[0; 64]]), "damage is not undone by a further file");
    }
}

/// A certificate that somebody showed; a part of one is none.
pub fn certificate(bytes: &[u8]) {
    let Some(certificate) = Certificate::read(bytes) else { return };
    let _ = certificate.common_name();
    assert!(!certificate.is_valid_at(u64::MAX), "no certificate is valid for ever");
    assert!(Certificate::read(&bytes[..bytes.len() - 1]).is_none(), "a certificate without its last byte is one");
}

/// A command line: arguments one a line; those that hold `=` and begin with `ETCD_` are variables. A file of settings is the same text.
pub fn flags(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (variables, arguments): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("ETCD_"));
    let variable = |name: &str| {
        let found = variables.iter().filter_map(|line| line.split_once('=')).find(|(known, _)| *known == name);
        found.map(|(_, value)| value.to_owned())
    };
    let _ = Config::parse(arguments.into_iter().map(Into::into), variable, |_| Ok(text.to_string()));
}
