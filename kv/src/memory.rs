//! How much memory there is: the machine's, or what this process' control group lets it have, whichever is less.
use std::fs;

/// Bytes of memory that this process can have at most (sysinfo(2), cgroups(7)).
pub(crate) fn total() -> u64 {
    let info = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "the field's type differs between architectures")]
    let machine = u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    group_limit(&groups, |path| fs::read_to_string(path).ok()).map_or(machine, |limit| limit.min(machine))
}

/// The least limit of a process' control group and those above it, as far as they can be seen. `groups` is `/proc/self/cgroup`.
fn group_limit(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        if controllers.split(',').any(|controller| controller == "memory") {
            Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
        } else {
            (id == "0" && controllers.is_empty()).then_some(("/sys/fs/cgroup", path, "memory.max"))
        }
    });
    let files = lines.flat_map(|(mount, path, file)| {
        // In a container the group itself may be what is mounted, whatever its path is outside: so the mount's own is looked at, too.
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.map(move |end| format!("{mount}{}/{file}", path[..end].trim_end_matches('/')))
    });
    // "max" is no limit, and no number.
    files.filter_map(|file| read(&file)?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        group_limit(groups, |path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let files = [
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "2000\n"),
            ("/sys/fs/cgroup/memory.max", "3000\n"),
        ];
        assert_eq!(limit("0::/a/b\n", &files), Some(2000));
        assert_eq!(limit("0::/\n", &files), Some(3000));
        assert_eq!(limit("0::/a/b\n", &files[..1]), None);
    }

    #[test]
    fn the_first_version_has_a_hierarchy_for_memory() {
        let groups = "12:cpu,cpuacct:/x\n7:memory:/docker/abc\n0::/y\n";
        let inside = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n")];
        assert_eq!(limit(groups, &inside), Some(1000), "a container sees its own group as the highest");
        let outside = [("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "500\n"), inside[0]];
        assert_eq!(limit(groups, &outside), Some(500));
        assert_eq!(limit("12:cpu:/x\nnonsense\n", &outside), None);
    }
}
