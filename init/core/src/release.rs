//! Signed release metadata: TUF targets, keys, thresholds, refusals.
