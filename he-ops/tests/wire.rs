//! The wire format held to its golden bytes, and against malformed frames.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

use he_ops::arith::sample::Seed;
use he_ops::ckks::{Ciphertext, SeededCiphertext};
use he_ops::ring::{Eval, Poly};
use he_ops::rlwe::{KeyPurpose, Params, ParamsLiteral, PublicKey, SeededKeySwitchKey};
use he_ops::wire::{
    Frame, HEADER_LEN, Header, Kind, VERSION, WireError, ciphertext_frame_limit, decode_ciphertext,
    decode_key, decode_public_key, decode_report, decode_seeded_ciphertext, encode_ciphertext, encode_key,
    encode_public_key, encode_report, encode_seeded_ciphertext, expect_level_and_scale, hex, key_frame_limit,
    read_frame, write_frame,
};
use proptest::prelude::*;
use std::path::PathBuf;

fn params() -> Params {
    let literal = ParamsLiteral {
        log_n: 5,
        log_q: vec![30, 25, 25],
        log_p: vec![30, 30],
        log_scale: 25,
    };
    Params::new_INSECURE(&literal).unwrap()
}

/// Residues that depend on nothing but their place.
fn poly<'a>(
    params: &Params,
    primes: impl IntoIterator<Item = &'a he_ops::arith::Modulus>,
    salt: u64,
) -> Poly<Eval> {
    let words: Vec<u64> = primes
        .into_iter()
        .enumerate()
        .flat_map(|(limb, q)| {
            let q = q.value();
            (0..params.degree() as u64).map(move |i| {
                (i + 1)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .wrapping_add(salt + limb as u64)
                    % q
            })
        })
        .collect();
    Poly::from_limbs(&words, params.degree()).unwrap()
}

fn q_poly(params: &Params, level: usize, salt: u64) -> Poly<Eval> {
    poly(params, params.moduli().take(level + 1), salt)
}

fn ciphertext(params: &Params) -> Ciphertext {
    let parts = vec![q_poly(params, 1, 1), q_poly(params, 1, 2)];
    Ciphertext::from_parts(params, parts, 1, 33_554_432.5).unwrap()
}

fn seed() -> Seed {
    serde_json::from_str("[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]").unwrap()
}

fn seeded(params: &Params) -> SeededCiphertext {
    SeededCiphertext::from_parts(params, seed(), q_poly(params, 2, 3), 2, 33_554_432.0).unwrap()
}

fn key(params: &Params, purpose: KeyPurpose) -> SeededKeySwitchKey {
    let level = 2;
    let gadget = params.gadget(level).unwrap();
    let primes = || {
        params
            .moduli()
            .take(level + 1)
            .chain(params.special_moduli().take(gadget.specials))
    };
    let bodies = (0..gadget.digits() as u64)
        .map(|d| poly(params, primes(), 10 + d))
        .collect();
    SeededKeySwitchKey {
        purpose,
        level,
        seed: seed(),
        bodies,
    }
}

fn public_key(params: &Params) -> PublicKey {
    PublicKey {
        seed: seed(),
        body: q_poly(params, 2, 4),
    }
}

/// Every kind of frame with the function that reads it, as a check that gives only the error.
type Read = fn(&Params, &[u8], u64) -> Result<(), WireError>;

fn frames(params: &Params) -> Vec<(&'static str, Vec<u8>, Read)> {
    let galois = KeyPurpose::Galois(params.galois_element(3));
    vec![
        (
            "ciphertext",
            encode_ciphertext(params, &ciphertext(params)).unwrap(),
            |p, b, l| decode_ciphertext(p, b, l).map(drop),
        ),
        (
            "seeded-ciphertext",
            encode_seeded_ciphertext(params, &seeded(params)).unwrap(),
            |p, b, l| decode_seeded_ciphertext(p, b, l).map(drop),
        ),
        (
            "relin-key",
            encode_key(params, &key(params, KeyPurpose::Relin)).unwrap(),
            |p, b, l| decode_key(p, b, l).map(drop),
        ),
        (
            "galois-key",
            encode_key(params, &key(params, galois)).unwrap(),
            |p, b, l| decode_key(p, b, l).map(drop),
        ),
        (
            "public-key",
            encode_public_key(params, &public_key(params)).unwrap(),
            |p, b, l| decode_public_key(p, b, l).map(drop),
        ),
        (
            "report",
            encode_report(
                params.digest(),
                &serde_json::json!({"model": "toy", "evaluate_us": 1.5}),
            )
            .unwrap(),
            |_, b, l| decode_report::<serde_json::Value>(&Frame::parse(b, l)?).map(drop),
        ),
    ]
}

