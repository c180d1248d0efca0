//! Limits as files of a control group: which version the host has decides which files (cgroup-v1/, cgroup-v2.rst).

use super::config::{Rdma, Resources, WeightDevice};
use super::refused::value;
use super::{Refused, cgroup_v1, cgroup_v2};

/// What the host's control groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchy {
    /// One hierarchy a controller.
    V1 {
        /// Those that are mounted.
        controllers: Vec<String>,
    },
    /// One for all.
    V2 {
        /// Those that groups can have.
        controllers: Vec<String>,
    },
    /// None is mounted or writable.
    Absent,
}

/// One file of a control group and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Controller whose file it is.
    pub controller: &'static str,
    /// File name, `memory.max`.
    pub file: String,
    /// Value.
    pub value: String,
    /// Whether the container may start without it.
    pub need: Need,
    /// Field that asks for it.
    pub field: String,
}

/// Whether a setting must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without it there is no container.
    Must,
    /// Of all settings of its field one must be taken: the kernel has one file or another for it.
    OneOfItsField,
    /// A kernel without the file has nothing to limit: no swap, say.
    WhereKnown,
}

/// A group's path, cleaned. A path that leaves the hierarchy or is the hierarchy's root is refused.
///
/// # Errors
/// Names the field.
pub fn path(text: &str) -> Result<String, Refused> {
    const FIELD: &str = "linux.cgroupsPath";
    if text.split('/').any(|part| part == "..") || text.contains(['\0', '\n']) {
        return Err(value(FIELD, text, "a path in the hierarchy, without `..`"));
    }
    if text.split('/').next_back().unwrap_or("").matches(':').count() == 2 {
        return Err(value(FIELD, text, "a path: `slice:prefix:name` is systemd's, which this runtime does not ask"));
    }
    let path = super::mounts::clean(text);
    if path == "/" { Err(value(FIELD, text, "a path below the root of the hierarchy")) } else { Ok(path) }
}

/// The settings for the resources of a specification.
///
/// # Errors
/// Names what this host cannot limit.
pub fn settings(resources: &Resources, hierarchy: &Hierarchy) -> Result<Vec<Setting>, Refused> {
    let (settings, controllers) = match hierarchy {
        Hierarchy::V1 { controllers } => (cgroup_v1::settings(resources)?, controllers.as_slice()),
        Hierarchy::V2 { controllers } => (cgroup_v2::settings(resources)?, controllers.as_slice()),
        Hierarchy::Absent => (cgroup_v2::settings(resources)?, [].as_slice()),
    };
    let known =
        |setting: &Setting| setting.controller.is_empty() || controllers.iter().any(|c| c == setting.controller);
    match settings.iter().find(|setting| setting.need != Need::WhereKnown && !known(setting)) {
        Some(setting) => Err(Refused::Host {
            field: setting.field.clone(),
            lacks: format!("control group controller {:?}", setting.controller),
        }),
        None => Ok(settings.into_iter().filter(known).collect()),
    }
}

/// A list of settings of one field.
pub(super) struct Settings {
    pub(super) list: Vec<Setting>,
}

impl Settings {
    pub(super) fn must(
        &mut self,
        field: impl Into<String>,
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) {
        self.add(Need::Must, field.into(), controller, file.into(), value.to_string());
    }

    pub(super) fn where_known(
        &mut self,
        field: impl Into<String>,
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) {
        self.add(Need::WhereKnown, field.into(), controller, file.into(), value.to_string());
    }

    /// Files of which the kernel has one, each with its value.
    pub(super) fn one_of(&mut self, field: &str, controller: &'static str, files: [(&str, String); 2]) {
        for (file, value) in files {
            self.add(Need::OneOfItsField, field.to_owned(), controller, file.to_owned(), value);
        }
    }

    fn add(&mut self, need: Need, field: String, controller: &'static str, file: String, value: String) {
        self.list.push(Setting { controller, file, value, need, field });
    }
}

/// A page size such as `2MB`, as file names have it.
pub(super) fn page_size<'a>(field: &str, text: &'a str) -> Result<&'a str, Refused> {
    let digits = text.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
    match !digits.is_empty() && digits.len() + 2 == text.len() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text),
        false => Err(value(format!("{field}.pageSize"), text, "a size such as 2MB")),
    }
}

/// The line of a device for `rdma.max`, the same in both versions.
pub(super) fn rdma_line(device: &str, limit: &Rdma) -> Result<String, Refused> {
    let device = name("linux.resources.rdma", device)?;
    if (limit.hca_handles, limit.hca_objects) == (None, None) {
        return Err(Refused::Missing { field: format!("linux.resources.rdma.{device}.hcaHandles or hcaObjects") });
    }
    let part = |limit: Option<u32>| limit.map_or("max".to_owned(), |limit| limit.to_string());
    Ok(format!("{device} hca_handle={} hca_object={}", part(limit.hca_handles), part(limit.hca_objects)))
}

/// A weight of disks. 0 is none, as callers write it who have no wish.
pub(super) fn disk_weight(field: &str, weight: Option<u16>) -> Result<Option<u16>, Refused> {
    match weight.filter(|weight| *weight != 0) {
        Some(weight) if !(10..=1000).contains(&weight) => Err(value(field, weight.to_string(), "10 to 1000")),
        weight => Ok(weight),
    }
}

/// An entry for one disk says something about it.
pub(super) fn weighs(field: &str, device: &WeightDevice) -> Result<(), Refused> {
    match (device.weight, device.leaf_weight) {
        (None, None) => Err(Refused::Missing { field: format!("{field}.weight or leafWeight") }),
        _ => Ok(()),
    }
}

/// Keys of `rdma` and `unified` are names, never paths.
pub(super) fn name<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Refused> {
    match text.is_empty() || text.contains(['/', '\0', '\n', ' ']) || text.starts_with('.') {
        true => Err(value(field, text, "a name")),
        false => Ok(text),
    }
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
