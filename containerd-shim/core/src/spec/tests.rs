//! Specifications of declared containers.

use super::*;
use crate::oci::cgroup::Hierarchy;
use crate::oci::namespaces::Kind;
use crate::oci::plan::{Facts, Leave, Owner, Step, plan};
use crate::oci::process::{Host, Module, Privileges};

const STORE: &str = "http://127.0.0.1:2379";

fn image() -> Defaults {
    Defaults { entrypoint: vec!["/hello".into()], command: vec!["now".into()], ..Defaults::default() }
}

fn arguments_of(declaration: &Declaration) -> Vec<String> {
    let spec = build("web", &image(), declaration, STORE).unwrap();
    spec.process.unwrap().args
}

#[test]
fn a_container_is_unprivileged_unless_it_asks() {
    let spec = build("web", &image(), &Declaration::of_image("hello"), STORE).unwrap();
    let process = spec.process.unwrap();
    assert!(process.no_new_privileges);
    let held = process.capabilities.unwrap().bounding;
    assert!(held.iter().all(|name| name != "CAP_SYS_ADMIN" && name != "CAP_NET_ADMIN") && held.len() < 10, "{held:?}");
    let linux = spec.linux.unwrap();
    assert!(linux.seccomp.is_some());
    let kinds: Vec<_> = linux.namespaces.iter().map(|namespace| namespace.kind.as_str()).collect();
    assert!(kinds.contains(&"user") && !kinds.contains(&"network"));
    assert!(spec.root.unwrap().readonly);
    assert_eq!(linux.cgroups_path.as_deref(), Some("/hull.containers/web"));
}

#[test]
fn a_command_replaces_the_entrypoint_and_arguments_only_the_command() {
    let mut declaration = Declaration::of_image("hello");
    assert_eq!(arguments_of(&declaration), ["/hello", "now"]);
    declaration.args = vec!["later".into()];
    assert_eq!(arguments_of(&declaration), ["/hello", "later"]);
    declaration.command = vec!["/bin/sh".into()];
    assert_eq!(arguments_of(&declaration), ["/bin/sh", "later"]);
}

#[test]
fn the_declarations_variables_go_before_the_images_and_hulls() {
    let mut image = image();
    image.environment = vec!["PATH=/bin".into(), "A=image".into()];
    let mut declaration = Declaration::of_image("hello");
    declaration.env.insert("A".into(), "declared".into());
    let spec = build("web", &image, &declaration, STORE).unwrap();
    let env = spec.process.unwrap().env;
    assert!(env.contains(&"PATH=/bin".to_owned()) && env.contains(&"A=declared".to_owned()));
    assert!(env.iter().any(|variable| variable.starts_with("ETCD_ENDPOINTS=http://")));
    assert_eq!(env.iter().filter(|variable| variable.starts_with("PATH=")).count(), 1);
}

#[test]
fn a_container_finds_the_store_where_it_listens() {
    assert_eq!(endpoint("0.0.0.0:2379"), STORE);
    assert_eq!(endpoint("[::]:99"), "http://127.0.0.1:99");
    assert_eq!(endpoint("10.0.0.5:2379"), "http://10.0.0.5:2379");
    assert_eq!(endpoint(""), STORE);
}

#[test]
fn limits_become_those_of_the_specification() {
    let mut declaration = Declaration::of_image("hello");
    (declaration.memory, declaration.cpu, declaration.pids) = (Some("64M".into()), Some(0.5), Some(7));
    let spec = build("web", &image(), &declaration, STORE).unwrap();
    let resources = spec.linux.unwrap().resources.unwrap();
    assert_eq!(resources.memory.unwrap().limit, Some(64 << 20));
    assert_eq!(resources.cpu.unwrap().quota, Some(50_000));
    assert_eq!(resources.pids.unwrap().limit, Some(7));
}

#[test]
fn a_user_by_name_is_looked_up_in_the_image() {
    let passwd = "root:x:0:0::/:/bin/sh\nwww:x:33:34::/var/www:/bin/false\n";
    let group = "www:x:34:\nlog:x:4:syslog,www\nstaff:x:50:\n";
    let ids = |text: &str| {
        let mut spec =
            build("web", &Defaults { user: text.into(), ..image() }, &Declaration::of_image("a"), STORE).unwrap();
        resolve_user(&mut spec, passwd, group)?;
        let user = spec.process.unwrap().user;
        Ok((user.uid, user.gid, user.additional_gids))
    };
    assert_eq!(ids("1000:1001"), Ok((1000, 1001, vec![])));
    assert_eq!(ids("www"), Ok((33, 34, vec![4])));
    assert_eq!(ids("www:staff"), Ok((33, 50, vec![4])));
    assert_eq!(ids("33"), Ok((33, 34, vec![4])));
    assert_eq!(ids("1234"), Ok((1234, 0, vec![])));
    assert_eq!(ids("nobody"), Err(Refused::User { text: "nobody".into() }));
    assert_eq!(ids("www:nobody"), Err(Refused::User { text: "www:nobody".into() }));
}