/// The golden file of a frame, as this format version or an older one writes it.
fn golden(version: u16, name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    folder.join(format!("v{version}/{name}.hex"))
}

/// Set `UPDATE_GOLDEN=1` to write the files; only together with a new format version.
#[test]
fn bytes_are_golden() {
    for (name, bytes, _) in frames(&params()) {
        let path = golden(VERSION, name);
        let text: String = hex(&bytes)
            .as_bytes()
            .chunks(96)
            .flat_map(|c| [c, b"\n"].concat())
            .map(char::from)
            .collect();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            text,
            "{name}: the bytes changed; that is a new format version"
        );
    }
}

/// Frames that release 0.1 wrote are refused by name, although their payloads are those of today.
#[test]
fn frames_of_the_first_release_are_refused_by_name() {
    let params = params();
    for (name, bytes, read) in frames(&params) {
        let text = std::fs::read_to_string(golden(1, name)).unwrap();
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'\n').collect();
        let (pairs, _) = digits.as_chunks::<2>();
        let old: Vec<u8> = pairs
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        assert_eq!(old[HEADER_LEN..], bytes[HEADER_LEN..], "{name}");
        let error = read(&params, &old, 1 << 16).unwrap_err();
        assert_eq!(error, WireError::Version { needed: 2, found: 1 }, "{name}");
        assert!(error.to_string().contains("release 0.1"), "{error}");
        assert_eq!(
            read_frame(&mut &old[..], 1 << 16),
            Err(WireError::Version { needed: 2, found: 1 })
        );
    }
}

/// Scripts and other clients tell frames apart by these bytes.
#[test]
fn the_tags_of_the_frames_are_golden() {
    let tags: Vec<(u8, String, bool)> = (0..=u8::MAX)
        .filter_map(|tag| {
            let mut bytes = write_frame(Kind::Report, [0; 32], b"");
            bytes[6] = tag;
            let kind = Header::parse(&bytes).ok()?.kind;
            assert_eq!(write_frame(kind, [0; 32], b"")[..8], bytes[..8]);
            Some((tag, kind.to_string(), kind.is_safe_to_send()))
        })
        .collect();
    let golden = [
        (1, "ciphertext", true),
        (2, "seeded ciphertext", true),
        (3, "key-switch key", true),
        (4, "public key", true),
        (5, "SECRET key", false),
        (6, "latency report", true),
        (7, "key of the exact decision", true),
        (8, "SECRET key of the exact decision", false),
        (9, "encrypted label", true),
    ];
    assert_eq!(tags, golden.map(|(tag, name, safe)| (tag, name.to_owned(), safe)));
    assert_eq!(
        &write_frame(Kind::Report, [0; 32], b"")[..8],
        b"HEIS\x02\x00\x06\x00"
    );
}

#[test]
fn values_go_round() {
    let params = params();
    let limit = 1 << 16;
    let a = ciphertext(&params);
    assert_eq!(
        decode_ciphertext(&params, &encode_ciphertext(&params, &a).unwrap(), limit).unwrap(),
        a
    );
    let b = seeded(&params);
    assert_eq!(
        decode_seeded_ciphertext(&params, &encode_seeded_ciphertext(&params, &b).unwrap(), limit).unwrap(),
        b
    );
    for purpose in [
        KeyPurpose::Relin,
        KeyPurpose::Galois(params.galois_element_conjugate()),
    ] {
        let c = key(&params, purpose);
        assert_eq!(
            decode_key(&params, &encode_key(&params, &c).unwrap(), limit).unwrap(),
            c
        );
    }
    let d = public_key(&params);
    assert_eq!(
        decode_public_key(&params, &encode_public_key(&params, &d).unwrap(), limit).unwrap(),
        d
    );
}

