//! An image for containers that try things: busybox and nothing else, as an OCI archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use hull_oci_core::layout::{Contents, build};

use crate::disk::Disk;
use crate::images::test_directory;
use crate::machine::Machine;
use crate::node::Node;

/// Name of the image.
pub const TOOLBOX: &str = "toolbox";

/// Where a node finds the folder that [`with_toolbox`] shares.
const SHARED: &str = "/run/host";

/// Files of the host that a node sees: below it lies the archive.
fn shared() -> PathBuf {
    let folder = test_directory().join("toolbox");
    fs::create_dir_all(&folder).expect("make a folder for the toolbox");
    folder
}

/// Packs files as a tar archive, in this order.
///
/// # Panics
/// When the disk is full.
pub fn pack(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut archive = tar::Builder::new(fs::File::create(path).expect("create an archive"));
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_slice()).expect("write an archive");
    }
    archive.finish().expect("finish an archive");
}

/// The layout of an image that has busybox, and the files beside it.
///
/// # Panics
/// Without the package `busybox-static`.
pub fn layout(name: &str, user: &str) -> Vec<(String, Vec<u8>)> {
    let busybox = fs::read("/bin/busybox").expect("read busybox; install the package busybox-static");
    let contents = Contents {
        name: name.to_owned(),
        files: vec![
            ("bin/busybox".to_owned(), 0o755, busybox),
            ("srv/readme".to_owned(), 0o644, b"shipped\n".to_vec()),
        ],
        entrypoint: vec!["/bin/busybox".to_owned()],
        user: user.to_owned(),
        ..Contents::default()
    };
    build(&contents).expect("build an image")
}

/// The machine, with the toolbox in sight.
pub fn with_toolbox(machine: Machine) -> Machine {
    static PACKED: Once = Once::new();
    PACKED.call_once(|| {
        let beside = shared().join(format!("{}.new", std::process::id()));
        pack(&beside, &layout(TOOLBOX, ""));
        // Machines of other tests may be reading it: they keep the one they have.
        fs::rename(beside, shared().join("toolbox.tar")).expect("put the archive in its place");
    });
    machine.share(&shared()).append("hull.host.share=host")
}

/// A node that has loaded the toolbox.
pub fn node_with_toolbox(disk: &Disk) -> Node {
    node_with_toolbox_on(Node::machine().disk(disk))
}

/// A node on this machine that has loaded the toolbox.
pub fn node_with_toolbox_on(machine: Machine) -> Node {
    let mut node = Node::start(with_toolbox(machine));
    node.wait_store();
    node.must(&format!("hullctl image load {SHARED}/toolbox.tar"));
    node
}

impl Node {
    /// Runs a shell script in a container of the toolbox until it ends, with flags for `hullctl run`; what it wrote.
    pub fn try_inside(&mut self, name: &str, flags: &str, script: &str) -> String {
        self.must(&format!("hullctl run {name} {TOOLBOX} --restart never {flags} -- /bin/busybox sh -c '{script}'"));
        self.wait_container(name, "ended");
        let output = self.must(&format!("hullctl logs {name}"));
        self.must(&format!("hullctl stop {name}"));
        output
    }
}
