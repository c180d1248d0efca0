//! The rules of HTTP/2 (RFC 9113), one by one: what a client sends, and what it gets.
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use hull_kv_wire::{Exchange, Offline, Reason};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

const STREAMS: u32 = 4;
const WINDOW: usize = 1024 * 1024;

/// `:method: POST`, `:scheme: http`, `:path: /`.
const HEAD: &[u8] = &[0x83, 0x86, 0x84];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn request(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, HEAD)
}

fn setting(setting: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&setting.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// A frame that came: kind, flags, stream, payload.
type Frame = (u8, u8, u32, Vec<u8>);

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, flags, e, f, g, h, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames.push((*kind, *flags, u32::from_be_bytes([*e, *f, *g, *h]), rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "a frame is cut off");
    frames
}

/// A connection whose greetings are over.
struct Client {
    connection: Offline,
    /// Requests are kept, since to drop one is to end it.
    requests: Vec<Exchange>,
}

impl Client {
    fn new() -> Self {
        let mut client = Self { connection: Offline::new(STREAMS), requests: Vec::new() };
        client.send(&frame(SETTINGS, 0, 0, &[])).expect("settings");
        let greeting = client.came();
        assert_eq!(greeting.iter().map(|frame| frame.0).collect::<Vec<_>>(), [SETTINGS, WINDOW_UPDATE, SETTINGS]);
        assert_eq!((greeting[2].1, &*greeting[2].3), (ACK, &[][..]));
        client
    }

    fn send(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let requests = self.connection.receive(bytes)?;
        let count = requests.len();
        self.requests.extend(requests);
        Ok(count)
    }

    fn came(&mut self) -> Vec<Frame> {
        frames(&self.connection.output())
    }

    /// What a stream was reset for.
    fn resets(&mut self) -> Vec<(u32, u32)> {
        let reason = |payload: &[u8]| u32::from_be_bytes(payload.try_into().expect("four bytes"));
        self.came().iter().filter(|frame| frame.0 == RST_STREAM).map(|frame| (frame.2, reason(&frame.3))).collect()
    }
}

fn poll(exchange: &mut hull_kv_wire::Body) -> Poll<Option<Bytes>> {
    exchange.poll_data(&mut Context::from_waker(Waker::noop())).map(|data| data.map(|data| data.expect("no reset")))
}

#[test]
fn some_errors_end_the_connection() {
    let open = request(1, 0);
    let cases: [(&str, Vec<u8>, Reason); 27] = [
        ("a frame of 16,385 bytes", frame(DATA, 0, 1, &[0; 16_385]), Reason::FRAME_SIZE_ERROR),
        ("data on no stream", frame(DATA, 0, 0, b"a"), Reason::PROTOCOL_ERROR),
        ("data on an idle stream", frame(DATA, 0, 1, b"a"), Reason::PROTOCOL_ERROR),
        ("a head on no stream", request(0, 0), Reason::PROTOCOL_ERROR),
        ("a head on a server's stream", request(2, 0), Reason::PROTOCOL_ERROR),
        ("priority on no stream", frame(PRIORITY, 0, 0, &[0; 5]), Reason::PROTOCOL_ERROR),
        ("a short priority", frame(PRIORITY, 0, 1, &[0; 4]), Reason::FRAME_SIZE_ERROR),
        ("a reset of no stream", frame(RST_STREAM, 0, 0, &[0; 4]), Reason::PROTOCOL_ERROR),
        ("a reset of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), Reason::PROTOCOL_ERROR),
        ("a short reset", [&open[..], &frame(RST_STREAM, 0, 1, &[0; 3])].concat(), Reason::FRAME_SIZE_ERROR),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[]), Reason::PROTOCOL_ERROR),
        ("settings cut off", frame(SETTINGS, 0, 0, &[0; 5]), Reason::FRAME_SIZE_ERROR),
        ("an acknowledgement with a setting", frame(SETTINGS, ACK, 0, &[0; 6]), Reason::FRAME_SIZE_ERROR),
        ("push, perhaps", setting(2, 2), Reason::PROTOCOL_ERROR),
        ("a window of 2 GiB", setting(4, 1 << 31), Reason::FLOW_CONTROL_ERROR),
        ("small frames", setting(5, 16_383), Reason::PROTOCOL_ERROR),
        ("huge frames", setting(5, 1 << 24), Reason::PROTOCOL_ERROR),
        ("a push", frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 4]), Reason::PROTOCOL_ERROR),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8]), Reason::PROTOCOL_ERROR),
        ("a short ping", frame(PING, 0, 0, &[0; 7]), Reason::FRAME_SIZE_ERROR),
        ("an end on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Reason::PROTOCOL_ERROR),
        ("no more window", update(0, 0), Reason::PROTOCOL_ERROR),
        ("a window beyond all", update(0, (1 << 31) - 1), Reason::FLOW_CONTROL_ERROR),
        ("a window on an idle stream", update(1, 1), Reason::PROTOCOL_ERROR),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, HEAD), Reason::PROTOCOL_ERROR),
        ("more padding than frame", frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0x83]), Reason::PROTOCOL_ERROR),
        ("no header block", frame(HEADERS, END_HEADERS, 1, &[0xff; 20]), Reason::COMPRESSION_ERROR),
    ];
    for (what, bytes, reason) in cases {
        assert_eq!(Client::new().send(&bytes), Err(reason), "{what}");
    }
}

