//! Shapes of known models, for plans from the configuration alone.

use crate::model::config::{
    Activation, Attention, Head, MODEL_TYPE, Mask, Norm, NormKind, Pool, Position, TransformerConfig,
};

/// The names that [`shape`] knows.
pub const NAMES: [&str; 5] = ["bert-tiny", "minilm-l6", "bert-base", "pythia-70m", "pythia-1.4b"];

/// The sizes that differ from shape to shape.
struct Sizes {
    n_layers: usize,
    dim: usize,
    n_heads: usize,
    hidden_dim: usize,
}

/// The configuration of a known shape at 128 tokens, with PowerSoftmax (p = 4) in the place of softmax and without a
/// fit; none for another name.
///
/// `bert-tiny` and `bert-base` classify by the first token, GELU and layer norm kept; `minilm-l6` embeds, with
/// quadratic activations; the `pythia` shapes are causal, have their norms before the blocks, and give logits over a
/// small vocabulary of 256.
pub fn shape(name: &str) -> Option<TransformerConfig> {
    let sizes = |n_layers, dim, n_heads| Sizes {
        n_layers,
        dim,
        n_heads,
        hidden_dim: 4 * dim,
    };
    let config = match name {
        "bert-tiny" => bert(sizes(2, 128, 2)),
        "minilm-l6" => {
            let mut config = bert(sizes(6, 384, 12));
            config.attention.score_scale = 0.25;
            config.activation = Activation::Quadratic;
            config.head = Head::Embedding;
            config.id2label.clear();
            config
        }
        "bert-base" => bert(sizes(12, 768, 12)),
        "pythia-70m" => pythia(sizes(6, 512, 8)),
        "pythia-1.4b" => pythia(sizes(24, 2048, 16)),
        _ => return None,
    };
    Some(config)
}

fn bert(sizes: Sizes) -> TransformerConfig {
    TransformerConfig {
        model_type: MODEL_TYPE.to_owned(),
        dim: sizes.dim,
        n_layers: sizes.n_layers,
        n_heads: sizes.n_heads,
        hidden_dim: sizes.hidden_dim,
        seq_len: 128,
        vocab_size: 30_522,
        id2label: [("0", "negative"), ("1", "positive")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        pad_token_id: 0,
        norm_position: Position::Post,
        attention: Attention {
            power: 4,
            epsilon: 0.01,
            score_scale: 1.0,
            mask: Mask::None,
            visible_mean: false,
        },
        norm: Norm {
            kind: NormKind::LayerNorm,
            epsilon: 1e-12,
        },
        activation: Activation::Gelu,
        head: Head::Classification {
            num_labels: 2,
            pool: Pool::Cls,
        },
        precision_bits: 12,
        margin: 1.5,
        fit: None,
    }
}

fn pythia(sizes: Sizes) -> TransformerConfig {
    let mut config = bert(sizes);
    config.vocab_size = 50_304;
    config.id2label.clear();
    config.norm_position = Position::Pre;
    config.attention.mask = Mask::Causal;
    config.attention.visible_mean = true;
    config.norm.epsilon = 1e-5;
    config.head = Head::NextToken { vocab: 256 };
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fit, TransformerWeights};

    #[test]
    fn every_shape_can_be_evaluated() {
        // parameters of the layers, the norm at the end and the head
        let expected = [396_806, 10_674_504, 85_056_146, 19_046_704, 1_209_127_552];
        for (name, expected) in NAMES.iter().zip(expected) {
            let mut config = shape(name).unwrap();
            config.check().unwrap();
            let weights = TransformerWeights::shape_only(&config);
            weights.check(&config).unwrap();
            assert!(!weights.has_values());
            assert_eq!(weights.parameters(), expected, "{name}");
            config.fit = Some(Fit::assumed(&config).unwrap());
            config.check().unwrap();
            let json = config.to_json().unwrap();
            assert_eq!(TransformerConfig::from_json(&json).unwrap(), config);
        }
        assert!(shape("gpt-5").is_none());
    }
}