#[test]
fn limits_are_tight() {
    let params = params();
    let full = encode_ciphertext(&params, &ciphertext(&params)).unwrap().len() as u64;
    let limit = ciphertext_frame_limit(&params, 1, 2).unwrap();
    assert!(full <= limit && limit <= full + 32, "{full} {limit}");
    let half = encode_seeded_ciphertext(&params, &seeded(&params)).unwrap().len() as u64;
    let limit = ciphertext_frame_limit(&params, 2, 1).unwrap();
    assert!(half <= limit && limit <= half + 32, "{half} {limit}");
    let one = encode_key(&params, &key(&params, KeyPurpose::Relin))
        .unwrap()
        .len() as u64;
    let limit = key_frame_limit(&params, KeyPurpose::Relin, 2).unwrap();
    assert!(one <= limit && limit <= one + 32, "{one} {limit}");
}

#[test]
fn every_cut_and_every_damaged_byte_is_refused() {
    let params = params();
    for (name, bytes, read) in frames(&params) {
        assert_eq!(read(&params, &bytes, bytes.len() as u64), Ok(()), "{name}");
        assert!(
            matches!(
                read(&params, &bytes, bytes.len() as u64 - 1),
                Err(WireError::TooLarge { .. })
            ),
            "{name}"
        );
        for cut in 0..bytes.len() {
            assert!(
                read(&params, &bytes[..cut], 1 << 16).is_err(),
                "{name} cut to {cut}"
            );
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert!(
                read(&params, &damaged, 1 << 16).is_err(),
                "{name} damaged at {at}"
            );
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(
            matches!(
                read(&params, &longer, 1 << 16),
                Err(WireError::Trailing { extra: 1, .. })
            ),
            "{name}"
        );
    }
}

/// A frame whose payload was changed by somebody who can compute the digest.
fn forge(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let header = Header::parse(bytes).unwrap();
    let mut payload = bytes[HEADER_LEN..].to_vec();
    change(&mut payload);
    write_frame(header.kind, header.params_digest, &payload)
}

#[test]
fn the_corpus_of_malformed_frames_is_refused_by_name() {
    let params = params();
    let q0 = params.moduli().next().unwrap().value();
    let full = encode_ciphertext(&params, &ciphertext(&params)).unwrap();
    let half = encode_seeded_ciphertext(&params, &seeded(&params)).unwrap();
    let key = encode_key(&params, &key(&params, KeyPurpose::Relin)).unwrap();
    let refused = |bytes: &[u8]| match Header::parse(bytes).unwrap().kind {
        Kind::Ciphertext => decode_ciphertext(&params, bytes, 1 << 16).unwrap_err(),
        Kind::SeededCiphertext => decode_seeded_ciphertext(&params, bytes, 1 << 16).unwrap_err(),
        _ => decode_key(&params, bytes, 1 << 16).unwrap_err(),
    };
    let put =
        |at: usize, with: &'static [u8]| move |p: &mut Vec<u8>| p[at..at + with.len()].copy_from_slice(with);

    // payload of a ciphertext: level u32, scale f64, parts u32, length u64, body; seeded: a 16-byte seed for parts
    let field = |bytes: &[u8], name: &str| match refused(bytes) {
        WireError::Field { what, .. } => assert_eq!(what, name),
        other => panic!("{name}: {other:?}"),
    };
    field(&forge(&full, put(0, &[3, 0, 0, 0])), "level");
    field(&forge(&full, put(0, &[0xff; 4])), "level");
    field(&forge(&full, put(0, &[0, 0, 0, 0])), "packed residues");
    for scale in [f64::NAN, f64::INFINITY, -1.0, 0.0, 0.5, 1e300] {
        field(
            &forge(&full, |p| p[4..12].copy_from_slice(&scale.to_le_bytes())),
            "scale",
        );
    }
    field(&forge(&full, put(12, &[0, 0, 0, 0])), "parts of a ciphertext");
    field(&forge(&full, put(12, &[1, 0, 0, 0])), "parts of a ciphertext");
    field(&forge(&full, put(12, &[4, 0, 0, 0])), "parts of a ciphertext");
    field(&forge(&full, put(12, &[0xff; 4])), "parts of a ciphertext");
    field(&forge(&full, put(12, &[3, 0, 0, 0])), "packed residues");
    assert!(matches!(
        refused(&forge(&full, put(16, &[0xff; 8]))),
        WireError::Codec { .. }
    ));
    assert!(matches!(
        refused(&forge(&full, |p| p.truncate(20))),
        WireError::Codec { .. }
    ));
    assert!(matches!(
        refused(&forge(&full, Vec::clear)),
        WireError::Codec { .. }
    ));
    assert!(matches!(
        refused(&forge(&full, |p| p.push(0))),
        WireError::Codec { .. }
    ));
    // the first residue becomes 2^30 - 1, which is above the 30-bit prime
    let high = forge(&full, |p| p[24..28].copy_from_slice(&[0xff; 4]));
    match refused(&high) {
        WireError::Residue {
            limb: 0,
            index: 0,
            prime,
            found,
        } => assert_eq!((prime, found), (q0, (1 << 30) - 1)),
        other => panic!("{other:?}"),
    }
    field(&forge(&half, put(0, &[1, 0, 0, 0])), "packed residues");
    // payload of a key: element u64, level u32, digits u32, seed, length u64, body
    field(&forge(&key, put(0, &[2, 0])), "purpose of a key-switch key");
    field(&forge(&key, put(0, &[0xff; 8])), "purpose of a key-switch key");
    field(&forge(&key, put(8, &[9, 0, 0, 0])), "level");
    field(&forge(&key, put(12, &[0, 0, 0, 0])), "digits of a key-switch key");
    field(&forge(&key, put(12, &[0xff; 4])), "digits of a key-switch key");

    // the wrong sort, other parameters, another version
    assert!(matches!(
        decode_key(&params, &full, 1 << 16),
        Err(WireError::Kind {
            found: Kind::Ciphertext,
            ..
        })
    ));
    let other = write_frame(Kind::Ciphertext, [1; 32], &full[HEADER_LEN..]);
    assert!(matches!(refused(&other), WireError::ParamsDigest { .. }));
    let mut newer = full.clone();
    newer[4] = 3;
    let error = Header::parse(&newer).unwrap_err();
    assert_eq!(error, WireError::Version { needed: 2, found: 3 });
    assert!(error.to_string().contains("a later release"), "{error}");
    newer[0] = b'P';
    assert!(matches!(Header::parse(&newer), Err(WireError::Magic { .. })));
    assert!(matches!(
        Header::parse(b"HEIS"),
        Err(WireError::Truncated {
            needed: 80,
            found: 4,
            ..
        })
    ));
}

#[test]
fn level_and_scale_are_held_against_the_plan() {
    let s = 34_359_738_368.0;
    assert_eq!(
        expect_level_and_scale("request", (3, s * (1.0 + 1e-7)), (3, s)),
        Ok(())
    );
    assert!(matches!(
        expect_level_and_scale("request", (2, s), (3, s)),
        Err(WireError::Level {
            needed: 3,
            found: 2,
            ..
        })
    ));
    for wrong in [s * 1.001, s * 0.999, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            expect_level_and_scale("request", (3, wrong), (3, s)),
            Err(WireError::Scale { .. })
        ));
    }
}

