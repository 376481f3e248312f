//! Results word for word as an earlier version made them: a change of the order of things must not change a ciphertext.
//!
//! Inputs and keys are words of a generator: they decrypt to nothing, and every step takes them as any others.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, non_snake_case)]
// Weights are rounded from values that the sine of the platform takes part in.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use common::{Numbers, toy_params_INSECURE};
use he_ops::arith::{NttTable, Seed};
use he_ops::ckks::{
    BootstrapPreset, Bootstrapper, Ciphertext, Diagonals, Encoder, Evaluator, LinearTransform, MapPart,
    Pattern, SlotMap,
};
use he_ops::ring::{Eval, Poly};
use he_ops::rlwe::{EvaluationKeys, KeyPurpose, KeyUses, Params, SeededKeySwitchKey};
use std::sync::Arc;

/// Words below the primes.
fn words<'a>(tables: impl IntoIterator<Item = &'a NttTable>, n: usize, seed: u64) -> Poly<Eval> {
    let mut state = seed;
    let mut words = Vec::new();
    for table in tables {
        words.extend((0..n).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            table.modulus().reduce(state)
        }));
    }
    Poly::from_limbs(&words, n).unwrap()
}

fn ciphertext(params: &Params, level: usize, seed: u64) -> Ciphertext {
    let part = |k| words(params.q_tables(level).unwrap(), params.degree(), 2 * seed + k);
    Ciphertext::from_parts(
        params,
        vec![part(0), part(1)],
        level,
        params.scale(level).unwrap(),
    )
    .unwrap()
}

fn evaluator(
    params: &Params,
    uses: &KeyUses,
    keys: impl IntoIterator<Item = (KeyPurpose, usize)>,
) -> Evaluator {
    let key = |(k, (purpose, level)): (usize, (KeyPurpose, usize))| {
        let gadget = params.key_gadget(purpose, level).unwrap();
        let q = params.q_tables(level).unwrap();
        let tables = || q.iter().chain(params.p_tables(gadget.specials).unwrap());
        let body = |digit| words(tables(), params.degree(), (1000 * (k + 1) + digit) as u64);
        SeededKeySwitchKey {
            purpose,
            level,
            seed: Seed([k as u8; 16]),
            bodies: (0..gadget.digits()).map(body).collect(),
        }
    };
    let keys = keys.into_iter().enumerate().map(key);
    let keys = EvaluationKeys::from_seeded(params, uses, keys).unwrap();
    Evaluator::new(&Encoder::new(params), Arc::new(keys))
}

