//! Decoders of the container room: configurations, images, declarations, requests to the launcher.

use std::fs;

use hull_images::{Images, Progress};
use hull_oci_core::declaration::{self, Declaration};
use hull_oci_core::image::{self, Packing};
use hull_oci_core::oci::cgroup::Hierarchy;
use hull_oci_core::oci::plan::{Facts, Leave, Owner, plan};
use hull_oci_core::oci::process::{Host, Module};
use hull_oci_core::oci::read;
use hull_oci_core::spec;

/// `config.json`: read, planned and shown, on hosts of either kind of control groups.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(spec) = read::spec(bytes) else { return };
    let controllers = vec!["memory".to_owned(), "pids".to_owned()];
    for hierarchy in
        [Hierarchy::Absent, Hierarchy::V2 { controllers: controllers.clone() }, Hierarchy::V1 { controllers }]
    {
        let host = Host { last_capability: 40, held: u64::MAX, apparmor: Module::Present, selinux: Module::Absent };
        let facts = Facts { hierarchy, host, owner: Owner::Root, leave: Leave::Pivot };
        if let Ok(plan) = plan(&spec, &facts) {
            let _ = plan.to_string();
        }
    }
    // What the runtime keeps of it, it reads back.
    let written = serde_json::to_vec(&spec).expect("a specification that was read is written");
    assert_eq!(read::spec(&written).expect("and read back"), spec);
}

/// The documents of an image: index, manifest, configuration.
pub(crate) fn manifest(bytes: &[u8]) {
    let _ = image::select_manifest(bytes).map(|found| (image::is_index(&found), image::reference_name(&found)));
    // One document after the other, as an archive has them: what precedes the first line's end is the manifest.
    let middle = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    if let Ok(manifest) = image::parse_manifest(&bytes[..middle]) {
        let _ = image::parse_configuration(&bytes[middle..], &manifest);
    }
}

/// A declaration, and the specification that comes of it.
pub(crate) fn declaration(bytes: &[u8]) {
    if let Ok(declaration) = Declaration::parse(bytes)
        && declaration.check().is_ok()
    {
        let defaults = image::Defaults { entrypoint: vec!["/program".to_owned()], ..image::Defaults::default() };
        if let Ok(mut built) = spec::build("fuzz", &defaults, &declaration, "http://127.0.0.1:2379") {
            spec::map_ids(&mut built, 100_000);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = declaration::parse_run(text);
    }
}

/// What a client says to the launcher's socket.
pub(crate) fn api(bytes: &[u8]) {
    let _ = serde_json::from_slice::<hull_oci_core::api::Request>(bytes);
}

/// Bytes that a layer or an archive of this size may become; what a bomb wants is far more.
const UNPACKED_MAX: u64 = 1 << 20;

/// A layer: nothing of it lands beside its folder. The first byte chooses how it is packed.
pub(crate) fn layer(bytes: &[u8]) {
    let Some((packing, packed)) = bytes.split_first() else { return };
    let packing = match packing % 3 {
        0 => Packing::Plain,
        1 => Packing::Gzip,
        _ => Packing::Zstd,
    };
    let outside = tempfile::tempdir().expect("a folder for the test");
    let inside = outside.path().join("layer");
    fs::create_dir(&inside).expect("a folder in it");
    let _ = hull_images::fill(&inside, packing, packed, UNPACKED_MAX);
    assert_eq!(fs::read_dir(outside.path()).expect("the folder is still there").count(), 1);
}

/// An archive of an image: loaded whole, or nothing of it is there.
pub(crate) fn archive(bytes: &[u8]) {
    struct Nobody;
    impl Progress for Nobody {
        fn done(&mut self, _: u64) {}
    }
    let folder = tempfile::tempdir().expect("a folder for the test");
    let kept = folder.path().join("kept");
    let images = Images::open(&folder.path().join("shipped"), &kept).expect("a folder of images");
    let loaded = images.load(bytes, "fuzz", &mut Nobody);
    let names = fs::read_dir(kept.join("names")).expect("names of images").count();
    assert_eq!(names, usize::from(loaded.is_ok()));
    if let Ok(image) = images.find("fuzz") {
        let _ = images.layers(&image);
    }
    assert_eq!(fs::read_dir(kept.join("incoming")).expect("half-made things").count(), 0);
}