proptest! {
    /// Bytes at random, bare or behind a valid header: refused or read, never a panic.
    #[test]
    fn garbage_never_panics(noise in prop::collection::vec(any::<u8>(), 0..600), kind in 0usize..6) {
        let params = params();
        for (i, (_, frame, read)) in frames(&params).into_iter().enumerate() {
            let _ = read(&params, &noise, 1 << 16);
            let _ = read_frame(&mut &noise[..], 1 << 16);
            if i == kind {
                let _ = read(&params, &forge(&frame, |p| *p = noise.clone()), 1 << 16);
                let at = noise.len().min(frame.len() - HEADER_LEN);
                let _ = read(&params, &forge(&frame, |p| p[..at].copy_from_slice(&noise[..at])), 1 << 16);
            }
        }
    }
}

#[cfg(feature = "secret")]
#[test]
fn a_secret_key_goes_round_and_is_marked() {
    use he_ops::rlwe::SecretKey;
    use he_ops::wire::{decode_secret_key, encode_secret_key};
    let params = params();
    let secret = SecretKey::generate(&params).unwrap();
    let bytes = encode_secret_key(&params, &secret);
    assert!(!Header::parse(&bytes).unwrap().kind.is_safe_to_send());
    let back = decode_secret_key(&params, &bytes).unwrap();
    assert_eq!(*back.to_bytes(), *secret.to_bytes());
    let forged = forge(&bytes, |p| p[0] = 0xff);
    assert!(decode_secret_key(&params, &forged).is_err());
    assert!(matches!(
        decode_ciphertext(&params, &bytes, 1 << 16),
        Err(WireError::Kind {
            found: Kind::SecretKey,
            ..
        })
    ));
}
