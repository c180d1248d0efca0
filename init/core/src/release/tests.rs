//! A release is believed exactly when a trusted key signed exactly these bytes.

use semver::Version;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000);
const LATER: Timestamp = Timestamp(2_000_000_000);

fn key(seed: u8) -> ReleaseKey {
    ReleaseKey::from_seed(&[seed; 32])
}

fn trust() -> Trust {
    Trust::from_root(&sign_root(&[key(1)], 1, LATER).unwrap()).unwrap()
}

fn release(version: &str) -> Release {
    Release {
        version: version.parse().unwrap(),
        metadata_version: 7,
        expires: LATER,
        floor: Version::new(0, 0, 0),
        uki: Target::of(b"kernel"),
        root: Target::of(b"root"),
        verity: Verity { root_hash: Digest([0xab; 32]), salt: vec![1, 2], data_blocks: 3 },
    }
}

fn running(floor: &str) -> Manifest {
    let verity = release("1.0.0").verity;
    Manifest { version: Version::new(1, 0, 0), floor: floor.parse().unwrap(), root: verity }
}

#[test]
fn what_a_trusted_key_signed_is_read_back() {
    let bytes = sign_targets(&key(1), &release("1.2.3")).unwrap();
    assert_eq!(trust().release(&bytes).unwrap(), release("1.2.3"));
    assert_eq!(bytes, sign_targets(&key(1), &release("1.2.3")).unwrap(), "the same release has the same bytes");
}

#[test]
fn another_spelling_of_the_same_json_keeps_its_signature() {
    let bytes = sign_targets(&key(1), &release("1.2.3")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    assert_eq!(trust().release(&pretty).unwrap(), release("1.2.3"));
}

#[test]
fn a_stranger_s_signature_is_refused_by_name() {
    let bytes = sign_targets(&key(2), &release("1.2.3")).unwrap();
    let Err(Refused::UnknownSigner { signers, trusted, .. }) = trust().release(&bytes) else { panic!("accepted") };
    assert_eq!((signers, trusted), (vec![key(2).id()], vec![key(1).id()]));
}

#[test]
fn no_signature_is_refused() {
    let bytes = sign_targets(&key(1), &release("1.2.3")).unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    value["signatures"] = serde_json::json!([]);
    let refused = trust().release(value.to_string().as_bytes()).unwrap_err();
    assert!(matches!(refused, Refused::UnknownSigner { .. }), "{refused}");
    assert!(refused.to_string().contains("nobody"), "{refused}");
}

#[test]
fn every_changed_byte_of_the_metadata_is_refused() {
    let bytes = sign_targets(&key(1), &release("1.2.3")).unwrap();
    let trust = trust();
    for index in 0..bytes.len() - 1 {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        if let Ok(read) = trust.release(&changed) {
            assert_eq!(read, release("1.2.3"), "byte {index} changed the release and nobody noticed");
        }
    }
}

#[test]
fn a_changed_version_names_the_key_whose_signature_is_wrong() {
    let bytes = String::from_utf8(sign_targets(&key(1), &release("1.2.3")).unwrap()).unwrap();
    let changed = bytes.replace("1.2.3", "9.9.9");
    let expected = Refused::WrongSignature { document: Document::Targets, key: key(1).id() };
    assert_eq!(trust().release(changed.as_bytes()), Err(expected));
}

#[test]
fn one_key_under_two_names_counts_once() {
    let root = sign_root(&[key(1)], 1, LATER).unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&root).unwrap();
    let id = key(1).id();
    value["signed"]["keys"]["twin"] = value["signed"]["keys"][&id].clone();
    value["signed"]["roles"]["root"] = serde_json::json!({"keyids": [&id, "twin"], "threshold": 2});
    let signed = verify::canonical(Document::Root, &value["signed"]).unwrap();
    let sig = {
        use ed25519_dalek::Signer as _;
        hex::encode(ed25519_dalek::SigningKey::from_bytes(&[1; 32]).sign(&signed).to_bytes())
    };
    value["signatures"] = serde_json::json!([{"keyid": &id, "sig": &sig}, {"keyid": "twin", "sig": &sig}]);
    let refused = Trust::from_root(value.to_string().as_bytes()).unwrap_err();
    assert_eq!(refused, Refused::TooFewSignatures { document: Document::Root, good: 1, threshold: 2 });
}

#[test]
fn a_root_document_is_not_a_release_and_the_other_way_round() {
    let root = sign_root(&[key(1)], 1, LATER).unwrap();
    let targets = sign_targets(&key(1), &release("1.2.3")).unwrap();
    assert!(matches!(trust().release(&root), Err(Refused::WrongType { .. })));
    assert!(matches!(Trust::from_root(&targets), Err(Refused::WrongType { .. })));
}

#[test]
fn a_root_document_that_its_own_key_did_not_sign_is_refused() {
    let root = String::from_utf8(sign_root(&[key(1)], 1, LATER).unwrap()).unwrap();
    let changed = root.replace("\"threshold\":1", "\"threshold\":2");
    assert!(Trust::from_root(changed.as_bytes()).is_err());
}

#[test]
fn another_major_version_of_the_specification_is_refused() {
    let bytes = String::from_utf8(sign_targets(&key(1), &release("1.2.3")).unwrap()).unwrap();
    let changed = bytes.replace("\"spec_version\":\"1.", "\"spec_version\":\"2.");
    assert!(matches!(trust().release(changed.as_bytes()), Err(Refused::SpecVersion { .. })));
}

#[test]
fn versions_below_the_floor_and_expired_metadata_are_not_staged() {
    assert_eq!(release("1.0.0").may_be_staged(&running("1.0.0"), NOW), Ok(()));
    let refused = release("0.9.9").may_be_staged(&running("1.0.0"), NOW).unwrap_err();
    assert!(matches!(refused, Refused::OlderThanFloor { .. }));
    let refused = release("1.0.0").may_be_staged(&running("1.0.0"), LATER).unwrap_err();
    assert!(matches!(refused, Refused::Expired { .. }));
}

#[test]
fn a_file_with_other_bytes_or_another_length_is_named() {
    let signed = Target::of(b"root");
    assert_eq!(signed.check(ROOT, &Target::of(b"root")), Ok(()));
    assert!(matches!(signed.check(ROOT, &Target::of(b"r00t")), Err(Refused::Hash { target: "root.img", .. })));
    assert!(matches!(signed.check(ROOT, &Target::of(b"roots")), Err(Refused::Length { found: 5, .. })));
}

#[test]
fn huge_and_random_input_is_refused() {
    assert!(matches!(trust().release(&vec![b' '; METADATA_MAX_BYTES + 1]), Err(Refused::TooLarge { .. })));
    for bytes in [&b""[..], b"{}", b"[]", b"\xff\xfe", b"{\"signed\":{},\"signatures\":[]}"] {
        assert!(trust().release(bytes).is_err());
    }
}
