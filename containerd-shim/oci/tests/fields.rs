//! Fields of `config.json`, each with what it does seen from inside the container, or the field's name in what refuses it.

mod common;

use std::fs;

use common::{Bundle, can_run, text};
use serde_json::{Value, json};

#[test]
fn a_capability_that_cannot_be_given_is_warned_of_and_left_out() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/status"]);
    let names = json!(["CAP_KILL", "CAP_NEW_THING"]);
    bundle.config["process"]["capabilities"] =
        json!({"bounding": names, "permitted": names, "effective": names, "ambient": ["CAP_KILL"]});
    let ran = bundle.hull(&["--log", "log", "--log-format", "json", "run", &bundle.id]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("CapBnd:\t0000000000000020"), "{}", text(&ran.stdout));
    let log = fs::read_to_string(bundle.folder.join("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, said) in lines.iter().zip(["capabilities: CAP_NEW_THING", "capabilities.ambient: CAP_KILL"]) {
        assert_eq!(line["level"], "warning");
        assert!(line["msg"].as_str().unwrap().contains(said) && text(&ran.stderr).contains(said), "{log}");
    }
    assert!(bundle.leave(&["create", &bundle.id]));
    let entered = bundle.hull(&["exec", "--cap", "CAP_OTHER_THING", &bundle.id, "/probe", "true"]);
    assert!(text(&entered.stderr).contains("CAP_OTHER_THING is left out"), "{}", text(&entered.stderr));
}

#[test]
fn a_limit_that_this_kernel_lacks_is_refused_by_its_field() {
    if !can_run() {
        return;
    }
    for (resources, field) in [
        (json!({"blockIO": {"leafWeight": 300}}), "linux.resources.blockIO.leafWeight"),
        // No disk has this number.
        (
            json!({"blockIO": {"weightDevice": [{"major": 4000, "minor": 7, "weight": 300}]}}),
            "linux.resources.blockIO.weightDevice[0].weight",
        ),
        (json!({"memory": {"kernel": 8_388_608}}), "linux.resources.memory.kernel"),
        (json!({"memory": {"useHierarchy": false}}), "linux.resources.memory.useHierarchy"),
        (json!({"cpu": {"cpus": "900"}}), "linux.resources.cpu.cpus"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["linux"]["resources"] = resources;
        let refused = bundle.refused();
        assert!(
            refused.contains(&format!("{field}: ")) || refused.contains(&format!("{field} on ")),
            "{field}: {refused}"
        );
    }
}

#[test]
fn a_weight_of_disks_is_in_its_file_or_is_refused() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    for (weight, lines) in [(300, ["300", "default 300", "default 2930"]), (0, ["100", "default 100", ""])] {
        bundle.config["linux"]["resources"] = json!({"blockIO": {"weight": weight}});
        let created = bundle.complaint(&["create", &bundle.id]);
        if weight != 0 && !created.is_empty() {
            assert!(created.contains("linux.resources.blockIO.weight: "), "{created}");
            continue;
        }
        assert_eq!(created, "");
        let root = std::path::Path::new("/sys/fs/cgroup");
        let folders = [root.join("blkio").join(&bundle.id), root.join(&bundle.id)];
        let files = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
        for file in folders.iter().flat_map(|folder| files.iter().map(|file| folder.join(file))) {
            let Ok(found) = fs::read_to_string(&file) else { continue };
            assert!(lines.contains(&found.lines().next().unwrap()), "{}: {found}", file.display());
        }
        assert!(bundle.leave(&["delete", "-f", &bundle.id]));
    }
}
