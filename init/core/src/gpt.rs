//! The GUID partition table: reading, checking, editing; the attribute bits that hold a slot's state.