#[test]
fn settings_come_first() {
    for first in [frame(PING, 0, 0, &[0; 8]), request(1, 0), frame(SETTINGS, ACK, 0, &[])] {
        assert!(matches!(Offline::new(STREAMS).receive(&first), Err(Reason::PROTOCOL_ERROR)), "{first:x?}");
    }
}

#[test]
fn other_errors_end_a_stream_only() {
    let open = request(1, 0);
    let closed = request(1, END_STREAM);
    let announced = frame(HEADERS, END_HEADERS, 1, &[HEAD, b"\x0f\x0d\x013"].concat());
    let cases: [(&str, Vec<u8>, u32); 12] = [
        ("data behind the end", [&closed[..], &frame(DATA, 0, 1, b"a")].concat(), 5),
        ("a head behind the end", [&closed[..], &request(1, END_STREAM)].concat(), 5),
        ("trailers that are not the end", [&open[..], &frame(HEADERS, END_HEADERS, 1, &[])].concat(), 1),
        ("trailers with a path", [&open[..], &frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x84])].concat(), 1),
        ("no more window", [&open[..], &update(1, 0)].concat(), 1),
        ("a window beyond all", [&open[..], &update(1, (1 << 31) - 1)].concat(), 3),
        ("a head without a path", frame(HEADERS, END_HEADERS, 1, &HEAD[..2]), 1),
        ("two paths", frame(HEADERS, END_HEADERS, 1, &[HEAD, &[0x84]].concat()), 1),
        ("upper case", frame(HEADERS, END_HEADERS, 1, &[HEAD, b"\x00\x01A\x01b"].concat()), 1),
        ("more than the head says", [&announced[..], &frame(DATA, 0, 1, b"four")].concat(), 1),
        ("less than the head says", [&announced[..], &frame(DATA, END_STREAM, 1, b"2.")].concat(), 1),
        ("nothing, where the head says more", frame(HEADERS, END_HEADERS | END_STREAM, 1, &announced[9..]), 1),
    ];
    for (what, bytes, reason) in cases {
        let mut client = Client::new();
        client.send(&bytes).unwrap_or_else(|reason| panic!("{what}: {reason}"));
        assert_eq!(client.resets(), [(1, reason)], "{what}");
        assert_eq!(client.send(&request(3, END_STREAM)), Ok(1), "the connection goes on after {what}");
    }
}

#[test]
fn what_needs_no_answer_is_taken() {
    let mut client = Client::new();
    for bytes in [
        frame(PRIORITY, 0, 99, &[0; 5]),
        frame(0xfe, 0xff, 7, b"whatever"),
        frame(GOAWAY, 0, 0, &[0; 12]),
        frame(PING, ACK, 0, &[0; 8]),
        frame(SETTINGS, ACK, 0, &[]),
        request(1, 0),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        // All of these are late: the stream is over.
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(DATA, END_STREAM, 1, b"late"),
        update(1, 1),
        request(1, END_STREAM),
    ] {
        client.send(&bytes).expect("nothing wrong with it");
        assert_eq!(client.came(), [], "{bytes:x?}");
    }
    client.send(&setting(9, 9)).expect("an unknown setting");
    assert_eq!(client.came(), [(SETTINGS, ACK, 0, Vec::new())]);
    client.send(&frame(PING, 0, 0, b"12345678")).expect("a ping");
    assert_eq!(client.came(), [(PING, ACK, 0, b"12345678".to_vec())]);
}

