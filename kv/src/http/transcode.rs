//! JSON to protobuf and back, by the message descriptors, in grpc-gateway's dialect: bytes in base64, 64-bit numbers as
//! strings, field names as in the `.proto` files, defaults left out.
use std::sync::OnceLock;

use hull_kv_proto::gateway::DESCRIPTORS;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};

/// Made at the first use, so that a node nobody speaks JSON to never pays for it.
static POOL: OnceLock<DescriptorPool> = OnceLock::new();

fn descriptor(name: &str) -> Result<MessageDescriptor, String> {
    let pool = match POOL.get() {
        Some(pool) => pool,
        None => {
            let pool = DescriptorPool::decode(DESCRIPTORS).map_err(|error| format!("message descriptors: {error}"))?;
            POOL.get_or_init(|| pool)
        }
    };
    pool.get_message_by_name(name).ok_or_else(|| format!("no message is called {name}"))
}

/// Every JSON object in `json` (a client stream sends several) as an encoded message of this name. An empty body is one
/// empty message.
pub(super) fn from_json(name: &str, json: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let descriptor = descriptor(name)?;
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(vec![Vec::new()]);
    }
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut messages = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(json);
    loop {
        let message = DynamicMessage::deserialize_with_options(descriptor.clone(), &mut values, &options)
            .map_err(|error| error.to_string())?;
        messages.push(message.encode_to_vec());
        if values.end().is_ok() {
            return Ok(messages);
        }
    }
}

/// An encoded message of this name as JSON, fields in the order of the `.proto` file.
pub(super) fn to_json(name: &str, message: &[u8]) -> Result<String, String> {
    let message = DynamicMessage::decode(descriptor(name)?, message).map_err(|error| error.to_string())?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut json = Vec::new();
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)
        .map_err(|error| error.to_string())?;
    String::from_utf8(json).map_err(|error| error.to_string())
}
