//! Builds what only tests boot: the product's image with a shell in its root, and releases of every kind.
//!
//! All are made by `hull-image` from the programs and the kernel of `make image`, below `out/test`, and made again
//! only when one of those changed.

use crate::artifacts::Artifacts;
use crate::tool::run;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Version of the test image.
pub(crate) const VERSION: &str = "0.1.0";

/// Oldest version the test image agrees to stage: its own.
const FLOOR: &str = VERSION;

/// What a firmware boot of the test image is told.
const COMMAND_LINE: &str =
    "hull.name=node1 hull.kv.listen=0.0.0.0:2379 hull.run=hello hull.console=/bin/busybox,sh hull.host.share=host";

/// A file of [`pattern`] in the root of every test image.
pub const PATTERN_PATH: &str = "/usr/share/hull-test/pattern";

/// Bytes of the pattern: many blocks of the file system.
const PATTERN_BYTES: usize = 256 * 1024;

/// One build at a time in this process; the file lock below keeps other processes out.
static BUILDING: Mutex<()> = Mutex::new(());

/// Inputs of `hull-image` that differ from release to release.
pub(crate) struct Variant<'v> {
    /// Directory below `out/test` that receives it.
    pub(crate) directory: &'v str,
    pub(crate) verb: &'v str,
    pub(crate) version: &'v str,
    /// Takes the place of arguments that every variant has.
    pub(crate) replace: Vec<(&'v str, PathBuf)>,
}

/// The directory of the test image, built when it is missing or older than what it is made of.
pub fn test_image() -> PathBuf {
    build(&Variant { directory: "image", verb: "image", version: VERSION, replace: Vec::new() })
}

/// The same image built a second time, elsewhere.
pub fn build_again() -> PathBuf {
    let directory = test_directory().join("image-again");
    let _ = fs::remove_dir_all(&directory);
    build(&Variant { directory: "image-again", verb: "image", version: VERSION, replace: Vec::new() })
}

/// What a direct boot of the test image starts from.
pub fn test_kernel_and_initramfs() -> (PathBuf, PathBuf) {
    (Artifacts::find().kernel(), test_image().join("initramfs.cpio.zst"))
}

/// Bytes that no compressor makes smaller, always the same: a 64-bit linear congruential generator (Knuth's MMIX).
pub fn pattern() -> Vec<u8> {
    let mut state = 1_u64;
    let next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(PATTERN_BYTES).collect()
}

/// Builds one variant and gives its directory.
pub(crate) fn build(variant: &Variant<'_>) -> PathBuf {
    let _alone = BUILDING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let artifacts = Artifacts::find();
    let directory = test_directory().join(variant.directory);
    fs::create_dir_all(&directory).expect("make a directory for test images");
    let lock = File::create(test_directory().join("lock")).expect("create the lock of the test images");
    lock.lock().expect("lock the test images");
    let stamp = directory.join("stamp");
    let inputs = fingerprint(&artifacts);
    if fs::read_to_string(&stamp).is_ok_and(|old| old == inputs) {
        return directory;
    }
    let arguments = arguments(variant, &artifacts, &directory);
    run(&hull_image().display().to_string(), &arguments);
    fs::write(&stamp, inputs).expect("write the stamp of a test image");
    directory
}

/// A copy of the programs' directory in which `name` is replaced by `content`.
pub(crate) fn programs_with(name: &str, content: &str) -> PathBuf {
    let directory = test_directory().join(format!("programs-{name}"));
    fs::create_dir_all(&directory).expect("make a directory for programs");
    for entry in fs::read_dir(Artifacts::find().must("bin")).expect("list the programs").flatten() {
        fs::copy(entry.path(), directory.join(entry.file_name())).expect("copy a program");
    }
    fs::write(directory.join(name), content).expect("replace a program");
    directory
}

/// A file below `out/test` with the given content, for variants.
pub(crate) fn file(name: &str, content: &str) -> PathBuf {
    let path = test_directory().join(name);
    fs::create_dir_all(test_directory()).expect("make a directory for test images");
    fs::write(&path, content).expect("write an input of a test image");
    path
}

/// A root with nothing that a node needs: one file of two blocks, since a hash tree needs two.
pub(crate) fn empty_root() -> PathBuf {
    let path = test_directory().join("empty");
    fs::create_dir_all(&path).expect("make an empty root");
    fs::write(path.join("nothing"), &pattern()[..2 * 4096]).expect("write two blocks");
    path
}

/// Where test images and releases lie.
pub(crate) fn test_directory() -> PathBuf {
    Artifacts::find().out().join("test")
}

fn arguments(variant: &Variant<'_>, artifacts: &Artifacts, directory: &Path) -> Vec<String> {
    let mut list: Vec<(&str, PathBuf)> = vec![
        ("--programs", artifacts.must("bin")),
        ("--kernel", artifacts.kernel()),
        ("--keys", test_directory().join("keys")),
        ("--services", Path::new(env!("CARGO_MANIFEST_DIR")).join("../initramfs/services")),
        ("--version", variant.version.into()),
        ("--floor", FLOOR.into()),
        ("--command-line", COMMAND_LINE.into()),
        ("--out", directory.into()),
    ];
    for (name, value) in &variant.replace {
        list.retain(|(known, _)| known != name);
        list.push((name, value.clone()));
    }
    if !list.iter().any(|(name, _)| *name == "--root-from") {
        list.push(("--extra-root", shell_root()));
    }
    let pairs = list.into_iter().flat_map(|(name, value)| [name.to_owned(), value.display().to_string()]);
    std::iter::once(variant.verb.to_owned()).chain(pairs).collect()
}

/// What makes a root a test root: busybox (package `busybox-static`) and a link for each of its commands.
fn shell_root() -> PathBuf {
    let root = test_directory().join("shell");
    let bin = root.join("bin");
    fs::create_dir_all(&bin).expect("make the tree of the shell");
    if !bin.join("busybox").exists() {
        fs::copy("/bin/busybox", bin.join("busybox")).expect("copy busybox; install the package busybox-static");
    }
    let pattern_file = root.join(&PATTERN_PATH[1..]);
    fs::create_dir_all(pattern_file.parent().unwrap_or(&root)).expect("make a directory for the pattern");
    fs::write(pattern_file, pattern()).expect("write the pattern");
    for command in run("/bin/busybox", &["--list"]).lines().filter(|name| *name != "busybox") {
        let link = bin.join(command);
        if link.symlink_metadata().is_err() {
            symlink("busybox", link).expect("link a command to busybox");
        }
    }
    root
}

/// The image builder: `HULL_IMAGE`, else the one built beside this test.
fn hull_image() -> PathBuf {
    if let Some(path) = std::env::var_os("HULL_IMAGE") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the path of this test");
    let path = test.ancestors().nth(2).map(|directory| directory.join("hull-image")).unwrap_or_default();
    assert!(path.exists(), "{}: missing; build it with `cargo build -p hull-image`", path.display());
    path
}

/// Sizes and times of everything a test image is made of.
fn fingerprint(artifacts: &Artifacts) -> String {
    let mut files = vec![hull_image(), artifacts.kernel(), Path::new("/bin/busybox").to_owned()];
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../initramfs/services");
    for directory in [artifacts.must("bin"), services] {
        files.extend(fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
        .iter()
        .filter_map(|file| {
            let facts = fs::metadata(file).ok()?;
            Some(format!("{} {} {:?}\n", file.display(), facts.len(), facts.modified().ok()?))
        })
        .collect()
}
