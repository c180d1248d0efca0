//! The sd_notify(3) protocol: what a service tells its supervisor.
