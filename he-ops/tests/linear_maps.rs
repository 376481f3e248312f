//! Linear maps of several ciphertexts against the same maps in clear.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, non_snake_case)]

mod common;

use common::{Numbers, toy_params_INSECURE};
use he_ops::Error;
use he_ops::ckks::{
    Ciphertext, Decryptor, Encoder, Encryptor, Evaluator, MapPart, Pattern, PrecisionStats, SlotMap,
};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, KeyPurpose, KeyUses, Params, ParamsLiteral, SecretKey};
use num_complex::Complex64;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A client whose keys have the levels, and the copies, that a test asks for.
struct Client {
    params: Params,
    encoder: Encoder,
    secret: SecretKey,
    evaluator: Evaluator,
}

/// Level of the key of a rotation, and the levels at which it is used.
type KeyLevels<'f> = &'f dyn Fn(i64) -> (usize, Vec<usize>);

impl Client {
    fn new(params: &Params, maps: &[SlotMap], levels: KeyLevels<'_>) -> Self {
        let mut rotations: Vec<i64> = maps.iter().flat_map(SlotMap::rotations).collect();
        rotations.sort_unstable();
        rotations.dedup();
        let secret = SecretKey::generate(params).unwrap();
        let generator = KeyGenerator::new(params, &secret).unwrap();
        let mut uses = KeyUses::new();
        let mut keys = Vec::new();
        for k in rotations {
            let purpose = KeyPurpose::Galois(params.galois_element(k));
            let (level, used) = levels(k);
            uses.entry(purpose).or_default().extend(used);
            keys.push(generator.key(purpose, level).unwrap());
        }
        let keys = EvaluationKeys::from_seeded(params, &uses, keys).unwrap();
        let encoder = Encoder::new(params);
        Client {
            params: params.clone(),
            secret,
            evaluator: Evaluator::new(&encoder, Arc::new(keys)),
            encoder,
        }
    }

    fn encrypt(&self, z: &[Complex64], level: usize) -> Ciphertext {
        let plain = self
            .encoder
            .encode(z, level, self.params.scale(level).unwrap())
            .unwrap();
        let encryptor = Encryptor::new(&self.params, &self.secret).unwrap();
        encryptor.encrypt(&plain).unwrap().expand(&self.params).unwrap()
    }

    fn decrypt(&self, ct: &Ciphertext) -> Vec<Complex64> {
        let decryptor = Decryptor::new(&self.params, &self.secret).unwrap();
        self.encoder.decode(&decryptor.decrypt(ct).unwrap()).unwrap()
    }

    /// Runs the maps on one and two threads and holds every result against the map in clear.
    fn check(&self, maps: &[SlotMap], level: usize, bits: f64) {
        let mut numbers = Numbers(11);
        let slots = self.params.slots();
        let inputs: Vec<Vec<Complex64>> = maps[0]
            .parts()
            .iter()
            .map(|_| numbers.complex(slots, 1.0))
            .collect();
        let encrypted: Vec<Ciphertext> = inputs.iter().map(|z| self.encrypt(z, level)).collect();
        let encrypted: Vec<&Ciphertext> = encrypted.iter().collect();
        let prime = self.params.moduli().nth(level).unwrap().value() as f64;
        let scaled: Vec<(&SlotMap, f64)> = maps.iter().map(|map| (map, prime)).collect();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| self.evaluator.linear_maps(&encrypted, &scaled).unwrap())
        };
        let outputs = on(1);
        assert_eq!(outputs, on(2), "the result depends on the number of threads");
        assert_eq!(outputs.len(), maps.len());
        let refs: Vec<&[Complex64]> = inputs.iter().map(Vec::as_slice).collect();
        for (map, output) in maps.iter().zip(&outputs) {
            assert_eq!(output.level(), level - 1);
            let stats = PrecisionStats::new(&map.apply(&refs), &self.decrypt(output));
            assert!(stats.min_bits > bits, "{stats}, {bits} bits needed");
        }
    }
}

/// Random diagonals of this period at the given offsets for every input.
fn map(numbers: &mut Numbers, n: usize, period: usize, offsets: &[&[i64]]) -> SlotMap {
    let count: usize = offsets.iter().map(|o| o.len()).sum();
    let size = 1.0 / (count as f64).sqrt();
    let part = |offsets: &&[i64]| -> MapPart {
        let pattern = |numbers: &mut Numbers| {
            let re = numbers.f32s(period, size);
            Pattern::complex(re, numbers.f32s(period, size)).unwrap()
        };
        offsets.iter().map(|&k| (k, pattern(numbers))).collect()
    };
    let parts = offsets.iter().map(part).collect();
    SlotMap::new(n, parts).unwrap()
}

