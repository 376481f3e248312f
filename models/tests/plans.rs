//! Plans of the known shapes as golden text: parameters, counts, keys, and the work of each layer.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test -p models --test plans`, and read the difference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use models::lower::{Target, plan_shape};
use models::model::shapes::shape;

/// The overview, with layers that are like the one before them in one line.
fn overview(name: &str) -> String {
    let config = shape(name).unwrap();
    let compiled = plan_shape(name, &config, &Target::default()).unwrap();
    let text = compiled.plan.overview().to_string();
    let (head, table) = text.split_once("\n\n").unwrap();
    // Rows of one layer, and what is compared of them: the words, without the number of the layer.
    let mut layers: Vec<(Option<&str>, Vec<&str>, Vec<&str>)> = Vec::new();
    for row in table.lines() {
        let numbered = row.strip_prefix("layer").and_then(|row| row.split_once('.'));
        let (number, words) = numbered.map_or((None, row), |(number, words)| (Some(number), words));
        if layers.last().is_none_or(|(last, ..)| *last != number) {
            layers.push((number, vec![], vec![]));
        }
        let (_, rows, all_words) = layers.last_mut().unwrap();
        rows.push(row);
        all_words.extend(words.split_whitespace());
    }
    let mut out = format!("{head}\n\n");
    let mut last: Option<(&[&str], &str)> = None;
    for (number, rows, words) in &layers {
        match (number, last) {
            (Some(number), Some((before, first))) if before == words => {
                out.push_str(&format!("layer{number}: as layer{first}\n"));
            }
            _ => {
                rows.iter().for_each(|row| out.push_str(&format!("{row}\n")));
                last = number.map(|number| (words.as_slice(), number));
            }
        }
    }
    out
}

macro_rules! golden {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                insta::assert_snapshot!(stringify!($test), overview($name));
            }
        )*
    };
}

golden! {
    bert_tiny "bert-tiny"
    minilm_l6 "minilm-l6"
    bert_base "bert-base"
    pythia_70m "pythia-70m"
    pythia_1_4b "pythia-1.4b"
}
