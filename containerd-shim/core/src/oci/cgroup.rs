//! Limits as files of a control group: which version the host has decides which files (cgroup-v1/, cgroup-v2.rst).

use super::config::Resources;
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
    pub field: &'static str,
}

/// Whether a setting must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without it there is no container.
    Must,
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
    match settings.iter().find(|setting| setting.need == Need::Must && !known(setting)) {
        Some(setting) => Err(Refused::Host {
            field: setting.field.to_owned(),
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
        field: &'static str,
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) {
        let need = Need::Must;
        self.list.push(Setting { controller, file: file.into(), value: value.to_string(), need, field });
    }

    pub(super) fn where_known(
        &mut self,
        field: &'static str,
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) {
        let need = Need::WhereKnown;
        self.list.push(Setting { controller, file: file.into(), value: value.to_string(), need, field });
    }
}

/// A page size such as `2MB`, as file names have it.
pub(super) fn page_size(text: &str) -> Result<&str, Refused> {
    let digits = text.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
    match !digits.is_empty() && digits.len() + 2 == text.len() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text),
        false => Err(value("linux.resources.hugepageLimits.pageSize", text, "a size such as 2MB")),
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
