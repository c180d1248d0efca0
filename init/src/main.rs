//! PID 1, and the child modes that it runs of itself: `/init net`, `/init stage`, ...
mod child;
mod disk;
mod sys;

fn main() {}
