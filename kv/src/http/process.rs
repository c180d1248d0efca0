//! What the kernel knows of this process (proc(5)), under the names that Prometheus' clients use.
use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use crate::metrics::Exposition;

/// Places in `/proc/self/stat`, counted from behind the name, which may hold spaces.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;

pub(super) fn write(out: &mut Exposition) {
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        let fields: Vec<u64> = stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .map(|field| field.trim().parse().unwrap_or_default())
            .collect();
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        if let (Some(user), Some(system)) = (fields.get(USER_TICKS), fields.get(SYSTEM_TICKS)) {
            out.counter("process_cpu_seconds_total", seconds(user + system));
        }
        if let (Some(start), Some(boot)) = (fields.get(START_TICKS), boot_time()) {
            out.gauge("process_start_time_seconds", boot as f64 + seconds(*start));
        }
    }
    if let Ok(statm) = fs::read_to_string("/proc/self/statm") {
        let mut pages = statm.split(' ').map(|pages| pages.parse::<u64>().unwrap_or_default());
        let mut bytes = || pages.next().unwrap_or_default() * page_size() as u64;
        out.gauge("process_virtual_memory_bytes", bytes());
        out.gauge("process_resident_memory_bytes", bytes());
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    out.gauge("process_max_fds", most);
    out.gauge("os_fd_limit", most);
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        let open = fds.count();
        out.gauge("process_open_fds", open);
        out.gauge("os_fd_used", open);
    }
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
