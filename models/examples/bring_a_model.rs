//! A model from a folder, run encrypted in this process: the client's part, the server's part, and the answer in clear.
//!
//!     cargo run --release -p models --example bring_a_model -- models/sentiment "an utterly charming film"

use he_ops::ckks::{Decryptor, Encoder, Encryptor, Evaluator};
use he_ops::exec::{Ckks, run};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, SecretKey};
use he_ops::trace::Tracer;
use models::answer::label;
use models::{Bundle, Head, Manifest, ModelDir, lower::Target, model::Mode};
use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

/// What the model says of the text, and bits of the largest error of a logit.
pub fn ask(folder: &str, text: &str) -> Result<(String, f64), Box<dyn std::error::Error>> {
    // Server: reads the folder, compiles it for a 128-bit secure parameter set, and says what clients must know.
    let dir = ModelDir::open(folder)?;
    let compiled = dir.compile(&Target::default())?;
    let (plan, manifest) = (&compiled.plan, Manifest::new(&dir, &compiled)?);
    println!(
        "{}: {} levels, {} keys",
        dir.id(),
        plan.depth(),
        plan.keys().len()
    );

    // Client: checks the parameters itself, makes the keys, and embeds and packs the text.
    let (bundle, params) = (Bundle::open(&dir)?, manifest.checked_params()?);
    let (secret, encoder) = (SecretKey::generate(&params)?, Encoder::new(&params));
    let seeded = KeyGenerator::new(&params, &secret)?.evaluation_keys(&manifest.key_config(), |_, _| ())?;
    let embedded = bundle.embed(text)?;
    let slots = manifest.packing.pack(&embedded.x)?;
    let encryptor = Encryptor::new(&params, &secret)?;
    let mut request = BTreeMap::new();
    for port in &manifest.inputs {
        let values = slots.get(&port.name).ok_or("slots for every input")?;
        let plain = encoder.encode_repeated(values, port.level, params.scale(port.level)?)?;
        request.insert(port.name.clone(), encryptor.encrypt(&plain)?.expand(&params)?);
    }

    // Server: runs the plan on what it cannot read.
    let keys = EvaluationKeys::from_seeded(&plan.params, &plan.key_uses(), seeded)?;
    let server_encoder = Encoder::new(&plan.params);
    let evaluator = Evaluator::new(&server_encoder, Arc::new(keys));
    let mut backend = Ckks::with_bootstrapper(&evaluator, plan.bootstrapper(&server_encoder)?);
    let mut go_on = |_, _| ControlFlow::Continue(());
    let reply = run(plan, &mut backend, &request, &mut Tracer::new(), &mut go_on)?;

    // Client: decrypts and unpacks, and here compares with the model in clear.
    let decryptor = Decryptor::new(&params, &secret)?;
    let mut answer = BTreeMap::new();
    for (name, ciphertext) in &reply {
        answer.insert(name.clone(), encoder.decode(&decryptor.decrypt(ciphertext)?)?);
    }
    let found = manifest.packing.unpack(&answer)?;
    let expected = dir.model()?.forward(&embedded.x, Mode::Polynomial)?;
    let error = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    println!("logits {found:.4?}; in clear {expected:.4?}");
    if label(&found) != label(&expected) {
        return Err("encrypted and clear disagree on the label".into());
    }
    let Head::Classification { labels } = dir.head() else {
        return Err("a model with labels needed".into());
    };
    let name = labels.get(label(&found)).ok_or("a label for every logit")?;
    Ok((name.clone(), -error.log2()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(text)) = (args.next(), args.next()) else {
        return Err("usage: bring_a_model FOLDER TEXT".into());
    };
    let (label, bits) = ask(&folder, &text)?;
    println!("{label}; {bits:.1} bits");
    if bits < 7.0 {
        return Err("7 bits needed: the answer is wrong".into());
    }
    Ok(())
}
