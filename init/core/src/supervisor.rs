//! Supervision as a pure step function: start order, restarts with back-off, watchdogs, stop.
