//! Layers that are right, and layers that try to get out of their folder. Run as any user; what only root may set is tested as root.

use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid};
use tar::{Archive, Builder, EntryType, Header};

use super::tree::Tree;

/// A folder of its own for each test: `layer` to unpack into, beside `outside` with a file that must stay as it is.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("hull-layer-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("layer")).unwrap();
        fs::create_dir_all(folder.join("outside")).unwrap();
        fs::write(folder.join("outside/passwd"), "untouched").unwrap();
        Place(folder)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join("layer").join(path)
    }

    fn unpack(&self, entries: &[Entry<'_>]) -> std::io::Result<()> {
        Tree::open(&self.0.join("layer")).unwrap().fill(&mut Archive::new(Cursor::new(archive(entries))))
    }

    fn outside_is_untouched(&self) {
        let names: Vec<_> =
            fs::read_dir(self.0.join("outside")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["passwd"]);
        assert_eq!(fs::read_to_string(self.0.join("outside/passwd")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(&self.0).unwrap().count(), 2, "nothing appeared beside the layer");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

enum Entry<'a> {
    Folder(&'a str),
    File(&'a str, &'a str),
    Link(&'a str, &'a str),
    HardLink(&'a str, &'a str),
    Device(&'a str),
}

/// Names are written as they are: the archive builder itself would refuse `..`.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let (name, kind, content, link) = match *entry {
            Entry::Folder(name) => (name, EntryType::Directory, "", None),
            Entry::File(name, content) => (name, EntryType::Regular, content, None),
            Entry::Link(name, target) => (name, EntryType::Symlink, "", Some(target)),
            Entry::HardLink(name, target) => (name, EntryType::Link, "", Some(target)),
            Entry::Device(name) => (name, EntryType::Block, "", None),
        };
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(target) = link {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o750 } else { 0o4640 });
        header.set_uid(geteuid().as_raw().into());
        header.set_gid(getegid().as_raw().into());
        header.set_mtime(1_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_layer_is_unpacked_with_modes_times_and_links() {
    let place = Place::new("plain");
    place
        .unpack(&[
            Entry::Folder("etc"),
            Entry::File("etc/passwd", "root"),
            Entry::Link("bin", "usr/bin"),
            Entry::HardLink("etc/same", "etc/passwd"),
            Entry::File("made/on/the/way", "x"),
        ])
        .unwrap();
    let passwd = fs::metadata(place.at("etc/passwd")).unwrap();
    assert_eq!((passwd.permissions().mode() & 0o7777, passwd.mtime(), passwd.nlink()), (0o4640, 1_000_000, 2));
    let etc = fs::metadata(place.at("etc")).unwrap();
    assert_eq!((etc.permissions().mode() & 0o7777, etc.mtime()), (0o750, 1_000_000));
    assert_eq!(fs::read_link(place.at("bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(fs::read_to_string(place.at("made/on/the/way")).unwrap(), "x");
}

#[test]
fn a_path_with_dots_is_refused_by_name() {
    for name in ["../outside/passwd", "a/../../outside/passwd", "..", "/../outside/new"] {
        let place = Place::new("dots");
        let error = place.unpack(&[Entry::File(name, "evil")]).unwrap_err();
        assert!(error.to_string().contains("leaves the layer"), "{name}: {error}");
        place.outside_is_untouched();
    }
}

#[test]
fn an_absolute_path_lands_inside() {
    let place = Place::new("absolute");
    place.unpack(&[Entry::File("/etc/hosts", "inside")]).unwrap();
    assert_eq!(fs::read_to_string(place.at("etc/hosts")).unwrap(), "inside");
    place.outside_is_untouched();
}

#[test]
fn a_link_is_no_way_out() {
    for target in ["../outside", "/../../outside", "a/../../outside"] {
        let place = Place::new("link");
        // Whether it fails or lands inside is the link's affair; outside nothing happens.
        let _ = place.unpack(&[
            Entry::Link("way", target),
            Entry::File("way/passwd", "evil"),
            Entry::File("way/new", "evil"),
        ]);
        place.outside_is_untouched();
    }
}

#[test]
fn an_absolute_link_leads_to_the_layers_own_root() {
    let place = Place::new("own-root");
    let outside = place.0.join("outside");
    place.unpack(&[Entry::Folder("real"), Entry::Link("way", "/real"), Entry::File("way/file", "inside")]).unwrap();
    assert_eq!(fs::read_to_string(place.at("real/file")).unwrap(), "inside");
    let _ = place.unpack(&[Entry::Link("out", outside.to_str().unwrap()), Entry::File("out/passwd", "evil")]);
    place.outside_is_untouched();
}

#[test]
fn a_file_replaces_a_link_and_is_not_written_through_it() {
    let place = Place::new("through");
    symlink(place.0.join("outside/passwd"), place.at("file")).unwrap();
    place.unpack(&[Entry::File("file", "inside")]).unwrap();
    assert_eq!(fs::read_to_string(place.at("file")).unwrap(), "inside");
    assert!(fs::symlink_metadata(place.at("file")).unwrap().is_file());
    place.outside_is_untouched();
}

#[test]
fn a_folder_replaces_a_link_and_its_owner_and_mode_stay_inside() {
    let place = Place::new("folder-link");
    let mode = fs::metadata(place.0.join("outside")).unwrap().permissions().mode();
    place.unpack(&[Entry::Link("way", "../outside"), Entry::Folder("way"), Entry::File("way/new", "inside")]).unwrap();
    assert_eq!(fs::read_to_string(place.at("way/new")).unwrap(), "inside");
    assert_eq!(fs::metadata(place.0.join("outside")).unwrap().permissions().mode(), mode);
    place.outside_is_untouched();
}

#[test]
fn a_hard_link_cannot_take_a_file_from_outside() {
    for target in ["../outside/passwd", "way/passwd"] {
        let place = Place::new("hard");
        let _ = place.unpack(&[
            Entry::Link("way", "../outside"),
            Entry::HardLink("mine", target),
            Entry::File("mine", "evil"),
        ]);
        place.outside_is_untouched();
        assert_eq!(fs::metadata(place.0.join("outside/passwd")).unwrap().nlink(), 1);
    }
}

#[test]
fn a_device_of_an_image_is_left_out() {
    let place = Place::new("device");
    place.unpack(&[Entry::Device("sda"), Entry::File("after", "x")]).unwrap();
    assert!(!place.at("sda").exists());
    assert!(place.at("after").exists());
}

#[test]
fn a_whiteout_becomes_what_overlayfs_understands() {
    let place = Place::new("whiteout");
    place.unpack(&[Entry::File("etc/.wh.gone", ""), Entry::File("etc/stays", "x")]).unwrap();
    let gone = fs::symlink_metadata(place.at("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device());
    assert_eq!(gone.rdev(), 0);
    assert!(!place.at("etc/.wh.gone").exists());
}

#[test]
fn a_whiteout_of_something_that_is_no_name_is_refused() {
    for name in ["etc/.wh...", "etc/.wh..", ".wh."] {
        let place = Place::new("bad-whiteout");
        assert!(place.unpack(&[Entry::File(name, "")]).is_err(), "{name}");
        place.outside_is_untouched();
    }
}

#[test]
fn an_opaque_folder_is_marked_for_overlayfs() {
    if !geteuid().is_root() {
        println!("not root: trusted.overlay.opaque cannot be set");
        return;
    }
    let place = Place::new("opaque");
    place.unpack(&[Entry::Folder("etc"), Entry::File("etc/.wh..wh..opq", ""), Entry::File("etc/new", "x")]).unwrap();
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(place.at("etc"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    assert_eq!(fs::read_dir(place.at("etc")).unwrap().count(), 1);
}

#[test]
fn a_damaged_archive_is_an_error_and_no_panic() {
    let whole = archive(&[
        Entry::Folder("a"),
        Entry::File("a/b", "content"),
        Entry::Link("c", "a/b"),
        Entry::HardLink("d", "a/b"),
    ]);
    let place = Place::new("damaged");
    // Every byte of every header in turn, to a value that occurs in none.
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 0xa5;
        let _ = Tree::open(&place.0.join("layer")).unwrap().fill(&mut Archive::new(Cursor::new(damaged)));
    }
    for length in (0..whole.len()).step_by(61) {
        let _ = Tree::open(&place.0.join("layer")).unwrap().fill(&mut Archive::new(Cursor::new(&whole[..length])));
    }
    place.outside_is_untouched();
    assert!(place.0.as_os_str().as_bytes().len() > 1);
}
