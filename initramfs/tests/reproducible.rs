//! Two builds give the same bytes, wherever, whenever and by whomever; and a stranger's key gives another signature.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_init_core::release::{Refused, Trust};
use sha2::{Digest, Sha256};

/// Stand-ins for the programs: what is in them does not matter here, only that all of it arrives.
fn inputs(folder: &Path) {
    fs::create_dir_all(folder.join("programs")).unwrap();
    for (seed, program) in ["hull-init", "hull-kv", "hull-launcher", "hullctl", "hull-hello"].iter().enumerate() {
        let content: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(seed as u32 + 7) >> 5) as u8).collect();
        fs::write(folder.join("programs").join(program), content).unwrap();
    }
    fs::write(folder.join("kernel"), vec![0x90; 100_000]).unwrap();
}

fn hull_image(inputs: &Path, verb: &str, out: &Path, umask: &str, more: &[&str]) {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("services");
    let mut command = Command::new("sh");
    command.args(["-c", "umask $0; exec \"$@\"", umask, env!("CARGO_BIN_EXE_hull-image"), verb, "--version", "1.2.3"]);
    command.arg("--programs").arg(inputs.join("programs")).arg("--kernel").arg(inputs.join("kernel"));
    command.arg("--keys").arg(inputs.join("keys")).arg("--services").arg(services).arg("--out").arg(out);
    let output = command.args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn digests(folder: &Path) -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_file())
        .map(|path| {
            let hash = Sha256::digest(fs::read(&path).unwrap());
            (path.file_name().unwrap().into(), hash.iter().map(|byte| format!("{byte:02x}")).collect())
        })
        .collect()
}

#[test]
fn two_builds_give_the_same_bytes() {
    let work = tempfile::tempdir().unwrap();
    let (one, two) = (work.path().join("one"), work.path().join("a/longer/way/to/two"));
    inputs(work.path());
    hull_image(work.path(), "image", &one, "022", &[]);
    // Another folder, umask, and modes of the inputs.
    for entry in fs::read_dir(work.path().join("programs")).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o700)).unwrap();
    }
    hull_image(work.path(), "image", &two, "077", &[]);
    let first = digests(&one);
    assert!(first.len() >= 8, "{first:?}");
    assert_eq!(first, digests(&two));
}

#[test]
fn an_image_that_did_not_change_keeps_its_files() {
    let work = tempfile::tempdir().unwrap();
    inputs(work.path());
    let out = work.path().join("out");
    hull_image(work.path(), "image", &out, "022", &[]);
    let before = fs::metadata(out.join("disk.img")).unwrap().modified().unwrap();
    hull_image(work.path(), "image", &out, "022", &[]);
    assert_eq!(before, fs::metadata(out.join("disk.img")).unwrap().modified().unwrap());
}

#[test]
fn a_release_is_signed_by_the_key_of_its_image_and_not_by_a_strangers() {
    let work = tempfile::tempdir().unwrap();
    inputs(work.path());
    let out = work.path().join("out");
    hull_image(work.path(), "image", &out, "022", &[]);
    hull_image(work.path(), "release", &out, "022", &[]);
    let trust = Trust::from_root(&fs::read(out.join("root.json")).unwrap()).unwrap();
    let targets = out.join("release-1.2.3/targets.json");
    let release = trust.release(&fs::read(&targets).unwrap()).unwrap();
    assert_eq!(release.version.to_string(), "1.2.3");
    assert_eq!(release.root.length, fs::metadata(out.join("release-1.2.3/root.img")).unwrap().len());

    let stranger = work.path().join("stranger");
    fs::write(&stranger, "07".repeat(32)).unwrap();
    hull_image(work.path(), "release", &out, "022", &["--sign-with", stranger.to_str().unwrap()]);
    let refused: Refused = trust.release(&fs::read(&targets).unwrap()).unwrap_err();
    assert!(!refused.to_string().is_empty());
}
