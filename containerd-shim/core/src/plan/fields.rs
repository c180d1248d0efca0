//! The fields of a specification that this runtime does not honour: each is refused by its name, so that nothing is silently less safe.

use oci_spec::runtime::{Linux, LinuxResources, Process, Spec};

use super::Refused;

/// Refuses the first field that is not honoured.
pub(super) fn check(spec: &Spec) -> Result<(), Refused> {
    let major = spec.version().split('.').next();
    if major != Some("1") {
        return Err(Refused::Value {
            field: "ociVersion".into(),
            value: spec.version().clone(),
            expected: "a version 1.x",
        });
    }
    refuse(spec.hooks().is_some(), "hooks")?;
    if let Some(process) = spec.process() {
        check_process(process)?;
    }
    if let Some(linux) = spec.linux() {
        check_linux(linux)?;
        if let Some(resources) = linux.resources() {
            check_resources(resources)?;
        }
    }
    Ok(())
}

fn refuse(present: bool, field: &str) -> Result<(), Refused> {
    if present { Err(Refused::Field { field: field.to_owned() }) } else { Ok(()) }
}

fn check_process(process: &Process) -> Result<(), Refused> {
    refuse(process.terminal() == Some(true), "process.terminal")?;
    refuse(process.apparmor_profile().as_ref().is_some_and(|profile| !profile.is_empty()), "process.apparmorProfile")?;
    refuse(process.selinux_label().as_ref().is_some_and(|label| !label.is_empty()), "process.selinuxLabel")?;
    refuse(process.scheduler().is_some(), "process.scheduler")?;
    refuse(process.io_priority().is_some(), "process.ioPriority")?;
    refuse(process.exec_cpu_affinity().is_some(), "process.execCPUAffinity")?;
    refuse(process.user().username().is_some(), "process.user.username")?;
    if !process.cwd().is_absolute() {
        let value = process.cwd().to_string_lossy().into_owned();
        return Err(Refused::Value { field: "process.cwd".into(), value, expected: "an absolute path" });
    }
    Ok(())
}

fn check_linux(linux: &Linux) -> Result<(), Refused> {
    for namespace in linux.namespaces().iter().flatten() {
        refuse(namespace.path().is_some(), &format!("linux.namespaces[{}].path", namespace.typ()))?;
    }
    refuse(linux.devices().as_ref().is_some_and(|devices| !devices.is_empty()), "linux.devices")?;
    refuse(linux.sysctl().as_ref().is_some_and(|sysctl| !sysctl.is_empty()), "linux.sysctl")?;
    refuse(linux.rootfs_propagation().as_ref().is_some_and(|kind| !kind.is_empty()), "linux.rootfsPropagation")?;
    refuse(linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()), "linux.mountLabel")?;
    refuse(linux.net_devices().is_some(), "linux.netDevices")?;
    refuse(linux.intel_rdt().is_some(), "linux.intelRdt")?;
    refuse(linux.memory_policy().is_some(), "linux.memoryPolicy")?;
    refuse(linux.personality().is_some(), "linux.personality")?;
    refuse(linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()), "linux.timeOffsets")
}

fn check_resources(resources: &LinuxResources) -> Result<(), Refused> {
    refuse(resources.devices().as_ref().is_some_and(|devices| !devices.is_empty()), "linux.resources.devices")?;
    refuse(resources.block_io().is_some(), "linux.resources.blockIO")?;
    refuse(
        resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()),
        "linux.resources.hugepageLimits",
    )?;
    refuse(resources.network().is_some(), "linux.resources.network")?;
    refuse(resources.rdma().is_some(), "linux.resources.rdma")?;
    refuse(resources.unified().is_some(), "linux.resources.unified")
}
