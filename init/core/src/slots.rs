//! Which slot to boot: one pure decision over slot states, command line and what runs.
