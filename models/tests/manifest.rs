//! The manifest of the shipped model: complete, public, and checked when it is read back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use models::lower::Target;
use models::{Error, Head, Manifest, ModelDir};

#[test]
fn a_client_can_do_everything_from_the_manifest() {
    let dir = ModelDir::open(concat!(env!("CARGO_MANIFEST_DIR"), "/sentiment")).unwrap();
    let compiled = dir.compile(&Target::default()).unwrap();
    let (plan, manifest) = (&compiled.plan, Manifest::new(&dir, &compiled).unwrap());
    let json = serde_json::to_string_pretty(&manifest).unwrap();
    let read = Manifest::from_json(json.as_bytes()).unwrap();
    assert_eq!(read, manifest);

    assert_eq!(read.checked_params().unwrap().digest(), plan.params.digest());
    assert_eq!(read.key_config(), plan.keys());
    let bytes: u64 = read.keys.iter().map(|key| key.bytes).sum();
    assert_eq!(bytes, plan.key_bytes().unwrap());
    assert_eq!(read.max_tokens(), dir.public().seq_len);
    assert!(matches!(&read.head, Head::Classification { labels } if labels.len() == 2));
    assert_eq!((read.inputs.len(), read.inputs[0].level), (1, plan.depth()));

    // the bundle that it lists is what the folder serves, and holds no weights
    let mut listed: Vec<_> = read.files.iter().map(|file| file.name.as_str()).collect();
    let mut public = dir.public().input.files().to_vec();
    listed.sort_unstable();
    public.sort_unstable();
    assert_eq!(listed, public);
    for file in &read.files {
        let bytes = dir.public_file(&file.name).unwrap();
        read.check_file(&file.name, &bytes).unwrap();
        assert!(read.check_file(&file.name, &bytes[1..]).is_err());
    }
    assert!(matches!(
        read.check_file("model.safetensors", b""),
        Err(Error::NotPublic { .. })
    ));
    for private in ["ranges", "epsilon", "safetensors\": {"] {
        assert!(!json.contains(private), "{private}");
    }

    let refused = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        Manifest::from_json(json.replacen(from, to, 1).as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert!(refused("\"version\": 4", "\"version\": 3").contains("version 3 found, 4 needed"));
    assert!(refused("\"log_n\": 15", "\"log_n\": 14").contains("parameters refused"));
    assert!(refused(&manifest.params_digest, &"0".repeat(64)).contains("digest"));
    assert!(refused(&format!("\"level\": {}", plan.depth()), "\"level\": 99").contains("level 99"));
    assert!(refused("\"code\": 0", "\"code\": 8").contains("code of no key"));
    assert!(refused("\"copies\": 8", "\"copies\": 4").contains("packing"));
    assert!(refused("\"name\": \"x\"", "\"name\": \"y\"").contains("x needed by the packing"));
    assert!(refused("\"negative\",", "").contains("no answer of the head"));
    assert!(refused("tokenizer.json", "../evil.json").contains("not part of the public bundle"));
    let second = &manifest.keys[1].code;
    let third = format!("\"code\": {}", manifest.keys[2].code);
    assert!(refused(&third, &format!("\"code\": {second}")).contains("two keys have the code"));
    assert!(Manifest::from_json(b"{}").is_err());
}
