//! The verdict on a trial boot: good, failed with a reason, or undecided until the deadline.
