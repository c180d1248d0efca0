//! Mounts: what a container sees of the host's, and that the host sees none of its own.

use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::common::{Bundle, binary, can_run, text};
use crate::with_users;

/// Keeps only these kinds of namespaces.
fn only(bundle: &mut Bundle, kinds: &[&str]) {
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| kinds.contains(&namespace["type"].as_str().unwrap()));
    bundle.config["hostname"] = json!("");
}

/// Mounts of this machine below a bundle's root file system.
fn mounts_in(bundle: &Bundle) -> usize {
    let root = bundle.inside("").to_str().unwrap().trim_end_matches('/').to_owned();
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(|line| line.contains(&root)).count()
}

#[test]
fn mounts_without_a_namespace_of_their_own_go_with_the_container() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["write", "/proc/sys/kernel/core_pattern", "x"]);
    only(&mut bundle, &[]);
    assert_eq!(bundle.run(), "error: Read-only file system (os error 30)\n");
    assert_eq!(mounts_in(&bundle), 0);
    bundle.config["process"]["args"] = json!(["/probe", "wait"]);
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    assert!(mounts_in(&bundle) > 5);
    assert_eq!(
        text(&bundle.hull(&["exec", &bundle.id, "/probe", "look", "/probe"]).stdout).trim(),
        "FileType { is_file: true, is_dir: false, is_symlink: false, .. }"
    );
    assert!(bundle.leave(&["delete", "-f", &bundle.id]));
    assert_eq!(mounts_in(&bundle), 0);
    bundle.config["process"]["args"] = json!(["/nothing"]);
    assert!(bundle.refused().contains("/nothing"));
    assert_eq!(mounts_in(&bundle), 0);
}

#[test]
fn a_root_whose_mounts_are_shared_is_entered_too() {
    if !can_run() {
        return;
    }
    for propagation in ["shared", "rshared", "slave", "private", "unbindable"] {
        let mut bundle = Bundle::new(&["cat", "/proc/self/mountinfo"]);
        bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
        let mounts = bundle.run();
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
        assert_eq!(root.contains(" shared:"), propagation.ends_with("shared"), "{propagation}: {root}");
    }
}

/// Every value of `linux.rootfsPropagation`, and none.
const PROPAGATIONS: [&str; 9] =
    ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];

/// What a shell says in mount namespaces of its own whose mounts are all shared, as on a host of systemd. The bundle's root file system is on
/// one, with another one below; the variable `hull` is the runtime with its first words.
fn on_shared_mounts(bundle: &Bundle, script: &str) -> String {
    // The configuration is written.
    bundle.hull(&["list"]);
    let root = bundle.inside("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    let script = format!(
        "set -e; hull='{} --root state'; mkdir {root}/deep; cp -a {root} kept; mount -t tmpfs on-host {root}; cp -a kept/. {root}
        mount -t tmpfs below {root}/deep; mkdir {root}/deep/sub; mount -t tmpfs deeper {root}/deep/sub
        mkdir other; mount -t tmpfs other other; mkdir other/sub; mount -t tmpfs deeper other/sub; mount --make-rshared /
        mounts() {{ sort -n /proc/self/mountinfo; }}; {script}",
        binary()
    );
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-c", &script]).current_dir(&bundle.folder);
    let output = shell.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_hosts_mounts_are_the_same_after_a_container_whatever_its_propagation() {
    if !can_run() {
        return;
    }
    // One that runs, one whose program is not there, one with a mount that fails, in the root and in a mount below it; each way to the root.
    let below = json!({"destination": "/deep/sub/own", "type": "tmpfs", "source": "tmpfs"});
    let bad = json!({"destination": "/deep/bad", "type": "nosuchtype", "source": "x"});
    for propagation in PROPAGATIONS {
        for (program, failing) in [("/probe", false), ("/nothing", false), ("/probe", true)] {
            let mut bundle = Bundle::new(&["true"]);
            bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
            bundle.config["process"]["args"][0] = json!(program);
            let mounts = bundle.config["mounts"].as_array_mut().unwrap();
            mounts.push(below.clone());
            mounts.extend(failing.then(|| bad.clone()));
            let said = on_shared_mounts(
                &bundle,
                &format!(
                    "mounts > before; for how in '' --no-pivot; do rc=0; $hull run $how {0} 2>/dev/null || rc=$?
                    $hull delete -f {0}; mounts > after; echo $rc $(diff before after | grep -c '^[<>]' || true); done",
                    bundle.id
                ),
            );
            let ran = program == "/probe" && !failing;
            let expected = if ran { "0 0\n" } else { "1 0\n" };
            assert_eq!(said, expected.repeat(2), "{propagation:?} {program} {failing}");
        }
    }
}

#[test]
fn what_the_host_mounts_later_is_seen_where_propagation_is_inwards() {
    if !can_run() {
        return;
    }
    for propagation in PROPAGATIONS {
        let mut bundle = Bundle::new(&["wait"]);
        bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
        bundle.config["root"]["readonly"] = json!(false);
        let said = on_shared_mounts(
            &bundle,
            &format!(
                "$hull run -d {0} >/dev/null 2>&1; mkdir rootfs/later; mount -t tmpfs later rootfs/later
                $hull exec {0} /probe cat /proc/self/mountinfo; $hull delete -f {0}",
                bundle.id
            ),
        );
        let line = |place: &str| said.lines().find(|line| line.split(' ').nth(4) == Some(place));
        let inwards = propagation.is_empty() || propagation.ends_with("slave");
        assert_eq!(line("/later").is_some(), inwards, "{propagation:?}: {said}");
        let root = line("/").unwrap();
        assert_eq!(root.contains(" master:"), inwards, "{propagation:?}: {root}");
        assert_eq!(root.contains(" shared:"), propagation.ends_with("shared"), "{propagation:?}: {root}");
        assert_eq!(root.contains(" unbindable"), propagation.ends_with("unbindable"), "{propagation:?}: {root}");
    }
}

#[test]
fn only_the_root_is_shared_where_only_that_is_asked_for() {
    if !can_run() {
        return;
    }
    let show = ["cat", "/proc/self/mountinfo"];
    for mut bundle in [Bundle::new(&show), with_users(&show)] {
        bundle.config["linux"]["rootfsPropagation"] = json!("shared");
        let said = on_shared_mounts(&bundle, &format!("$hull run {} 2>&1", bundle.id));
        let shared = said.lines().filter(|line| line.contains(" shared:")).map(|line| line.split(' ').nth(4));
        assert_eq!(shared.collect::<Vec<_>>(), [Some("/")], "{said}");
    }
}

#[test]
fn a_file_system_changes_when_it_is_mounted_again() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/mountinfo"]);
    let again = |place: &str, option: &str| json!({"destination": place, "type": "x", "source": "x", "options": ["remount", "nosuid", option]});
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.extend([again("/proc", "hidepid=2"), again("/dev/shm", "size=64k")]);
    let said = bundle.run();
    let line = |place: &str| said.lines().find(|line| line.split(' ').nth(4) == Some(place)).unwrap();
    assert!(line("/proc").contains("hidepid=invisible") && line("/proc").contains("nosuid"), "{said}");
    assert!(line("/dev/shm").ends_with("size=64k"), "{said}");
    bundle.config["mounts"].as_array_mut().unwrap().push(again("/dev/shm", "nosuchoption=1"));
    assert!(bundle.refused().contains("/dev/shm nosuchoption=1"));
}
