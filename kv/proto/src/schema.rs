//! What each message of the etcd v3 API is made of, as constant tables: nothing is built when a program starts.
//!
//! Source: the `.proto` files beside this crate; `tests/generated.rs` keeps the tables equal to them.

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// Full name, for example `etcdserverpb.RangeRequest`.
    pub name: &'static str,
    /// In the order of the `.proto` file.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in the `.proto` file.
    pub name: &'static str,
    /// Its name in lowerCamelCase, which JSON may use, too.
    pub json: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// How many there are.
    pub holds: Holds,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// At most one.
    One,
    /// At most one among the fields of this `oneof`.
    OneOf(&'static str),
    /// Any number.
    Many,
}

/// The types that etcd's messages use.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `bool`
    Bool,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
    /// `string`
    Text,
    /// `bytes`
    Bytes,
    /// An enumeration: its names and numbers.
    Enum(&'static [(&'static str, i32)]),
    /// Another message.
    Message(&'static Message),
}

include!("generated/schema.rs");