#[test]
fn stop_signals_have_names_and_numbers() {
    let signal = |text: &str| stop_signal(&Defaults { stop_signal: text.into(), ..Defaults::default() });
    assert_eq!(signal(""), Ok(15));
    assert_eq!(signal("SIGQUIT"), Ok(3));
    assert_eq!(signal("QUIT"), Ok(3));
    assert_eq!(signal("SIGRTMIN+3"), Ok(37));
    assert_eq!(signal("9"), Ok(9));
    for bad in ["SIGNAL", "0", "65", "-1", "RTMIN+99"] {
        assert!(signal(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_image_without_a_program_needs_a_command() {
    let refused = build("web", &Defaults::default(), &Declaration::of_image("data"), STORE);
    assert_eq!(refused, Err(Refused::NoProgram));
}

#[test]
fn what_is_declared_is_mounted_behind_what_it_lies_in() {
    let mut declaration = Declaration::of_image("hello");
    declaration.volumes.insert("/srv/data".into(), "data".into());
    declaration.volumes.insert("/srv/data/shared".into(), "shared:ro".into());
    declaration.tmpfs.insert("/tmp".into(), "8M".into());
    let spec = build("web", &image(), &declaration, STORE).unwrap();
    let place = |path: &str| spec.mounts.iter().position(|mount| mount.destination == path).unwrap();
    assert!(place("/srv/data") < place("/srv/data/shared"));
    let data = &spec.mounts[place("/srv/data")];
    assert_eq!(data.source.as_deref(), Some("/var/lib/hull/volumes/data"));
    assert!(["rw", "idmap", "nosuid", "nodev"].iter().all(|word| data.options.iter().any(|option| option == word)));
    assert!(spec.mounts[place("/srv/data/shared")].options.contains(&"ro".to_owned()));
    assert!(spec.mounts[place("/tmp")].options.contains(&"size=8388608".to_owned()));
    assert_eq!(spec.mounts.iter().filter(|mount| mount.destination == "/tmp").count(), 1);
}

#[test]
fn user_folder_and_capabilities_are_the_declarations_where_it_names_them() {
    let mut declaration = Declaration::of_image("hello");
    (declaration.user, declaration.directory) = (Some("7:8".into()), Some("/srv".into()));
    (declaration.capabilities, declaration.drop) = (vec!["sys_ptrace".into()], vec!["CHOWN".into()]);
    let image = Defaults { user: "1:2".into(), working_dir: "/old".into(), ..image() };
    let process = build("web", &image, &declaration, STORE).unwrap().process.unwrap();
    assert_eq!((process.user.uid, process.user.gid, process.cwd.as_str()), (7, 8, "/srv"));
    let held = process.capabilities.unwrap().permitted;
    assert!(held.contains(&"CAP_SYS_PTRACE".to_owned()) && !held.contains(&"CAP_CHOWN".to_owned()), "{held:?}");
    declaration.drop = vec!["ALL".into()];
    let process = build("web", &image, &declaration, STORE).unwrap().process.unwrap();
    assert_eq!(process.capabilities.unwrap().bounding, ["CAP_SYS_PTRACE"]);
}

/// The whole way of a declared container but for the kernel.
#[test]
fn a_declared_container_is_planned_in_a_safe_order() {
    let mut declaration = Declaration::of_image("hello");
    declaration.volumes.insert("/data".into(), "data".into());
    let mut spec = build("web", &image(), &declaration, STORE).unwrap();
    map_ids(&mut spec, 131_072);
    let facts = Facts {
        hierarchy: Hierarchy::V2 { controllers: ["cpu", "memory", "pids"].map(str::to_owned).to_vec() },
        host: Host { last_capability: 40, held: u64::MAX, apparmor: Module::Absent, selinux: Module::Absent },
        owner: Owner::Root,
        leave: Leave::Pivot,
    };
    let plan = plan(&spec, &facts).unwrap();
    assert_eq!(plan.group.as_deref(), Some("/hull.containers/web"));
    assert_eq!(plan.uid_map, [IdMapping { container_id: 0, host_id: 131_072, size: 65_536 }]);
    assert!(!plan.device_rules.is_empty() && !plan.namespaces.is_own(Kind::Network));
    let position = |wanted: fn(&Step) -> bool| plan.steps.iter().position(wanted).unwrap();
    let root = position(|step| matches!(step, Step::EnterRoot(_)));
    assert!(plan.steps[root..].iter().all(|step| !matches!(step, Step::Mount(_) | Step::Mask(_) | Step::Seal(_))));
    assert!(position(|step| matches!(step, Step::BecomeRoot)) < position(|step| matches!(step, Step::Mount(_))));
    let identity = plan.identity.unwrap();
    assert_eq!((identity.privileges, identity.filter.is_some()), (Privileges::NoNew, true));
    // By their numbers: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE.
    let expected = [0, 1, 3, 4, 5, 6, 7, 8, 10].iter().fold(0, |bits, number| bits | 1 << number);
    assert_eq!(identity.held.bounding, expected);
}
