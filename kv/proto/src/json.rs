//! JSON to protobuf and back, in grpc-gateway's dialect: bytes in base64, 64-bit numbers as strings, field names as in the `.proto`
//! files, defaults left out. By the constant tables of [`crate::schema`]: the first request costs as much as any other.
//!
//! Source: protobuf.dev, "ProtoJSON Format"; golang/protobuf's `jsonpb`, which etcd's gateway uses.
use std::fmt::Write as _;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use serde_json::Value;

use crate::schema::{Field, Holds, Kind, Message};

/// Padding may be left out, as JavaScript's encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Every JSON object in `json` (a client stream sends several) as an encoded message of this type. An empty body is one
/// empty message. Fields that the message does not have are passed over.
///
/// # Errors
/// One line for the caller: what is not JSON, or which field has a value of another type.
pub fn from_json(message: &Message, json: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(vec![Vec::new()]);
    }
    let values = serde_json::Deserializer::from_slice(json).into_iter::<Value>();
    values.map(|value| encode(message, &value.map_err(|error| error.to_string())?)).collect()
}

fn encode(message: &Message, value: &Value) -> Result<Vec<u8>, String> {
    let Value::Object(members) = value else {
        return Err(format!("{}: expected an object, got {}", message.name, kind_of(value)));
    };
    let mut out = Vec::new();
    let mut chosen: Vec<&str> = Vec::new();
    for (name, value) in members {
        let Some(field) = message.fields.iter().find(|field| field.name == name || field.json == name) else {
            continue;
        };
        if value.is_null() {
            continue;
        }
        if let Holds::OneOf(group) = field.holds {
            if chosen.contains(&group) {
                return Err(format!("{}.{}: another field of {group} is set, too; set one", message.name, field.name));
            }
            chosen.push(group);
        }
        let refused = |why: String| format!("{}.{}: {why}", message.name, field.name);
        match (field.holds, value) {
            (Holds::Many, Value::Array(items)) => {
                items.iter().try_for_each(|item| encode_field(field, item, &mut out)).map_err(refused)?;
            }
            (Holds::Many, other) => return Err(refused(format!("expected an array, got {}", kind_of(other)))),
            (Holds::One | Holds::OneOf(_), value) => encode_field(field, value, &mut out).map_err(refused)?,
        }
    }
    Ok(out)
}

fn encode_field(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let mut varint = |number: u64| {
        encode_key(field.number, WireType::Varint, out);
        encode_varint(number, out);
    };
    match field.kind {
        Kind::Bool => varint(u64::from(value.as_bool().ok_or_else(|| expected("true or false", value))?)),
        Kind::Int32 => varint(i64::from(number::<i32>("a 32-bit number", value)?) as u64),
        Kind::Int64 => varint(number::<i64>("a 64-bit number", value)? as u64),
        Kind::Uint32 => varint(u64::from(number::<u32>("a positive 32-bit number", value)?)),
        Kind::Uint64 => varint(number::<u64>("a positive 64-bit number", value)?),
        Kind::Enum(names) => varint(i64::from(choice(names, value)?) as u64),
        Kind::Text => {
            delimited(field.number, value.as_str().ok_or_else(|| expected("a string", value))?.as_bytes(), out)
        }
        Kind::Bytes => delimited(field.number, &bytes(value)?, out),
        Kind::Message(message) => delimited(field.number, &encode(message, value)?, out),
    }
    Ok(())
}

fn delimited(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A number, or a string that holds one.
fn number<T: std::str::FromStr>(what: &str, value: &Value) -> Result<T, String> {
    let parsed = match value {
        Value::Number(number) => number.to_string().parse(),
        Value::String(text) => text.parse(),
        other => return Err(expected(what, other)),
    };
    parsed.map_err(|_| format!("expected {what}, got {value}"))
}

/// An enumeration's name or number.
fn choice(names: &[(&str, i32)], value: &Value) -> Result<i32, String> {
    let Value::String(text) = value else { return number("a name or a number", value) };
    let found = names.iter().find(|(name, _)| name == text).map(|(_, number)| *number);
    found.ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("expected one of {}, got {value}", known.join(", "))
    })
}

fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    let text = value.as_str().ok_or_else(|| expected("bytes in base64", value))?;
    let standard = text.replace('-', "+").replace('_', "/");
    BASE64.decode(standard).map_err(|error| format!("expected bytes in base64: {error}"))
}

