//! Layers that are right, and layers that try to get out of their folder. Run as any user; what only root may set is tested as root.

use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use hull_oci_core::image::Digest;
use rustix::process::{getegid, geteuid};
use tar::{Archive, Builder, EntryType, Header};

use super::tree::Tree;
use super::{Images, Progress};

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
fn a_folder_beside_its_own_whiteout_hides_what_lies_below_and_keeps_its_content() {
    if !geteuid().is_root() {
        println!("not root: trusted.overlay.opaque cannot be set");
        return;
    }
    let (folder, file) = (Entry::Folder("etc/new"), Entry::File("etc/new/file", "x"));
    let orders = [
        [Entry::Folder("etc/new"), Entry::File("etc/new/file", "x"), Entry::File("etc/.wh.new", "")],
        [Entry::File("etc/.wh.new", ""), folder, file],
    ];
    for entries in orders {
        let place = Place::new("filled-whiteout");
        place.unpack(&entries).unwrap();
        assert_eq!(fs::read_to_string(place.at("etc/new/file")).unwrap(), "x");
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(place.at("etc/new"), "trusted.overlay.opaque", &mut value).unwrap();
        assert_eq!(&value[..length], b"y");
    }
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

/// The blobs of an image with one layer, and its index.
fn image(name: &str, layer: &[u8]) -> (Vec<Vec<u8>>, String) {
    let size = layer.len();
    let digest = Digest::of(layer);
    let configuration = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/a"]}},"rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
    );
    let kind = "application/vnd.oci.image";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}.manifest.v1+json","config":{{"mediaType":"{kind}.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"{kind}.layer.v1.tar","digest":"{digest}","size":{size}}}]}}"#,
        Digest::of(configuration.as_bytes()),
        configuration.len()
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}.manifest.v1+json","digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}]}}"#,
        Digest::of(manifest.as_bytes()),
        manifest.len()
    );
    (vec![layer.to_vec(), configuration.into_bytes(), manifest.into_bytes()], index)
}

fn images(place: &Place) -> Images {
    let (shipped, kept) = (place.0.join("shipped"), place.0.join("kept"));
    let (blobs, index) = image("box", &archive(&[Entry::Folder("bin"), Entry::File("bin/sh", "shell")]));
    let folder = shipped.join("box");
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    for blob in blobs {
        fs::write(folder.join(Digest::of(&blob).path()), blob).unwrap();
    }
    fs::write(folder.join("index.json"), index).unwrap();
    Images::open(&shipped, &kept).unwrap()
}

#[test]
fn containers_that_start_together_share_one_unpacked_layer() {
    let place = Place::new("together");
    let images = images(&place);
    let unpack = || images.layers(&images.find("box").unwrap()).map_err(|refusal| refusal.to_string());
    let layers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(unpack)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect::<Vec<_>>()
    });
    assert!(layers.iter().all(|one| *one == layers[0] && one.len() == 1));
    assert_eq!(fs::read_to_string(layers[0][0].join("bin/sh")).unwrap(), "shell");
}

struct Silent;

impl Progress for Silent {
    fn done(&mut self, _: u64) {}
}

/// An image as `skopeo copy … oci-archive:` writes it.
fn oci_archive(name: &str, spoil: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let (blobs, index) = image(name, &archive(&[Entry::File("loaded", name)]));
    let mut builder = Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content).unwrap();
    };
    for blob in blobs {
        let path = Digest::of(&blob).path();
        let mut content = blob;
        spoil(&mut content);
        add(&path, &content);
    }
    add("index.json", index.as_bytes());
    builder.into_inner().unwrap()
}

#[test]
fn two_archives_at_once_do_not_disturb_each_other() {
    let place = Place::new("two-archives");
    let images = images(&place);
    std::thread::scope(|scope| {
        for name in ["one", "two", "three", "four"] {
            let images = &images;
            scope.spawn(move || images.load(oci_archive(name, |_| {}).as_slice(), "", &mut Silent).unwrap());
        }
    });
    for name in ["one", "two", "three", "four"] {
        let layers = images.layers(&images.find(name).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(layers[0].join("loaded")).unwrap(), name);
    }
    assert_eq!(fs::read_dir(place.0.join("kept/incoming")).unwrap().count(), 0, "nothing half-made stays");
}

#[test]
fn an_archive_with_a_changed_byte_is_refused_and_leaves_the_image_as_it_was() {
    let place = Place::new("spoilt");
    let images = images(&place);
    images.load(oci_archive("mine", |_| {}).as_slice(), "mine", &mut Silent).unwrap();
    let before = images.find("mine").unwrap().describe();
    let spoilt = oci_archive("other", |blob| blob[0] ^= 1);
    let refusal = images.load(spoilt.as_slice(), "mine", &mut Silent).unwrap_err();
    assert!(refusal.to_string().contains("sha256:"), "{refusal}");
    assert_eq!(images.find("mine").unwrap().describe(), before);
    assert_eq!(fs::read_dir(place.0.join("kept/incoming")).unwrap().count(), 0, "nothing half-made stays");
}

#[test]
fn an_archive_that_ends_early_is_refused() {
    let place = Place::new("early");
    let images = images(&place);
    let whole = oci_archive("early", |_| {});
    for length in [0, 100, 600, 2000, 3000] {
        assert!(images.load(&whole[..length], "early", &mut Silent).is_err(), "{length} bytes");
        assert!(images.find("early").is_err());
    }
}
