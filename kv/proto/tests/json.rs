//! The JSON gateway's translation against a second implementation, which works by reflection on the same `.proto` files.
#![cfg(feature = "json")]
use std::path::Path;

use hull_kv_proto::{
    gateway::ROUTES,
    json::{from_json, to_json},
    schema,
};
use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions, Value,
};

/// Messages a type is tried with.
const ROUNDS: u64 = 200;
/// Messages in messages end here.
const DEPTH: u32 = 3;

fn pool() -> DescriptorPool {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = [
        "etcd/api/etcdserverpb/rpc.proto",
        "etcd/server/etcdserver/api/v3election/v3electionpb/v3election.proto",
        "etcd/server/etcdserver/api/v3lock/v3lockpb/v3lock.proto",
    ];
    DescriptorPool::from_file_descriptor_set(protox::compile(files, [protos]).expect("compile protos")).expect("pool")
}

/// A value of the field, by the random numbers' mood: defaults and extremes often.
fn value(field: &FieldDescriptor, random: &mut fastrand::Rng, depth: u32) -> Value {
    let signed = [0, 1, -1, i64::MAX, i64::MIN, random.i64(..)][random.usize(..6)];
    match field.kind() {
        Kind::Bool => Value::Bool(random.bool()),
        Kind::Int32 => Value::I32(signed as i32),
        Kind::Int64 => Value::I64(signed),
        Kind::Uint32 => Value::U32(signed as u32),
        Kind::Uint64 => Value::U64(signed as u64),
        Kind::String => {
            Value::String(["", "plain", "quo\"te\\\n\u{1}", "Hülle ☃ \u{10FFFF}"][random.usize(..4)].to_owned())
        }
        Kind::Bytes => Value::Bytes((0..random.usize(..40)).map(|_| random.u8(..)).collect::<Vec<u8>>().into()),
        Kind::Enum(values) => {
            let known: Vec<i32> = values.values().map(|value| value.number()).collect();
            Value::EnumNumber(if random.u8(..8) == 0 { 4711 } else { known[random.usize(..known.len())] })
        }
        Kind::Message(message) => Value::Message(fill(message, random, depth + 1)),
        other => panic!("{}: no field had the type {other:?} so far", field.name()),
    }
}

fn fill(descriptor: MessageDescriptor, random: &mut fastrand::Rng, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if random.bool() || (depth >= DEPTH && matches!(field.kind(), Kind::Message(_))) {
            continue;
        }
        let value = match field.cardinality() {
            Cardinality::Repeated => {
                Value::List((0..random.usize(..4)).map(|_| value(&field, random, depth)).collect())
            }
            Cardinality::Optional | Cardinality::Required => value(&field, random, depth),
        };
        message.set_field(&field, value);
    }
    message
}

fn reflected(message: &DynamicMessage) -> String {
    let mut json = Vec::new();
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options).expect("serialize");
    String::from_utf8(json).expect("UTF-8")
}

#[test]
fn every_message_of_the_gateway_reads_and_writes_as_by_reflection() {
    let pool = pool();
    let mut random = fastrand::Rng::with_seed(2379);
    for table in ROUTES.iter().flat_map(|route| [route.input, route.output]) {
        let descriptor = pool.get_message_by_name(table.name).expect(table.name);
        for _ in 0..ROUNDS {
            let message = fill(descriptor.clone(), &mut random, 0);
            let encoded = message.encode_to_vec();
            let json = to_json(table, &encoded).expect("to JSON");
            let as_value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            assert_eq!(as_value(&json), as_value(&reflected(&message)), "{}", table.name);
            let back = from_json(table, json.as_bytes()).expect("from JSON");
            let [back] = back.as_slice() else { panic!("one message in, {} out", back.len()) };
            let decode = |bytes: &[u8]| DynamicMessage::decode(descriptor.clone(), bytes).expect("decode");
            assert!(decode(back) == decode(&encoded), "{}: {json}", table.name);
        }
    }
}

#[test]
fn fields_stand_in_the_order_of_the_proto_file() {
    let range = to_json(&schema::MVCCPB_KEYVALUE, &[0x2a, 1, b'v', 0x10, 3, 0x0a, 1, b'k']).expect("to JSON");
    assert_eq!(range, r#"{"key":"aw==","create_revision":"3","value":"dg=="}"#);
}

#[test]
fn several_objects_are_several_messages_and_an_empty_body_is_an_empty_one() {
    let table = &schema::ETCDSERVERPB_PUTREQUEST;
    assert_eq!(from_json(table, b" {} {\"key\":\"aw\"}\n").expect("two"), [vec![], vec![0x0a, 1, b'k']]);
    assert_eq!(from_json(table, b" \n").expect("one"), [Vec::<u8>::new()]);
}

#[test]
fn numbers_may_be_strings_names_may_be_camel_case_and_unknown_fields_are_passed_over() {
    let table = &schema::ETCDSERVERPB_RANGEREQUEST;
    let json = br#"{"sortOrder":"DESCEND","sort_target":2,"limit":"7","revision":8,"key":null,"novelty":[1]}"#;
    let request =
        hull_kv_proto::etcdserverpb::RangeRequest::decode(from_json(table, json).expect("JSON")[0].as_slice());
    let request = request.expect("decode");
    assert_eq!((request.sort_order, request.sort_target, request.limit, request.revision), (2, 2, 7, 8));
}

#[test]
fn what_is_refused_is_named() {
    let refused = |table, json: &str| from_json(table, json.as_bytes()).expect_err(json);
    let range = &schema::ETCDSERVERPB_RANGEREQUEST;
    assert!(refused(range, "{").contains("EOF"));
    assert!(refused(range, "[]").contains("expected an object, got an array"));
    assert!(
        refused(range, r#"{"limit":true}"#).contains("RangeRequest.limit: expected a 64-bit number, got a truth value")
    );
    assert!(refused(range, r#"{"limit":"9223372036854775808"}"#).contains("RangeRequest.limit"));
    assert!(refused(range, r#"{"limit":1.5}"#).contains("RangeRequest.limit"));
    assert!(refused(range, r#"{"key":"*"}"#).contains("RangeRequest.key: expected bytes in base64"));
    assert!(refused(range, r#"{"sort_order":"UP"}"#).contains("expected one of NONE, ASCEND, DESCEND"));
    let watch = &schema::ETCDSERVERPB_WATCHREQUEST;
    assert!(refused(watch, r#"{"create_request":{},"cancel_request":{}}"#).contains("another field of request_union"));
    assert!(refused(&schema::ETCDSERVERPB_TXNREQUEST, r#"{"compare":{}}"#).contains("expected an array"));
}

#[test]
fn damaged_messages_are_refused_and_never_read_past_their_end() {
    let pool = pool();
    let mut random = fastrand::Rng::with_seed(2380);
    for table in ROUTES.iter().map(|route| route.output) {
        let message = fill(pool.get_message_by_name(table.name).expect(table.name), &mut random, 0).encode_to_vec();
        for cut in 0..message.len() {
            let _ = to_json(table, &message[..cut]); // an answer or a refusal, never a panic
            let mut flipped = message.clone();
            flipped[cut] ^= 1 << random.u8(..8);
            let _ = to_json(table, &flipped);
        }
    }
    assert!(
        to_json(&schema::MVCCPB_KEYVALUE, &[0x0a, 5, b'k'])
            .expect_err("cut")
            .contains("cut short: 5 bytes expected, 1 left")
    );
    assert!(
        to_json(&schema::MVCCPB_KEYVALUE, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err()
    );
}
