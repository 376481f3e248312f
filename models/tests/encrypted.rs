//! The shipped model on real ciphertexts at the parameters of the service: the whole way, without the network.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use he_ops::ckks::{Decryptor, Encoder, Encryptor, Evaluator};
use he_ops::exec::{Ckks, run};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, SecretKey};
use he_ops::trace::Tracer;
use models::answer::label;
use models::lower::Target;
use models::model::Mode;
use models::packing::staircase::{INPUT, OUTPUT};
use models::{Bundle, Manifest, ModelDir};

#[test]
fn encrypted_logits_are_those_of_the_reference() {
    let dir = ModelDir::open(concat!(env!("CARGO_MANIFEST_DIR"), "/sentiment")).unwrap();
    let (bundle, model) = (Bundle::open(&dir).unwrap(), dir.model().unwrap());
    let compiled = dir.compile(&Target::default()).unwrap();
    let (plan, manifest) = (&compiled.plan, Manifest::new(&dir, &compiled).unwrap());

    // the client has the manifest and nothing else
    let params = manifest.checked_params().unwrap();
    let secret = SecretKey::generate(&params).unwrap();
    let generator = KeyGenerator::new(&params, &secret).unwrap();
    let keys = generator
        .evaluation_keys(&manifest.key_config(), |_, _| ())
        .unwrap();
    let (encryptor, decryptor) = (
        Encryptor::new(&params, &secret).unwrap(),
        Decryptor::new(&params, &secret).unwrap(),
    );
    let encoder = Encoder::new(&params);

    // the server has the plan and the keys
    let evaluator = Evaluator::new(
        &encoder,
        Arc::new(EvaluationKeys::from_seeded(&plan.params, &plan.key_uses(), keys).unwrap()),
    );
    for text in ["an utterly charming film", "Not bad at all, actually quite good!"] {
        let x = bundle.embed(text).unwrap().x;
        let (level, slots) = (manifest.inputs[0].level, manifest.packing.pack(&x).unwrap());
        let plaintext = encoder
            .encode(&slots[INPUT], level, params.scale(level).unwrap())
            .unwrap();
        let request = encryptor.encrypt(&plaintext).unwrap().expand(&params).unwrap();

        let inputs = BTreeMap::from([(INPUT.to_owned(), request)]);
        let mut progress = |_, _| ControlFlow::Continue(());
        let reply = run(
            plan,
            &mut Ckks::new(&evaluator),
            &inputs,
            &mut Tracer::new(),
            &mut progress,
        )
        .unwrap();

        let answer = encoder
            .decode(&decryptor.decrypt(&reply[OUTPUT]).unwrap())
            .unwrap();
        let found = manifest
            .packing
            .unpack(&BTreeMap::from([(OUTPUT.to_owned(), answer)]))
            .unwrap();
        let expected = model.forward(&x, Mode::Polynomial).unwrap();
        let error = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        println!("{text:?}: largest logit error 2^{:.2}", error.log2());
        assert!(error < 2f64.powi(-7), "{found:?}, {expected:?} expected");
        assert_eq!(label(&found), label(&expected));
    }
}
