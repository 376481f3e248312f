//! Sets the range of the exact decision of a model: the largest distance of two logits on some inputs, widened.
//!
//!     cargo run --release -p models --bin decide -- FOLDER SPLIT [MARGIN]
//!
//! SPLIT are labelled inputs, best those of training or dev: `id, domain, label, text`. The polynomial model is evaluated on
//! them in clear, and compiled for the finest difference that is told apart. The range goes into `decision` of
//! `config.json`; a rule and `only` that stand there stay, without them it is the class with the largest logit.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use he_ops::decision::Rule;
use models::bundle::split;
use models::lower::Target;
use models::model::Mode;
use models::{Bundle, DecisionConfig, Error, Input, ModelDir, Result};

/// A larger distance wraps around and gives a wrong label: so much more than was seen has room.
const MARGIN: f64 = 1.25;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let margin = args.get(2).map_or(Ok(MARGIN), |margin| margin.parse());
    let (Some(folder), Some(split), Ok(margin), true) = (args.first(), args.get(1), margin, args.len() < 4)
    else {
        eprintln!(
            "usage: decide FOLDER SPLIT [MARGIN]\n\nMARGIN widens the range that was seen [default: {MARGIN}]"
        );
        return ExitCode::from(2);
    };
    match decide(Path::new(folder), &PathBuf::from(split), margin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn decide(folder: &Path, split: &Path, margin: f64) -> Result<()> {
    let mut dir = ModelDir::open(folder)?;
    let mut decision = dir.decision().unwrap_or(DecisionConfig {
        rule: Rule::ArgMax,
        range: 0.0,
        only: false,
    });
    decision.check(&dir.head())?;
    let (bundle, model, rows) = (Bundle::open(&dir)?, dir.model()?, split::read(split)?);
    let (mut seen, mut strange, mut leads) = (0.0_f64, 0, Vec::new());
    for row in &rows {
        let embedded = match dir.public().input {
            Input::Text => bundle.embed(&row.text)?,
            Input::Patches { .. } => bundle.embed_image(&row.pixels()?)?,
        };
        let answer = model.forward(&embedded.x, Mode::Polynomial)?;
        let head = dir.head();
        let logits = head.decided(dir.public().seq_len, &answer);
        leads.push(decision.lead(logits));
        let distance = decision.distance(logits);
        if distance.is_finite() {
            seen = seen.max(distance);
        } else {
            strange += 1;
        }
    }
    let wide = seen * margin;
    if !(wide.is_finite() && wide > 0.0) {
        return Err(Error::Config {
            field: "decision",
            needed: "inputs with different logits, and a margin above 0".to_owned(),
            found: format!(
                "a largest distance of {seen} on {} inputs, times {margin}",
                rows.len()
            ),
        });
    }
    // Three digits are enough for a number with such a margin.
    let unit = 10f64.powi(wide.log10().floor() as i32 - 2);
    decision.range = (wide / unit).ceil() * unit;
    let compiled = dir.compile(&Target::default())?;
    let resolution = (decision.decision(&compiled.packing)?).resolution(&compiled.plan.params)?;
    dir.set_decision(decision)?;
    println!(
        "{} inputs, {strange} of them without finite logits; largest distance {seen:.3}; range {}",
        rows.len(),
        decision.range
    );
    let near = leads.iter().filter(|lead| **lead <= resolution).count();
    println!(
        "told apart from {resolution:.2} of a logit on: {near} inputs are nearer and may get another label"
    );
    Ok(())
}
