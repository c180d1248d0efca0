//! Specifications and their plans.

use super::super::process::Module;
use super::super::{read, template};
use super::*;

pub(crate) fn facts() -> Facts {
    let controllers = ["cpu", "memory", "pids", "devices"].map(str::to_owned).to_vec();
    Facts {
        hierarchy: Hierarchy::V2 { controllers },
        host: Host { last_capability: 40, held: u64::MAX, apparmor: Module::Absent, selinux: Module::Absent },
        owner: Owner::Root,
        leave: Leave::Pivot,
    }
}

/// A plan of the template with changes by JSON pointer.
fn planned(changes: &[(&str, serde_json::Value)]) -> Result<Plan, String> {
    let mut config = template::template(template::For::Root, &facts().hierarchy);
    for (place, value) in changes {
        let (parent, name) = place.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    let spec = read::spec(config.to_string().as_bytes()).map_err(|refused| refused.to_string())?;
    plan(&spec, &facts()).map_err(|refused| refused.to_string())
}

#[test]
fn a_plan_reads_as_a_list() {
    let text = planned(&[]).unwrap().to_string();
    for line in [
        "deny a *:* rwm",
        "new namespaces: pid mount network uts ipc cgroup",
        "set the host name hull",
        "mount proc on /proc",
        "make the device /dev/null c 1:3 666",
        "make a terminal",
        "hide /proc/kcore",
        "make /proc/sys read-only",
        "no new privileges",
        "in / executes sh",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let at = |part: &str| text.find(part).unwrap();
    assert!(at("mount tmpfs on /dev") < at("make the device"));
    assert!(at("hide /proc/kcore") < at("enter the root") && at("execute the hooks") < at("enter the root"));
}

#[test]
fn bad_input_is_refused_by_its_field() {
    use serde_json::{Value, json};
    let cases = [
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!("one"), "ociVersion"),
        ("/ociVersion", json!(null), "ociVersion"),
        ("/ociVersion", json!("1..2"), "ociVersion"),
        ("/ociVersion", json!("1.0.x"), "ociVersion"),
        ("/process/user", json!({"uid": u32::MAX, "gid": 0}), "process.user.uid"),
        ("/linux/maskedPaths", json!(["/proc/keys", ".."]), "linux.maskedPaths[1]"),
        ("/mounts/0/destination", json!("/.."), "mounts[0].destination"),
        ("/root", json!(null), "root"),
        ("/root/path", json!(""), "root.path"),
        ("/process/cwd", json!("work"), "process.cwd"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!("sh"), "process.args"),
        ("/hostname", json!("x".repeat(65)), "hostname"),
        ("/domainname", json!("x".repeat(65)), "domainname"),
        ("/annotations", json!({"": "x"}), "annotations"),
        ("/annotations", json!({"a": 1}), "annotations.a"),
        ("/vm", json!({}), "vm"),
        ("/process/commandLine", json!("cmd /c dir"), "process.commandLine"),
        ("/mounts/0/options", json!(["bind", "idmap"]), "mounts[0].options"),
        ("/mounts/0/options", json!(["rbind", "ridmap"]), "mounts[0].options"),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1}}), "linux.timeOffsets"),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": 1}]), "linux.devices[0].minor"),
        ("/mounts/0/destination", json!(""), "mounts[0].destination"),
        ("/linux/cgroupsPath", json!("../../x"), "linux.cgroupsPath"),
        ("/linux/namespaces/0/type", json!("pids"), "linux.namespaces[0].type"),
        ("/linux/sysctl", json!({"kernel.panic": "1"}), "linux.sysctl.kernel.panic"),
        ("/linux/sysctl", json!({"net/../kernel/panic": "1"}), "linux.sysctl.net/../kernel/panic"),
        ("/linux/intelRdt", json!({}), "linux.intelRdt"),
        ("/linux/rootfsPropagation", json!("both"), "linux.rootfsPropagation"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]), "linux.uidMappings"),
        ("/hooks", json!({"prestart": [{"path": "true"}]}), "hooks.prestart[0].path"),
    ];
    for (place, value, field) in cases {
        let refused = planned(&[(place, Value::clone(&value))]).expect_err(&format!("{place} = {value}"));
        assert!(refused.starts_with(field), "{place} = {value}: {refused}");
    }
}

#[test]
fn names_are_for_a_namespace_of_the_containers_own() {
    use serde_json::json;
    let plan = planned(&[("/domainname", json!("dom.test"))]).unwrap();
    assert!(plan.steps.contains(&Step::DomainName("dom.test".into())));
    let shared = ("/linux/namespaces", json!([{"type": "pid"}, {"type": "mount"}]));
    for name in ["hostname", "domainname"] {
        let place = format!("/{name}");
        let refused = planned(&[("/hostname", json!("")), shared.clone(), (&place, json!("d"))]).unwrap_err();
        assert!(refused.starts_with(&format!("{name}: ")), "{refused}");
    }
}

#[test]
fn the_size_of_a_terminal_means_nothing_without_one() {
    use serde_json::json;
    let size = ("/process/consoleSize", json!({"height": 33, "width": 101}));
    let plan = planned(&[size.clone(), ("/process/terminal", json!(true))]).unwrap();
    assert_eq!(plan.terminal, Terminal::Wanted(Some((33, 101))));
    assert_eq!(planned(&[size, ("/process/terminal", json!(false))]).unwrap().terminal, Terminal::None);
}

#[test]
fn sections_of_other_platforms_are_passed_over() {
    use serde_json::json;
    let same = planned(&[]).unwrap();
    for (section, value) in [
        ("/windows", json!({"layerFolders": ["C:\\a"]})),
        ("/solaris", json!({"milestone": "x"})),
        ("/zos", json!({"namespaces": []})),
        ("/freebsd", json!({"devices": []})),
    ] {
        assert_eq!(planned(&[(section, value)]).unwrap(), same, "{section}");
    }
}

