//! Plans of whole specifications, and what is refused of them.

use oci_spec::runtime::{Capability, HooksBuilder, MountBuilder, Spec};

use super::*;
use crate::declaration::Declaration;
use crate::image::Defaults;
use crate::spec;

fn facts() -> Facts {
    Facts { controllers: ["memory", "cpu", "pids"].map(str::to_owned).to_vec(), last_capability: 40 }
}

fn specification(declaration: &Declaration) -> Spec {
    let image = Defaults { entrypoint: vec!["/hello".into()], ..Defaults::default() };
    let mut spec = spec::build("web", &image, declaration, "http://127.0.0.1:2379").unwrap();
    spec::map_ids(&mut spec, 131_072).unwrap();
    spec
}

fn position(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> usize {
    plan.steps.iter().position(wanted).expect("the step is in the plan")
}

#[test]
fn a_declared_container_is_planned_in_a_safe_order() {
    let plan = plan(&specification(&Declaration::of_image("hello")), &facts()).unwrap();
    assert_eq!(plan.group, "/hull.containers/web");
    assert_eq!(plan.uid_map, [Ids { inside: 0, outside: 131_072, count: 65_536 }]);
    assert_eq!(plan.namespaces & 0x4000_0000, 0, "the network of the node is kept");
    assert_eq!(plan.namespaces & 0x0200_0000, 0, "a cgroup namespace is not made by clone3");
    let root = position(&plan, |step| matches!(step, Step::EnterRoot));
    assert!(
        position(&plan, |step| matches!(step, Step::BecomeRoot))
            < position(&plan, |step| matches!(step, Step::Mount(_)))
    );
    assert!(plan.steps[root..].iter().all(|step| !matches!(step, Step::Mount(_) | Step::Mask(_) | Step::Seal(_))));
    let user = position(&plan, |step| matches!(step, Step::User { .. }));
    assert!(position(&plan, |step| matches!(step, Step::Bound(_))) < user);
    assert!(user < position(&plan, |step| matches!(step, Step::Hold(_))));
    assert!(matches!(plan.steps.last(), Some(Step::Filter(_))));
    assert!(position(&plan, |step| matches!(step, Step::NoNewPrivileges)) < plan.steps.len() - 1);
}

#[test]
fn limits_become_files_of_the_control_group() {
    let mut declaration = Declaration::of_image("hello");
    (declaration.memory, declaration.cpu, declaration.pids) = (Some("64M".into()), Some(0.25), Some(9));
    let plan = plan(&specification(&declaration), &facts()).unwrap();
    let value =
        |file: &str| plan.settings.iter().find(|setting| setting.file == file).map(|setting| setting.value.as_str());
    assert_eq!(value("memory.max"), Some("67108864"));
    assert_eq!(value("memory.swap.max"), Some("0"));
    assert_eq!(value("cpu.max"), Some("25000 100000"));
    assert_eq!(value("pids.max"), Some("9"));
}

#[test]
fn a_limit_without_its_controller_is_refused_by_field() {
    let mut declaration = Declaration::of_image("hello");
    declaration.memory = Some("64M".into());
    let bare = Facts { controllers: vec!["pids".into()], ..facts() };
    let refused = plan(&specification(&declaration), &bare).unwrap_err();
    assert_eq!(refused, Refused::Controller { field: "linux.resources.memory", controller: "memory" });
}

#[test]
fn capabilities_that_the_kernel_does_not_know_are_left_out() {
    let old = Facts { last_capability: 5, ..facts() };
    let plan = plan(&specification(&Declaration::of_image("hello")), &old).unwrap();
    let bound = plan.steps.iter().find_map(|step| if let Step::Bound(bits) = step { Some(*bits) } else { None });
    assert!(bound.is_some_and(|bits| bits > 0 && bits < 1 << 6));
}

#[test]
fn every_capability_has_its_number() {
    let sets: Capabilities =
        [Capability::Chown, Capability::SysAdmin, Capability::CheckpointRestore].into_iter().collect();
    assert_eq!(bits(Some(&sets)), 1 | 1 << 21 | 1 << 40);
}

#[test]
fn a_field_that_is_not_honoured_is_refused_by_name() {
    let mut spec = specification(&Declaration::of_image("hello"));
    spec.set_hooks(Some(HooksBuilder::default().build().unwrap()));
    assert_eq!(plan(&spec, &facts()), Err(Refused::Field { field: "hooks".into() }));
    let mut spec = specification(&Declaration::of_image("hello"));
    spec.set_version("2.0.0".into());
    assert!(plan(&spec, &facts()).unwrap_err().to_string().contains("ociVersion"));
}

#[test]
fn a_mount_that_leaves_the_root_is_refused() {
    for (destination, options, expected) in [
        ("/a/../../etc", vec![], "mounts[0].destination"),
        ("etc", vec![], "mounts[0].destination"),
        ("/etc", vec!["rshared".to_owned()], "rshared"),
        ("/etc", vec!["bind".to_owned(), "mode=1".to_owned()], "mode"),
    ] {
        let mut spec = specification(&Declaration::of_image("hello"));
        let mount = MountBuilder::default().typ("tmpfs").source("/x").destination(destination).options(options);
        spec.set_mounts(Some(vec![mount.build().unwrap()]));
        let refused = plan(&spec, &facts()).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_control_group_that_is_a_way_out_is_refused() {
    for path in ["/", "", "/../x", "/a/../../b", "./x"] {
        assert!(cgroup::path(path).is_err(), "{path:?}");
    }
    assert_eq!(cgroup::path("//a//b/"), Ok("/a/b".to_owned()));
}

#[test]
fn a_plan_can_be_read() {
    let text = plan(&specification(&Declaration::of_image("hello")), &facts()).unwrap().to_string();
    for line in [
        "control group /hull.containers/web",
        "mount proc on /proc nosuid noexec nodev",
        "hide /proc/kcore",
        "execute /hello",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