fn masks(n: usize, period: usize, offsets: &[&[i64]]) -> SlotMap {
    let part = |(i, offsets): (usize, &&[i64])| -> MapPart {
        let mask = |k: i64| {
            let mut re = vec![0.0; period];
            re[(k + 3 * i as i64).rem_euclid(period as i64) as usize] = 1.0;
            Pattern::real(re).unwrap()
        };
        offsets.iter().map(|&k| (k, mask(k))).collect()
    };
    SlotMap::new(n, offsets.iter().enumerate().map(part).collect()).unwrap()
}

fn small_INSECURE() -> Params {
    toy_params_INSECURE(8, 6)
}

/// All keys of one level, used there.
fn at(level: usize) -> impl Fn(i64) -> (usize, Vec<usize>) {
    move |_| (level, vec![level])
}

#[test]
fn dense_blocks_of_several_inputs_and_outputs() {
    let mut numbers = Numbers(1);
    let dense: Vec<i64> = (-15..16).collect();
    for (inputs, outputs, level) in [(1, 1, 4), (2, 3, 4), (3, 5, 2), (1, 2, 1)] {
        let offsets = vec![&dense[..]; inputs];
        let maps: Vec<SlotMap> = (0..outputs).map(|_| map(&mut numbers, 4, 16, &offsets)).collect();
        Client::new(&small_INSECURE(), &maps, &at(level)).check(&maps, level, 15.0);
    }
}

#[test]
fn giant_steps_of_either_sign_gaps_and_periods_of_every_length() {
    let mut numbers = Numbers(2);
    for (n, period, offsets) in [
        (4, 8, vec![&[-9, 2, 40][..], &[-30, 5][..]]),
        (4, 1, vec![&[17, 18, 33][..]]),
        (2, 64, vec![&[-2, -1][..], &[-64, -40][..]]),
        (8, 128, vec![&[0, 1, 2, 3][..], &[][..]]),
        (1, 32, vec![&[0, 3, -3][..]]),
        // Rotations beyond the slots, by all slots, and one that needs no key.
        (128, 4, vec![&[0, 5, 128, 131, -128, -1][..]]),
    ] {
        let maps = [map(&mut numbers, n, period, &offsets)];
        Client::new(&small_INSECURE(), &maps, &at(3)).check(&maps, 3, 15.0);
    }
}

/// One-hot masks: without giant steps, without rotations, without baby steps.
#[test]
fn masks_of_many_inputs() {
    let babies: Vec<i64> = (0..8).collect();
    let giants: Vec<i64> = (-15..16).collect();
    for (n, offsets) in [
        (8, vec![&babies[..]; 8]),
        (1, vec![&[0][..]; 5]),
        (1, vec![&giants[..]; 16]),
    ] {
        let maps = [masks(n, 16, &offsets), masks(n, 8, &offsets)];
        Client::new(&small_INSECURE(), &maps, &at(5)).check(&maps, 5, 13.0);
    }
}

/// Two digits and more; several outputs that do not all fit the memory at once are another test's.
#[test]
fn several_digits() {
    let params = Params::new_INSECURE(&ParamsLiteral {
        log_n: 8,
        log_q: vec![47, 35, 35, 35, 35, 35],
        log_p: vec![48, 48],
        log_scale: 35,
    })
    .unwrap();
    let mut numbers = Numbers(3);
    let dense: Vec<i64> = (-15..16).collect();
    let maps: Vec<SlotMap> = (0..3)
        .map(|_| map(&mut numbers, 4, 16, &[&dense, &dense]))
        .collect();
    for (key_level, level) in [(5, 5), (5, 3), (5, 1), (2, 2)] {
        Client::new(&params, &maps, &at(key_level)).check(&maps, level, 14.0);
    }
}

/// Keys of higher levels, with and without copies, in every mixture: their special primes differ, nothing is refused.
#[test]
fn keys_of_any_level_and_gadget() {
    let params = small_INSECURE();
    let mut numbers = Numbers(4);
    let dense: Vec<i64> = (-15..16).collect();
    let maps: Vec<SlotMap> = (0..2)
        .map(|_| map(&mut numbers, 4, 16, &[&dense, &dense]))
        .collect();
    let high = |_: i64| (6, vec![6]);
    let copied = |_: i64| (6, vec![6, 2]);
    let babies_high = |k: i64| if k.abs() == 4 { (2, vec![2]) } else { (6, vec![6]) };
    let giants_high = |k: i64| if k.abs() == 4 { (6, vec![6]) } else { (2, vec![2]) };
    let one_giant_high = |k: i64| if k == 4 { (6, vec![6]) } else { (2, vec![2]) };
    let mixed = |k: i64| ((2 + k.unsigned_abs() as usize).min(6), vec![2]);
    let levels: [KeyLevels<'_>; 6] = [
        &high,
        &copied,
        &babies_high,
        &giants_high,
        &one_giant_high,
        &mixed,
    ];
    for levels in levels {
        Client::new(&params, &maps, levels).check(&maps, 2, 15.0);
    }
}

