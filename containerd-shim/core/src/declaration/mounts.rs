//! The folders that a declaration asks for: volumes, which outlive the container, and memory.

use super::{Declaration, Refused, check_name, size};
use crate::oci::mounts::clean;

/// Parts of every container's tree that are not a declaration's to cover: the kernel's, and Hull's.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", "/run/hull"];

/// Folders that can be declared at once, of both kinds together.
const MOUNTS_MAX: usize = 64;

/// A volume in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume<'a> {
    /// Its name: a folder of the node's.
    pub name: &'a str,
    /// What the container may do with it.
    pub access: Access,
}

/// What may be done with what is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only be read.
    ReadOnly,
    /// Be written to.
    ReadWrite,
}

impl<'a> Volume<'a> {
    /// Reads `NAME`, `NAME:rw` or `NAME:ro`.
    fn parse(text: &'a str) -> Option<Volume<'a>> {
        let (name, access) = match text.split_once(':') {
            None | Some((_, "rw")) => (text.trim_end_matches(":rw"), Access::ReadWrite),
            Some((name, "ro")) => (name, Access::ReadOnly),
            Some(_) => return None,
        };
        check_name(name).is_ok().then_some(Volume { name, access })
    }
}

impl Declaration {
    /// The volumes and where they are mounted, of a declaration that was checked.
    pub fn volumes(&self) -> impl Iterator<Item = (&str, Volume<'_>)> {
        self.volumes.iter().filter_map(|(path, text)| Some((path.as_str(), Volume::parse(text)?)))
    }

    /// The folders of memory and their sizes in bytes, of a declaration that was checked.
    pub fn tmpfs_bytes(&self) -> impl Iterator<Item = (&str, i64)> {
        self.tmpfs.iter().filter_map(|(path, text)| Some((path.as_str(), size(text)?)))
    }

    pub(super) fn check_mounts(&self) -> Result<(), Refused> {
        let refuse = |field, value: &str, expected| Err(Refused::Field { field, value: value.to_owned(), expected });
        for (field, paths) in [("volumes", self.volumes.keys()), ("tmpfs", self.tmpfs.keys())] {
            for path in paths {
                if !is_plain(path) {
                    return refuse(field, path, "a plain absolute path such as /data");
                }
                if RESERVED.iter().any(|own| path == own || path.starts_with(&format!("{own}/"))) {
                    return refuse(field, path, "a path outside of /proc, /sys, /dev and /run/hull");
                }
            }
        }
        if let Some(text) = self.volumes.values().find(|text| Volume::parse(text).is_none()) {
            return refuse("volumes", text, "the plain name of a volume, with :ro behind it or nothing");
        }
        if let Some(text) = self.tmpfs.values().find(|text| size(text).is_none_or(|bytes| bytes < 4096)) {
            return refuse("tmpfs", text, "a size of at least 4K such as 16M");
        }
        if let Some(path) = self.volumes.keys().find(|path| self.tmpfs.contains_key(*path)) {
            return refuse("tmpfs", path, "a path without a volume: one thing is mounted there");
        }
        match self.volumes.len() + self.tmpfs.len() {
            count if count > MOUNTS_MAX => refuse("volumes", &count.to_string(), "at most 64 together with tmpfs"),
            _ => Ok(()),
        }
    }
}

/// Absolute, not the root, and already as short as it can be said.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && path != "/" && clean(path) == path && !path.contains(['\0', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(volumes: &[(&str, &str)], tmpfs: &[(&str, &str)]) -> Declaration {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Declaration { volumes: owned(volumes), tmpfs: owned(tmpfs), ..Declaration::of_image("a") }
    }

    #[test]
    fn volumes_and_memory_are_read() {
        let declaration = declared(&[("/data", "db"), ("/etc/conf", "conf:ro")], &[("/cache", "16M")]);
        declaration.check().unwrap();
        let volumes: Vec<_> = declaration.volumes().collect();
        assert_eq!(volumes[0], ("/data", Volume { name: "db", access: Access::ReadWrite }));
        assert_eq!(volumes[1], ("/etc/conf", Volume { name: "conf", access: Access::ReadOnly }));
        assert_eq!(declaration.tmpfs_bytes().collect::<Vec<_>>(), [("/cache", 16 << 20)]);
    }

    #[test]
    fn a_mount_that_is_not_allowed_is_refused_by_field() {
        for path in ["data", "/", "/a/../b", "/a/", "/proc", "/proc/sys", "/sys/x", "/dev/shm", "/run/hull/kv.sock"] {
            for (declaration, field) in
                [(declared(&[(path, "a")], &[]), "volumes"), (declared(&[], &[(path, "1M")]), "tmpfs")]
            {
                let refused = declaration.check().unwrap_err().to_string();
                assert!(refused.starts_with(&format!("field {field}: {path:?}")), "{refused}");
            }
        }
        for name in ["../etc", "a/b", "", "a:rwx", "/etc", "a:ro:ro"] {
            assert!(declared(&[("/data", name)], &[]).check().is_err(), "{name:?}");
        }
        assert!(declared(&[], &[("/data", "much")]).check().is_err());
        assert!(declared(&[("/data", "a")], &[("/data", "1M")]).check().is_err());
    }
}