#[test]
fn a_request_is_the_same_however_it_is_cut_and_padded() {
    let padded = [&[2, 0, 0, 0, 0, 0], HEAD, &[0, 0]].concat();
    let whole = [
        frame(HEADERS, PADDED | WITH_PRIORITY, 1, &[&padded[..7], &[0, 0]].concat()),
        frame(CONTINUATION, 0, 1, &HEAD[1..2]),
        frame(CONTINUATION, END_HEADERS, 1, &HEAD[2..]),
        frame(DATA, PADDED, 1, b"\x03abc\0\0\0"),
        frame(DATA, END_STREAM, 1, b"def"),
    ]
    .concat();
    for cut in 1..whole.len() {
        let mut client = Client::new();
        for piece in whole.chunks(cut) {
            client.send(piece).expect("a request");
        }
        let exchange = client.requests.pop().expect("a request");
        assert_eq!((exchange.head().method(), exchange.head().path()), (&b"POST"[..], "/"));
        let (mut body, _respond) = exchange.split();
        let mut all = Vec::new();
        while let Poll::Ready(Some(piece)) = poll(&mut body) {
            all.extend_from_slice(&piece);
        }
        assert_eq!((&*all, body.is_end()), (&b"abcdef"[..], true), "in pieces of {cut}");
    }
}

#[test]
fn nothing_comes_between_the_parts_of_a_header_block_and_they_are_few() {
    let mut client = Client::new();
    client.send(&frame(HEADERS, 0, 1, HEAD)).expect("a beginning");
    assert_eq!(client.send(&frame(PING, 0, 0, &[0; 8])), Err(Reason::PROTOCOL_ERROR));
    let mut client = Client::new();
    client.send(&frame(HEADERS, 0, 1, HEAD)).expect("a beginning");
    assert_eq!(client.send(&frame(CONTINUATION, END_HEADERS, 3, &[])), Err(Reason::PROTOCOL_ERROR));
    let mut client = Client::new();
    client.send(&frame(HEADERS, 0, 1, HEAD)).expect("a beginning");
    let end = (0..10).find_map(|_| client.send(&frame(CONTINUATION, 0, 1, &[])).err());
    assert_eq!(end, Some(Reason::ENHANCE_YOUR_CALM));
}

#[test]
fn a_head_that_is_too_large_is_refused_and_the_tables_stay_in_step() {
    let mut client = Client::new();
    let large = [HEAD, b"\x40\x01a\x7f\x81\x1f", &[b'x'; 4096], b"\x00\x01b\x7f\xe1\x5d", &[b'x'; 12_128]].concat();
    let learned = [&large[..], b"\x40\x01c\x01d"].concat();
    let (first, second) = learned.split_at(10_000);
    client.send(&frame(HEADERS, END_STREAM, 1, first)).expect("a beginning");
    assert_eq!(client.send(&frame(CONTINUATION, END_HEADERS, 1, second)), Ok(0));
    let came = client.came();
    assert_eq!((came[0].0, came[0].1, came[0].2), (HEADERS, END_HEADERS | END_STREAM, 1));
    assert_eq!(came[0].3, b"\x08\x03431");
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &[HEAD, &[0xbe]].concat())).expect("an indexed field");
    assert_eq!(client.requests[0].head().fields().collect::<Vec<_>>(), [(&b"c"[..], &b"d"[..])]);
}

