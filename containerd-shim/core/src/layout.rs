//! Builds a small OCI image layout in memory, the same bytes each time: the example's image is made with it.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use serde_json::json;

use crate::image::Digest;

/// What goes into the image.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Name under which the image refers to itself.
    pub name: String,
    /// Path without a leading slash, permission bits, content; owned by root of the container.
    pub files: Vec<(String, u32, Vec<u8>)>,
    /// Program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// `KEY=VALUE`.
    pub environment: Vec<String>,
    /// `uid:gid`.
    pub user: String,
    /// Ports that its server listens on, `8080/tcp`.
    pub ports: Vec<String>,
}

/// Builds the layout: path and content of each file.
///
/// # Errors
/// A path that tar cannot hold.
pub fn build(contents: &Contents) -> io::Result<Vec<(String, Vec<u8>)>> {
    let layer_tar = layer(&contents.files)?;
    let diff_id = Digest::of(&layer_tar);
    // No time and no file name in the header, so that the same layer packs to the same bytes.
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(&layer_tar)?;
    let layer = gzip.finish()?;
    let ports: serde_json::Map<_, _> = contents.ports.iter().map(|port| (port.clone(), json!({}))).collect();
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": contents.entrypoint,
            "Env": contents.environment,
            "ExposedPorts": ports,
            "User": contents.user,
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] },
    }))?;
    let descriptor = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
    }))?;
    let mut reference = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    reference["annotations"] = json!({ "org.opencontainers.image.ref.name": contents.name });
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [reference],
    }))?;
    let mut files = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index),
    ];
    for blob in [layer, config, manifest] {
        files.push((Digest::of(&blob).path(), blob));
    }
    Ok(files)
}

/// One layer: owner 0, time 0, in the order given.
fn layer(files: &[(String, u32, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    for (path, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        archive.append_data(&mut header, path, content.as_slice())?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_contents_give_the_same_bytes() {
        let contents = Contents { files: vec![("bin/a".into(), 0o755, vec![1, 2, 3])], ..Contents::default() };
        assert_eq!(build(&contents).unwrap(), build(&contents).unwrap());
    }

    #[test]
    fn every_blob_lies_under_its_digest() {
        let contents = Contents { files: vec![("a".into(), 0o644, vec![9; 5000])], ..Contents::default() };
        let blobs = build(&contents).unwrap();
        let blobs: Vec<_> = blobs.iter().filter(|(path, _)| path.starts_with("blobs/")).collect();
        assert_eq!(blobs.len(), 3);
        assert!(blobs.iter().all(|(path, bytes)| *path == Digest::of(bytes).path()));
    }
}
