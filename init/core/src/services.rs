//! What a service is: compiled at build time, read by PID 1 without a parser.