fn expected(what: &str, got: &Value) -> String {
    format!("expected {what}, got {}", kind_of(got))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// An encoded message of this type as JSON, fields in the order of the `.proto` file.
///
/// # Errors
/// One line: where the bytes are not such a message.
pub fn to_json(message: &Message, encoded: &[u8]) -> Result<String, String> {
    let mut out = String::with_capacity(encoded.len() * 2);
    write(message, encoded, &mut out)?;
    Ok(out)
}

/// A value as it is on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

fn write(message: &Message, encoded: &[u8], out: &mut String) -> Result<(), String> {
    let values = parse(message, encoded)?;
    out.push('{');
    let mut groups = values.chunk_by(|a, b| a.0 == b.0).peekable();
    while let Some(group) = groups.next() {
        let field = &message.fields[group[0].0];
        let _ = write!(out, "\"{}\":", field.name);
        match (field.holds, group) {
            (Holds::Many, items) => {
                out.push('[');
                for (nth, (_, wire)) in items.iter().enumerate() {
                    if nth > 0 {
                        out.push(',');
                    }
                    write_value(field, *wire, out)?;
                }
                out.push(']');
            }
            // Of several the last counts (protobuf.dev, "Last One Wins").
            (Holds::One | Holds::OneOf(_), [.., (_, wire)]) => write_value(field, *wire, out)?,
            (Holds::One | Holds::OneOf(_), []) => {}
        }
        if groups.peek().is_some() {
            out.push(',');
        }
    }
    out.push('}');
    Ok(())
}

/// The values by the index of their field, in the order of the table; packed numbers are unpacked, unknown fields passed over, and
/// defaults, too, where they mean nothing.
fn parse<'a>(message: &Message, mut encoded: &'a [u8]) -> Result<Vec<(usize, Wire<'a>)>, String> {
    let damaged = |error: prost::DecodeError| format!("{}: {error}", message.name);
    let mut values = Vec::new();
    while !encoded.is_empty() {
        let (number, wire_type) = decode_key(&mut encoded).map_err(damaged)?;
        let wire = match wire_type {
            WireType::Varint => Wire::Varint(decode_varint(&mut encoded).map_err(damaged)?),
            WireType::LengthDelimited => Wire::Bytes(take(message, &mut encoded)?),
            other => return Err(format!("{}: field {number}: no field has the wire type {other:?}", message.name)),
        };
        let Some(index) = message.fields.iter().position(|field| field.number == number) else { continue };
        let field = &message.fields[index];
        let delimited = matches!(field.kind, Kind::Text | Kind::Bytes | Kind::Message(_));
        match (delimited, wire) {
            (false, Wire::Bytes(mut packed)) if field.holds == Holds::Many => {
                while !packed.is_empty() {
                    values.push((index, Wire::Varint(decode_varint(&mut packed).map_err(damaged)?)));
                }
            }
            (true, Wire::Varint(_)) | (false, Wire::Bytes(_)) => {
                return Err(format!("{}.{}: a value of another type", message.name, field.name));
            }
            (_, wire) if field.holds == Holds::One && is_default(field, wire) => {}
            (_, wire) => values.push((index, wire)),
        }
    }
    values.sort_by_key(|(index, _)| *index); // stable: repeated values keep their order
    Ok(values)
}

fn take<'a>(message: &Message, encoded: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = decode_varint(encoded).map_err(|error| format!("{}: {error}", message.name))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (bytes, rest) = encoded
        .split_at_checked(length)
        .ok_or_else(|| format!("{}: cut short: {length} bytes expected, {} left", message.name, encoded.len()))?;
    *encoded = rest;
    Ok(bytes)
}

fn is_default(field: &Field, wire: Wire<'_>) -> bool {
    match wire {
        Wire::Varint(number) => number == 0,
        Wire::Bytes(bytes) => bytes.is_empty() && !matches!(field.kind, Kind::Message(_)),
    }
}

fn write_value(field: &Field, wire: Wire<'_>, out: &mut String) -> Result<(), String> {
    // Writing to a string cannot fail.
    let _ = match (field.kind, wire) {
        (Kind::Bool, Wire::Varint(number)) => write!(out, "{}", number != 0),
        (Kind::Int32, Wire::Varint(number)) => write!(out, "{}", number as i32),
        (Kind::Uint32, Wire::Varint(number)) => write!(out, "{}", number as u32),
        (Kind::Int64, Wire::Varint(number)) => write!(out, "\"{}\"", number as i64),
        (Kind::Uint64, Wire::Varint(number)) => write!(out, "\"{number}\""),
        (Kind::Enum(names), Wire::Varint(number)) => match names.iter().find(|(_, known)| *known == number as i32) {
            Some((name, _)) => write!(out, "\"{name}\""),
            None => write!(out, "{}", number as i32),
        },
        (Kind::Text, Wire::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|error| format!("{}: not UTF-8: {error}", field.name))?;
            write!(out, "{}", Value::from(text))
        }
        (Kind::Bytes, Wire::Bytes(bytes)) => {
            out.push('"');
            general_purpose::STANDARD.encode_string(bytes, out);
            out.push('"');
            Ok(())
        }
        (Kind::Message(message), Wire::Bytes(bytes)) => return write(message, bytes, out),
        (_, Wire::Varint(_) | Wire::Bytes(_)) => return Err(format!("{}: a value of another type", field.name)),
    };
    Ok(())
}
