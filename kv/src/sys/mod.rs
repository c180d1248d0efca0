//! What the operating system offers and no safe crate does: the only place of the store with `unsafe`.

pub(crate) mod allocator;
