//! The control socket's language: what hullctl may ask PID 1, and what it answers.
