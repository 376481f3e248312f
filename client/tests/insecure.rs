//! What a build of the whole workspace does: cargo gives all its programs one `he-ops` with the features of all of them, so this
//! server is linked against the constructor of insecure parameters and against secret keys. Neither may open its door.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop")]

use client::{Api, Error, LocalServer, Reply, Session, download_bundle};
use he_ops::ckks::{Encoder, Encryptor};
use he_ops::rlwe::{KeyGenerator, KeyPurpose, Params, ParamsLiteral, SecretKey};
use he_ops::wire::{encode_key, encode_seeded_ciphertext};
use models::Manifest;
use num_complex::Complex64;
use server::Config;

const MODEL: &str = "sentiment";

/// A ring so small that the table does not have it.
fn literal() -> ParamsLiteral {
    ParamsLiteral {
        log_n: 9,
        log_q: vec![45, 35, 35],
        log_p: vec![45],
        log_scale: 35,
    }
}

#[test]
fn the_feature_adds_a_name_and_changes_no_check() {
    let insecure = Params::new_INSECURE(&literal()).unwrap();
    assert!(!insecure.is_secure() && !insecure.security().secure_128);
    let refused = Params::new(&literal()).unwrap_err();
    assert!(
        matches!(refused, he_ops::Error::Insecure { log_n: 9, .. }),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_requests_and_manifests_of_insecure_parameters_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::new(server::models_folder(None), data.path());
    config.only = Some(MODEL.into());
    let server = LocalServer::start(config).await.unwrap();
    let api = Api::new(server.url()).unwrap();
    let manifest = api.manifest(MODEL).await.unwrap();

    let params = Params::new_INSECURE(&literal()).unwrap();
    let secret = SecretKey::generate(&params).unwrap();
    let generator = KeyGenerator::new(&params, &secret).unwrap();
    let mut keys = Vec::new();
    for purpose in [KeyPurpose::Relin, KeyPurpose::Galois(params.galois_element(1))] {
        let key = generator.key(purpose, params.max_level()).unwrap();
        keys.extend(encode_key(&params, &key).unwrap());
    }
    let plaintext = Encoder::new(&params)
        .encode(&[Complex64::new(0.5, 0.0)], 2, params.scale(2).unwrap())
        .unwrap();
    let ciphertext = Encryptor::new(&params, &secret)
        .unwrap()
        .encrypt(&plaintext)
        .unwrap();
    let request = encode_seeded_ciphertext(&params, &ciphertext).unwrap();

    let conflict = |error: Error| match error {
        Error::Refused { status, problem } => {
            assert_eq!((status, problem.title.as_str()), (409, "Parameters differ"))
        }
        other => assert!(matches!(other, Error::Refused { .. }), "{other}"),
    };
    conflict(api.upload_keys(MODEL, keys, |_| {}).await.unwrap_err());

    // With the right keys there, a request under other parameters is refused before it is queued.
    let (bundle, _) = download_bundle(&api, &manifest).await.unwrap();
    let session = Session::generate(manifest.clone(), bundle).unwrap();
    let mut right = Vec::new();
    session.evaluation_keys(&mut right, |_, _| {}).unwrap();
    let key_id = api.upload_keys(MODEL, right, |_| {}).await.unwrap().key_id;
    let sent = api.infer(MODEL, &key_id, Reply::Logits, request, 1 << 20, |_| {});
    conflict(sent.await.unwrap_err());

    // A server that would have its clients use such parameters, with the digest that belongs to them.
    let mut bad = manifest;
    bad.params = literal();
    bad.params_digest = he_ops::wire::hex(&params.digest());
    bad.security.secure_128 = true;
    assert!(bad.checked_params().is_err());
    let error = Manifest::from_json(&serde_json::to_vec(&bad).unwrap()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("128"), "{error}");
    server.stop().await.unwrap();
}