#[test]
fn the_same_block_means_another_head_once_the_tables_have_changed() {
    let mut client = Client::new();
    let token = |client: &mut Client, stream: u32, block: &[u8]| {
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &[HEAD, block].concat())).expect("a request");
        let exchange = client.requests.pop().expect("a request");
        let value = exchange.head().fields().next().expect("a field").1.to_vec();
        exchange.respond().message(Bytes::new()).expect("answered");
        value
    };
    assert_eq!(token(&mut client, 1, b"\x40\x05token\x01a"), b"a");
    assert_eq!(token(&mut client, 3, &[0xbe]), b"a");
    assert_eq!(token(&mut client, 5, &[0xbe]), b"a");
    assert_eq!(token(&mut client, 7, b"\x7e\x01b"), b"b");
    assert_eq!(token(&mut client, 9, &[0xbe]), b"b");
    assert_eq!(token(&mut client, 11, &[0xbf]), b"a");
}

#[test]
fn more_requests_than_agreed_are_refused_until_others_are_answered() {
    let mut client = Client::new();
    for at in 0..STREAMS {
        assert_eq!(client.send(&request(2 * at + 1, END_STREAM)), Ok(1));
    }
    assert_eq!(client.send(&request(9, END_STREAM)), Ok(0));
    assert_eq!(client.resets(), [(9, 7)]);
    client.requests.pop().expect("a request").respond().message(Bytes::new()).expect("answered");
    assert_eq!(client.send(&request(11, END_STREAM)), Ok(1));
}

#[test]
fn requests_that_are_taken_back_count_until_nobody_works_on_them() {
    let mut client = Client::new();
    // Taken back in the same breath: nobody hears of it.
    for at in 0..1000 {
        let stream = 2 * at + 1;
        let both = [request(stream, 0), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat();
        assert_eq!(client.send(&both), Ok(0));
    }
    for at in 1000..1000 + STREAMS {
        assert_eq!(client.send(&request(2 * at + 1, 0)), Ok(1));
        client.send(&frame(RST_STREAM, 0, 2 * at + 1, &8_u32.to_be_bytes())).expect("taken back");
    }
    assert!(client.requests.iter().map(|exchange| exchange.head().path()).eq(["/"; STREAMS as usize]));
    assert_eq!(client.send(&request(4001, 0)), Ok(0), "four are still worked on");
    client.requests.clear();
    assert_eq!(client.send(&request(4003, 0)), Ok(1));
}

#[test]
fn a_client_sends_no_more_than_it_was_allowed() {
    let piece = [0; 16_384];
    let mut client = Client::new();
    client.send(&request(1, 0)).expect("a request");
    for _ in 0..WINDOW / piece.len() {
        client.send(&frame(DATA, 0, 1, &piece)).expect("allowed");
    }
    // Both windows are empty now; nothing was taken, so nothing was allowed anew.
    assert_eq!(client.came(), []);
    assert_eq!(client.send(&frame(DATA, 0, 1, b"a")), Err(Reason::FLOW_CONTROL_ERROR));
}

#[test]
fn what_is_taken_passed_over_or_late_may_be_sent_again() {
    let piece = [0; 16_384];
    let half = WINDOW / 2 / piece.len();
    let fill = |client: &mut Client, stream: u32| {
        for _ in 0..half {
            client.send(&frame(DATA, 0, stream, &piece)).expect("allowed");
        }
    };
    let allowed = |client: &mut Client| client.came().into_iter().map(|frame| (frame.0, frame.2)).collect::<Vec<_>>();
    let mut client = Client::new();
    client.send(&request(1, 0)).expect("a request");
    fill(&mut client, 1);
    let (mut body, _respond) = client.requests.pop().expect("a request").split();
    while poll(&mut body).is_ready() {}
    assert_eq!(allowed(&mut client), [(WINDOW_UPDATE, 0), (WINDOW_UPDATE, 1)]);
    // Nobody reads any more: both what is there and what comes.
    fill(&mut client, 1);
    drop(body);
    assert_eq!(allowed(&mut client), [(WINDOW_UPDATE, 0), (WINDOW_UPDATE, 1)]);
    fill(&mut client, 1);
    assert_eq!(allowed(&mut client), [(WINDOW_UPDATE, 0), (WINDOW_UPDATE, 1)]);
    // The stream is over.
    client.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).expect("taken back");
    fill(&mut client, 1);
    assert_eq!(allowed(&mut client), [(WINDOW_UPDATE, 0)]);
}

