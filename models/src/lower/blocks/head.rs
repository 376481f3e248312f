//! The answer.

use he_ops::circuits::packed_operands;
use he_ops::ckks::Pattern;

use super::{Lowering, Stream, identity};
use crate::error::{Error, Result};
use crate::lower::blocks::fold::{Fold, Place};
use crate::model::config::{Head, Pool};
use crate::model::weights::Linear;
use crate::packing::blocks::{Answer, output};

impl Lowering<'_> {
    /// The answer of the model.
    pub(super) fn head(&mut self, head: Option<&Linear>, x: &Stream) -> Result<Answer> {
        let (config, layout) = (self.config, self.layout);
        let scope = "head";
        let dim = config.dim;
        let features = config.outputs();
        let mean = matches!(
            config.head,
            Head::Embedding | Head::Classification { pool: Pool::Mean, .. }
        );
        let own = identity(dim);
        let tokens = if mean { config.seq_len as f64 } else { 1.0 };
        let mut folded = Fold {
            linear: head.unwrap_or(&own),
            cols: x.gains().iter().map(|gain| gain / tokens).collect(),
            offset: x.beta.iter().map(|beta| beta / tokens).collect(),
            rows: vec![],
            centred: false,
            from: Place::Dense,
            to: Place::Dense,
        };
        // The bias is added once, the rest as often as there are tokens.
        let linear;
        if mean && let Some(head) = head {
            linear = Linear {
                weight: head.weight.clone(),
                bias: head.bias.iter().map(|b| b / tokens).collect(),
            };
            folded.linear = &linear;
        }
        let folded = folded.fold(layout, &mut self.tag)?;
        let operands = packed_operands(&x.stored, layout.blocks(dim));
        let mut answer = self.packed(scope, "head", &folded, &operands)?;
        let slots = layout.slots();
        let (pads, seq_len) = (self.pads(), config.seq_len);
        for value in &mut answer {
            *value = self.g.scope(scope, "head", |g| {
                if mean {
                    let own = if pads {
                        // Padding does not count.
                        let seen = |slot: usize| slot < seq_len * layout.stride();
                        let tokens = (0..slots).map(|slot| f32::from(u8::from(seen(slot))));
                        g.mul_plain(*value, Pattern::real(tokens.collect())?)
                    } else {
                        *value
                    };
                    return Ok::<_, Error>(he_ops::circuits::inner_sum(
                        g,
                        own,
                        layout.stride() as i64,
                        layout.tokens,
                    )?);
                }
                if matches!(config.head, Head::Classification { .. }) {
                    // Nothing of the other tokens goes back to the client.
                    let seen = |slot: usize| slot < layout.stride() && slot % layout.dim < features;
                    let first = (0..slots).map(|slot| f32::from(u8::from(seen(slot))));
                    return Ok(g.mul_plain(*value, Pattern::real(first.collect())?));
                }
                Ok(*value)
            })?;
        }
        for (i, value) in answer.iter().enumerate() {
            self.g.output(&output(i), *value);
        }
        Ok(match config.head {
            Head::Classification { pool: Pool::Cls, .. } => Answer::First { features },
            Head::Classification { .. } | Head::Embedding => Answer::Same { features },
            Head::NextToken { .. } => Answer::Each { features },
        })
    }
}
