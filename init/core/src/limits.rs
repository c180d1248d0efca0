//! Bounds of PID 1's fixed tables, each with its unit and reason.