#[test]
fn what_a_step_fails_at_has_the_name_of_its_field() {
    use serde_json::json;
    let namespaces = json!([{"type": "uts"}, {"type": "time"}, {"type": "network"}, {"type": "ipc", "path": "/i"}, {"type": "mount"}]);
    let plan = planned(&[
        ("/linux/namespaces", namespaces),
        ("/domainname", json!("d")),
        ("/linux/sysctl", json!({"net.nothing.here": "1"})),
    ]);
    let fields: Vec<String> = plan.unwrap().steps.iter().filter_map(Step::field).collect();
    assert_eq!(
        fields,
        ["linux.namespaces", "linux.timeOffsets", "hostname", "domainname", "linux.sysctl.net.nothing.here"]
    );
}

#[test]
fn a_parameter_needs_the_namespace_that_it_is_of() {
    use serde_json::json;
    let namespaces = |kinds: &[&str]| json!(kinds.iter().map(|kind| json!({"type": kind})).collect::<Vec<_>>());
    let sysctl = json!({"net.ipv4.conf.eth0/10.forwarding": "1"});
    let with = planned(&[("/linux/sysctl", sysctl.clone())]).unwrap();
    let expected = Step::Parameter {
        key: "net.ipv4.conf.eth0/10.forwarding".into(),
        path: "net/ipv4/conf/eth0.10/forwarding".into(),
        value: "1".into(),
    };
    assert!(with.steps.contains(&expected), "{with}");
    let without = planned(&[("/linux/sysctl", sysctl), ("/linux/namespaces", namespaces(&["pid", "uts", "mount"]))]);
    assert!(without.unwrap_err().contains("namespace of its own"));
}

#[test]
fn a_read_only_tmpfs_is_sealed_when_it_is_furnished() {
    use serde_json::json;
    let plan = planned(&[("/mounts/1/options", json!(["ro", "nosuid"]))]).unwrap();
    let at = |step: &dyn Fn(&Step) -> bool| plan.steps.iter().position(step).unwrap();
    assert!(
        at(&|step| matches!(step, Step::Finish(path) if path == "/dev")) > at(&|step| matches!(step, Step::Device(_)))
    );
}

#[test]
fn files_are_labelled_where_the_kernel_has_labels() {
    use serde_json::json;
    let mut config = template::template(template::For::Root, &facts().hierarchy);
    config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    let spec = |config: &serde_json::Value| read::spec(config.to_string().as_bytes()).unwrap();
    let facts = |selinux: Module| Facts { host: Host { selinux, ..facts().host }, ..facts() };
    let labelled = plan(&spec(&config), &facts(Module::Present)).unwrap().to_string();
    let with: Vec<&str> = labelled.lines().filter(|line| line.contains("context=system_u")).collect();
    let kind = |line: &&str| line.split_once("mount ").unwrap().1.split(' ').next().unwrap().to_owned();
    assert_eq!(with.iter().map(kind).collect::<Vec<_>>(), ["tmpfs", "devpts", "tmpfs"]);
    let refused = plan(&spec(&config), &facts(Module::Absent)).unwrap_err().to_string();
    assert!(refused.starts_with("linux.mountLabel: this host has no SELinux"), "{refused}");
    config["linux"]["mountLabel"] = json!("");
    assert!(plan(&spec(&config), &facts(Module::Absent)).is_ok());
}

#[test]
fn without_a_mount_namespace_everything_is_in_the_root_file_system() {
    use serde_json::json;
    let plan = planned(&[("/linux/namespaces", json!([{"type": "pid"}, {"type": "uts"}]))]).unwrap();
    assert!(plan.steps.contains(&Step::AttachRoot(Place::Among)) && plan.steps.ends_with(&[Step::ChangeRoot]));
    assert!(!plan.steps.iter().any(|step| matches!(step, Step::EnterRoot(_) | Step::Propagate(_))));
}

#[test]
fn what_is_null_is_as_if_it_were_not_there() {
    use serde_json::{Value, json};
    let null = json!({"eth7": {"name": null}});
    assert_eq!(planned(&[("/linux/netDevices", null)]).unwrap().net_devices[0].inside, "eth7");
    for place in [
        "/mounts",
        "/annotations",
        "/process/env",
        "/process/rlimits",
        "/linux/timeOffsets",
        "/linux/devices",
        "/linux/sysctl",
        "/process/terminal",
        "/process/noNewPrivileges",
        "/process/user",
        "/root/readonly",
        "/linux/resources/devices/0/allow",
    ] {
        assert!(planned(&[(place, Value::Null)]).is_ok(), "{place}");
    }
}

#[test]
fn clocks_are_set_before_the_process_is_its_users_root() {
    use serde_json::json;
    let namespaces = json!([{"type": "user"}, {"type": "time"}, {"type": "mount"}, {"type": "uts"}]);
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let plan =
        planned(&[("/linux/namespaces", namespaces), ("/linux/uidMappings", map.clone()), ("/linux/gidMappings", map)])
            .unwrap();
    let at = |step: &dyn Fn(&Step) -> bool| plan.steps.iter().position(step).unwrap();
    assert!(at(&|step| matches!(step, Step::NewTimeNamespace(_))) < at(&|step| matches!(step, Step::BecomeRoot)));
}

#[test]
fn a_root_among_the_read_only_paths_is_a_read_only_root() {
    use serde_json::json;
    let plan = planned(&[("/linux/readonlyPaths", json!(["/"])), ("/root/readonly", json!(false))]).unwrap();
    assert!(plan.steps.contains(&Step::SealRoot) && !plan.steps.contains(&Step::Seal("/".into())));
}