#[test]
fn an_answer_waits_for_the_client_and_streams_take_turns() {
    let mut client = Client::new();
    client.send(&setting(4, 20_000)).expect("a small window");
    client.send(&[request(1, END_STREAM), request(3, END_STREAM)].concat()).expect("requests");
    client.came();
    let mut senders: Vec<_> =
        client.requests.drain(..).map(|exchange| exchange.respond().begin_grpc().expect("begun")).collect();
    for sender in &mut senders {
        sender.send(Bytes::from(vec![1; 40_000])).expect("queued");
        assert!(sender.poll_sent(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let sizes = |client: &mut Client| {
        let data = client.came().into_iter().filter(|frame| frame.0 == DATA);
        data.map(|frame| (frame.2, frame.3.len())).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&mut client), [(1, 16_384), (1, 3_616), (3, 16_384), (3, 3_616)]);
    // 25,535 bytes are left of the connection's 65,535.
    client.send(&[update(1, 20_000), update(3, 20_000)].concat()).expect("more");
    assert_eq!(sizes(&mut client), [(1, 16_384), (3, 9_151)]);
    for sender in senders {
        sender.well().expect("ends behind what waits");
    }
    client.send(&update(0, 100_000)).expect("more");
    let rest = client.came();
    assert_eq!(
        rest.iter().filter(|frame| frame.0 == DATA).map(|frame| frame.3.len()).sum::<usize>(),
        80_000 - 40_000 - 25_535
    );
    let ends: Vec<_> = rest.iter().filter(|frame| frame.0 == HEADERS).map(|frame| (frame.1, frame.2)).collect();
    assert_eq!(ends, [(END_HEADERS | END_STREAM, 1), (END_HEADERS | END_STREAM, 3)]);
}

#[test]
fn a_window_that_shrinks_below_nothing_is_respected() {
    let mut client = Client::new();
    client.send(&request(1, END_STREAM)).expect("a request");
    client.came();
    let mut sender = client.requests.pop().expect("a request").respond().begin_grpc().expect("begun");
    sender.send(Bytes::from(vec![1; 1000])).expect("sent");
    client.send(&setting(4, 500)).expect("a smaller window");
    client.came();
    sender.send(Bytes::from_static(b"more")).expect("queued");
    client.send(&update(1, 500)).expect("still none");
    assert_eq!(client.came(), []);
    client.send(&update(1, 3)).expect("some");
    assert_eq!(client.came(), [(DATA, 0, 1, b"mor".to_vec())]);
}

#[test]
fn a_client_changes_its_mind_about_windows_a_thousand_times_at_most() {
    let mut client = Client::new();
    // Of one frame, the last word counts.
    let words: Vec<u8> = (0..2000_u32).flat_map(|at| [&[0, 4][..], &at.to_be_bytes()].concat()).collect();
    client.send(&frame(SETTINGS, 0, 0, &words)).expect("settings");
    let many = (0..2000).find_map(|at| client.send(&setting(4, 10_000 + at)).err());
    assert_eq!(many, Some(Reason::ENHANCE_YOUR_CALM));
}

#[test]
fn what_is_taken_back_behind_a_closed_window_makes_room_at_once() {
    let mut client = Client::new();
    for at in 0..10 * STREAMS {
        let stream = 2 * at + 1;
        assert_eq!(client.send(&request(stream, END_STREAM)), Ok(1), "request {at}");
        let exchange = client.requests.pop().expect("a request");
        exchange.respond().message(Bytes::from(vec![0; 60_000])).expect("queued, but for the first");
        client.send(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).expect("taken back");
    }
    client.came();
    client.send(&update(0, 100_000)).expect("a window");
    assert_eq!(client.came(), [], "nobody wants them any more");
    client.send(&request(1001, END_STREAM)).expect("a request");
    client.requests.pop().expect("a request").respond().message(Bytes::from(vec![0; 60_000])).expect("sent");
    assert_eq!(client.came().iter().filter(|frame| frame.0 == DATA).map(|frame| frame.3.len()).sum::<usize>(), 60_000);
}

#[test]
fn an_answer_is_a_head_a_message_and_an_end() {
    let mut client = Client::new();
    for stream in [1, 3] {
        client.send(&request(stream, END_STREAM)).expect("a request");
        let exchange = client.requests.pop().expect("a request");
        exchange.respond().message(Bytes::from_static(b"message")).expect("sent");
    }
    let came = client.came();
    let shape: Vec<_> = came.iter().map(|frame| (frame.0, frame.1, frame.2)).collect();
    let of = |stream| [(HEADERS, END_HEADERS, stream), (DATA, 0, stream), (HEADERS, END_HEADERS | END_STREAM, stream)];
    assert_eq!(shape, [of(1), of(3)].concat());
    assert_eq!((&*came[1].3, &*came[4].3), (&b"message"[..], &b"message"[..]));
    // The second time, what was learned is a byte each.
    assert_eq!((&*came[3].3, &*came[5].3), (&[0x88, 0xbf][..], &[0xbe][..]));
}

#[test]
fn an_answer_before_the_request_is_over_asks_for_no_more_of_it() {
    let mut client = Client::new();
    client.send(&request(1, 0)).expect("a request");
    let exchange = client.requests.pop().expect("a request");
    exchange.respond().message(Bytes::new()).expect("sent");
    let came = client.came();
    assert_eq!(came.last(), Some(&(RST_STREAM, 0, 1, vec![0; 4])));
}

#[test]
fn whoever_gives_up_says_so() {
    let mut client = Client::new();
    client.send(&[request(1, END_STREAM), request(3, END_STREAM)].concat()).expect("requests");
    let unfinished = client.requests.pop().expect("a request").respond().begin_grpc().expect("begun");
    drop(unfinished);
    drop(client.requests.pop());
    assert_eq!(client.resets(), [(3, 8), (1, 8)]);
}

#[test]
fn a_head_of_an_answer_may_be_larger_than_a_frame() {
    let mut client = Client::new();
    client.send(&request(1, END_STREAM)).expect("a request");
    let mut head = Response::new(());
    let long = HeaderValue::from_str(&"x".repeat(40_000)).expect("a value");
    head.headers_mut().insert("grpc-message", long.clone());
    client.requests.pop().expect("a request").respond().empty(&head).expect("sent");
    let shape: Vec<_> = client.came().iter().map(|frame| (frame.0, frame.1, frame.3.len())).collect();
    let (end, last) = (END_STREAM, END_HEADERS);
    assert_eq!(shape, [(HEADERS, end, 16_384), (CONTINUATION, 0, 16_384), (CONTINUATION, last, 40_000 + 19 - 32_768)]);
    // Trailers as well.
    client.send(&request(3, END_STREAM)).expect("a request");
    let sender = client.requests.pop().expect("a request").respond().begin_grpc().expect("begun");
    sender.trailers(HeaderMap::from_iter([(http::HeaderName::from_static("grpc-message"), long)])).expect("sent");
    assert_eq!(
        client.came().iter().map(|frame| frame.0).collect::<Vec<_>>(),
        [HEADERS, HEADERS, CONTINUATION, CONTINUATION]
    );
}

#[test]
fn what_is_asked_of_who_leaves_is_passed_over_and_its_bytes_are_given_back() {
    let mut client = Client::new();
    client.send(&request(1, END_STREAM)).expect("a request");
    client.connection.leave();
    client.connection.leave();
    let told = client.came();
    assert_eq!(
        told.iter().map(|frame| (frame.0, &frame.3[..])).collect::<Vec<_>>(),
        [(GOAWAY, &[0, 0, 0, 1, 0, 0, 0, 0][..])]
    );
    // Far more than the connection's window, on far more streams than it may have.
    let mut given_back = 0;
    for id in (3..1000).step_by(2) {
        let piece = frame(DATA, END_STREAM, id, &[7; 8000]);
        client.send(&[request(id, 0), piece].concat()).expect("nothing wrong with it");
        for (kind, _, stream, payload) in client.came() {
            assert_eq!((kind, stream), (WINDOW_UPDATE, 0));
            given_back += u32::from_be_bytes(payload.try_into().expect("four bytes"));
        }
    }
    assert!(given_back as usize > 499 * 8000 - WINDOW, "{given_back}");
    assert_eq!(client.requests.len(), 1);
    client.requests.remove(0).respond().message(Bytes::from_static(b"answer")).expect("it is still there");
    assert!(client.came().iter().all(|frame| frame.2 == 1));
}
