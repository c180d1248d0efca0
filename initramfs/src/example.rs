//! The example's container image, built from its program.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hull_oci_core::layout::{Contents, build};

/// Path and content of each file of the OCI layout.
pub(crate) fn layout(program: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let program = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let contents = Contents {
        name: "hello".to_owned(),
        files: vec![("hello".to_owned(), 0o755, program)],
        entrypoint: vec!["/hello".to_owned()],
        environment: Vec::new(),
        user: "1000:1000".to_owned(),
        ports: vec!["8080/tcp".to_owned()],
    };
    Ok(build(&contents)?)
}
