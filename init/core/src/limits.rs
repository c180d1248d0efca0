//! Bounds of PID 1's fixed tables, each with its unit and reason. PID 1 allocates nothing once the node is up, so all of them are fixed.

/// Services in the table, built-in ones included. Five are built in or shipped; the rest is room for the operator's own.
pub const MAX_SERVICES: usize = 16;

/// Bytes of a service's name: a cgroup's and a socket's file name, and it must fit into one column of a terminal.
pub const NAME_BYTES: usize = 32;

/// Bytes of one line that people read: a reason, a status, a remedy.
pub const LINE_BYTES: usize = 256;

/// Bytes of a path that crosses the control socket (PATH_MAX is 4096; nothing on a node is nested that deep).
pub const PATH_BYTES: usize = 512;

/// Bytes of one value on the kernel command line, except `hull.run`.
pub const VALUE_BYTES: usize = 192;

/// Bytes of all values of `hull.run` joined: the x86 command line itself ends at 2,048.
pub const RUN_BYTES: usize = 2048;

/// Bytes of an argument or environment entry as declared, before `${}` is expanded.
pub const ENTRY_BYTES: usize = 160;

/// Complaints about the command line that are kept; more are counted.
pub const MAX_COMPLAINTS: usize = 16;

/// Notes about the boot (a repaired table, a fall-back, a degraded state) that are kept; more are counted.
pub const MAX_NOTES: usize = 16;

/// Arguments of a service's command.
pub const MAX_ARGUMENTS: usize = 8;

/// Environment entries of a service.
pub const MAX_ENVIRONMENT: usize = 12;

/// Directories that are made for a service before its start.
pub const MAX_DIRECTORIES: usize = 8;

/// Sockets that are bound for a service.
pub const MAX_LISTEN: usize = 2;

/// Services that a service may wait for.
pub const MAX_AFTER: usize = 8;

/// Capabilities that a service may list; the kernel has 41, a service that needs more says `all`.
pub const MAX_CAPABILITIES: usize = 8;

/// Bytes of log kept for each service: about 300 lines, and five services stay below a quarter of PID 1's megabyte.
pub const LOG_BYTES: usize = 32 * 1024;

/// Bytes of one packet on the control socket: the largest answer is a piece of log.
pub const PACKET_BYTES: usize = 4096;

/// Bytes of log in one packet; leaves room for the rest of the packet.
pub const LOG_PIECE_BYTES: usize = 2048;

/// Bytes of one sd_notify datagram that are read. systemd sends and takes 4,096.
pub const NOTIFY_BYTES: usize = 4096;

/// Connections to the control socket at once; one more is closed at once, hullctl then says that PID 1 is busy.
pub const MAX_CONNECTIONS: usize = 8;

const _: () = assert!(LOG_PIECE_BYTES + 64 < PACKET_BYTES);
const _: () = assert!(MAX_SERVICES <= 32, "sets of services are u32 bit masks");

/// User that the store runs as, by the root image's /etc/passwd. What the state partition keeps back is for this user: containers, whatever
/// they write, leave it room (ext4(5), `resuid`).
pub const STORE_UID: u32 = 900;
