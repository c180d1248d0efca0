//! The initramfs' manifest: version, root hash, floor.