fn digest<'a>(results: impl IntoIterator<Item = &'a Ciphertext>) -> String {
    let mut hasher = blake3::Hasher::new();
    for result in results {
        hasher.update(&(result.level() as u64).to_le_bytes());
        hasher.update(&result.scale().to_bits().to_le_bytes());
        for word in result.parts().iter().flat_map(|part| part.words()) {
            hasher.update(&word.to_le_bytes());
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

fn map(numbers: &mut Numbers, n: usize, period: usize, offsets: &[&[i64]]) -> SlotMap {
    let mut part = |offsets: &&[i64]| -> MapPart {
        let pattern = |numbers: &mut Numbers| {
            let re = numbers.f32s(period, 1.0);
            Pattern::complex(re, numbers.f32s(period, 1.0)).unwrap()
        };
        offsets.iter().map(|&k| (k, pattern(numbers))).collect()
    };
    let parts = offsets.iter().map(&mut part).collect();
    SlotMap::new(n, parts).unwrap()
}

/// Keys of the level, of a higher one, with copies: columns modulo QP, columns that were divided, every kind of giant step.
#[test]
fn linear_maps_on_the_fly() {
    let params = toy_params_INSECURE(8, 6);
    let mut numbers = Numbers(1);
    let dense: Vec<i64> = (-15..16).collect();
    let sparse = [-30, 5, 17];
    let plain = [0, 4, -8];
    let groups = [
        vec![
            map(&mut numbers, 4, 16, &[&dense, &dense]),
            map(&mut numbers, 4, 2, &[&sparse, &[0, 1]]),
            map(&mut numbers, 4, 64, &[&[], &dense]),
        ],
        vec![map(&mut numbers, 4, 128, &[&plain, &sparse])],
        // Without baby steps: modulo Q alone until the first giant step.
        vec![
            map(&mut numbers, 4, 8, &[&plain, &[4]]),
            map(&mut numbers, 4, 8, &[&[0], &[0]]),
        ],
    ];
    // Level of the key of a rotation, and those at which it is used.
    type Levels = fn(i64) -> (usize, Vec<usize>);
    let levels: [Levels; 4] = [
        |_| (3, vec![3]),
        |_| (6, vec![6, 3]),
        |k| if k.abs() == 4 { (3, vec![3]) } else { (6, vec![6]) },
        |k| ((3 + k.unsigned_abs() as usize).min(6), vec![3]),
    ];
    let found: Vec<String> = levels
        .iter()
        .map(|levels| {
            let mut uses = KeyUses::new();
            let keys = [-4, 1, 2, 3, 4].map(|k| {
                let purpose = KeyPurpose::Galois(params.galois_element(k));
                let (level, used) = levels(k);
                uses.entry(purpose).or_default().extend(used);
                (purpose, level)
            });
            let evaluator = evaluator(&params, &uses, keys);
            let inputs = [1, 2].map(|seed| ciphertext(&params, 3, seed));
            let inputs: Vec<&Ciphertext> = inputs.iter().collect();
            let results = groups.iter().flat_map(|maps| {
                let maps: Vec<(&SlotMap, f64)> = maps.iter().map(|map| (map, 20f64.exp2())).collect();
                evaluator.linear_maps(&inputs, &maps).unwrap()
            });
            digest(&results.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        found,
        [
            "28fee1ad717124e7ce5942b7fb1678fd",
            "39749461a5b26869956ff6a161650ff5",
            "320e20b867bc07586df54181a299af5f",
            "53aeefc04f3882a60581be4f07689877"
        ]
    );
}

#[test]
fn weighted_sums() {
    let params = toy_params_INSECURE(8, 3);
    let evaluator = evaluator(&params, &KeyUses::new(), []);
    let mut numbers = Numbers(2);
    let weights: Vec<Pattern> = [1, 4, 16, 16, 4, 128]
        .map(|period| Pattern::complex(numbers.f32s(period, 1.0), numbers.f32s(period, 1.0)).unwrap())
        .into();
    let found = [3, 0].map(|level| {
        let inputs = [3, 4, 5].map(|seed| ciphertext(&params, level, seed));
        let inputs: Vec<&Ciphertext> = inputs.iter().collect();
        let [a, b, c, d, e, long] = [0, 1, 2, 3, 4, 5].map(|k| Some(&weights[k]));
        let (scale, none) = (20f64.exp2(), None);
        let short: [(&[_], f64); 5] = [
            (&[a, b, c], scale),
            (&[none, d, d], 2.0 * scale),
            (&[e, none, none], scale),
            (&[none, none, none], scale),
            (&[a, a, b], scale),
        ];
        let long: [(&[_], f64); 1] = [(&[long, a, b], scale)];
        let run = |rows| evaluator.weighted_sums(&inputs, rows).unwrap();
        digest(run(&short).iter().chain(&run(&long)))
    });
    assert_eq!(
        found,
        [
            "6b47906c1fbb371bbed62f199a61e93f",
            "245767af7fdd9e7b3ce68c2886cd377a"
        ]
    );
}

#[test]
fn prepared_maps() {
    let params = toy_params_INSECURE(8, 4);
    let found = [1, 8, 64, 128].map(|dim| {
        let map = Diagonals::block_matrix(dim, &Numbers(3).f32s(dim * dim, 1.0));
        let transform = LinearTransform::new(&Encoder::new(&params), &map, 3, 20f64.exp2()).unwrap();
        let evaluator = evaluator(&params, &KeyUses::new(), transform.keys().iter());
        digest([&transform.apply(&evaluator, &ciphertext(&params, 3, 6)).unwrap()])
    });
    assert_eq!(
        found,
        [
            "48d19c75c3351cf6f59becd721ae0471",
            "f40af943cb7cd31617ac97e3997934f3",
            "ff0115ed1add70e58dea9699596af274",
            "320be568bd62ca7d77d4f43a7193047a"
        ]
    );
}

#[test]
fn bootstraps() {
    let mut literal = BootstrapPreset::N16.params();
    literal.log_n = 9;
    literal.log_q.drain(6..18);
    let params = Params::new_INSECURE(&literal).unwrap();
    let found = [8, 7, 3].map(|log_slots| {
        let boot =
            Bootstrapper::new(&Encoder::new(&params), &BootstrapPreset::N16.bootstrap(log_slots)).unwrap();
        let evaluator = evaluator(&params, &boot.key_uses(), boot.keys().iter());
        let input = ciphertext(&params, boot.input_level(), 7);
        digest([&boot.bootstrap(&evaluator, &input).unwrap()])
    });
    assert_eq!(
        found,
        [
            "4f7c3b5932ce11b6fafe488d71461211",
            "9fc629e7c640729d8620784ae4de771f",
            "8dffa9a8535ecc638ae8a8df6f4c164f"
        ]
    );
}