#[test]
fn real_parameters() {
    let params = Params::new(&ParamsLiteral {
        log_n: 14,
        log_q: vec![47, 35, 35, 35, 35],
        log_p: vec![48, 48, 48],
        log_scale: 35,
    })
    .unwrap();
    let mut numbers = Numbers(5);
    let dense: Vec<i64> = (-63..64).collect();
    let maps: Vec<SlotMap> = (0..2)
        .map(|_| map(&mut numbers, 16, 64, &[&dense, &dense]))
        .collect();
    let client = Client::new(&params, &maps, &|k| {
        if k < 0 { (4, vec![4]) } else { (3, vec![3]) }
    });
    client.check(&maps, 3, 14.0);
}

#[test]
fn mistakes_are_refused_by_name() {
    let params = small_INSECURE();
    let mut numbers = Numbers(6);
    let one = [map(&mut numbers, 4, 16, &[&[0, 1, 4, -4]])];
    let client = Client::new(&params, &one, &at(3));
    let z = vec![Complex64::new(0.5, 0.0); params.slots()];
    let (x, low) = (client.encrypt(&z, 3), client.encrypt(&z, 2));
    let run = |inputs: &[&Ciphertext], maps: &[&SlotMap]| {
        let maps: Vec<(&SlotMap, f64)> = maps.iter().map(|map| (*map, 35f64.exp2())).collect();
        client.evaluator.linear_maps(inputs, &maps)
    };
    assert_eq!(run(&[&x], &[]).unwrap(), vec![]);
    assert!(run(&[&x], &[&one[0]]).is_ok());
    let [two, wide, other] = [
        map(&mut numbers, 4, 16, &[&[0], &[1]]),
        map(&mut numbers, 8, 16, &[&[0, 8]]),
        map(&mut numbers, 4, 16, &[&[0, 3]]),
    ];
    let refused = |inputs: &[&Ciphertext], maps: &[&SlotMap]| run(inputs, maps).unwrap_err();
    assert!(matches!(
        refused(&[], &[&one[0]]),
        Error::Shape {
            needed: 1,
            found: 0,
            ..
        }
    ));
    assert!(matches!(
        refused(&[&x], &[&two]),
        Error::Shape {
            needed: 1,
            found: 2,
            ..
        }
    ));
    assert!(matches!(
        refused(&[&x], &[&one[0], &wide]),
        Error::Shape {
            needed: 4,
            found: 8,
            ..
        }
    ));
    assert!(matches!(
        refused(&[&x, &low], &[&two]),
        Error::Level {
            needed: 3,
            found: 2,
            ..
        }
    ));
    let scaled =
        Ciphertext::from_parts(&client.params, x.parts().to_vec(), x.level(), x.scale() * 2.0).unwrap();
    assert!(matches!(refused(&[&x, &scaled], &[&two]), Error::Scale { .. }));
    let three = client.evaluator.square(&x).unwrap();
    assert!(matches!(
        refused(&[&three], &[&one[0]]),
        Error::Parts {
            needed: 2,
            found: 3,
            ..
        }
    ));
    let bottom = client.encrypt(&z, 0);
    assert!(matches!(
        refused(&[&bottom], &[&one[0]]),
        Error::Level {
            needed: 1,
            found: 0,
            ..
        }
    ));
    let missing = refused(&[&x], &[&other]).to_string();
    assert!(missing.contains("rotation by 3"), "{missing}");
    let above = client.encrypt(&z, 5);
    let missing = refused(&[&above], &[&one[0]]).to_string();
    assert!(
        missing.contains("level 5") && missing.contains("level 3"),
        "{missing}"
    );
    let parts: BTreeMap<i64, Pattern> = [(0, Pattern::real(vec![1.0; 256]).unwrap())].into();
    let long = SlotMap::new(4, vec![parts]).unwrap();
    assert!(matches!(refused(&[&x], &[&long]), Error::Shape { .. }));
}
