//! The shipped model on real ciphertexts at the parameters of the service: the whole way, without the network. The example is
//! that way, so it is run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/bring_a_model.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod bring_a_model;

#[test]
fn encrypted_logits_are_those_of_the_reference() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sentiment");
    // The second is a mistake of the model, in clear as under encryption.
    for (text, expected) in [
        ("an utterly charming film", "positive"),
        ("Not bad at all, actually quite good!", "negative"),
    ] {
        let (label, bits) = bring_a_model::ask(folder, text).unwrap();
        println!("{text:?}: {label}, {bits:.2} bits");
        assert_eq!(label, expected);
        assert!(bits > 7.0, "{bits}");
    }
}
