//! Orderly shutdown as a state machine: reverse order, deadline, kill, unmount, sync.
