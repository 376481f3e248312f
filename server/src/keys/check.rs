//! Uploaded keys against the plan: exactly the keys it uses, each at its level, nothing else.

use crate::problem::Problem;
use he_ops::graph::Plan;
use he_ops::rlwe::{EvaluationKeys, KeyPurpose, KeyUses, Params, SeededKeySwitchKey};
use he_ops::wire::{WireError, decode_key, key_frame_limit, read_frame};
use std::collections::BTreeMap;
use std::io::Read;

/// The keys that a plan uses, with the sizes that follow.
#[derive(Debug, Clone)]
pub(crate) struct KeyNeeds {
    params: Params,
    keys: BTreeMap<KeyPurpose, usize>,
    /// Levels at which the plan uses each.
    uses: KeyUses,
    /// Largest frame of any of them.
    frame_limit: u64,
    /// Sum of all frames, with room for the fields: more cannot be right.
    pub total_limit: u64,
    /// Memory of the expanded set.
    pub expanded_bytes: u64,
}

impl KeyNeeds {
    /// Reads the needs off a plan.
    pub(crate) fn of(plan: &Plan) -> he_ops::Result<Self> {
        let params = plan.params.clone();
        let keys: BTreeMap<_, _> = plan.keys().iter().collect();
        let uses = plan.key_uses();
        let expanded_bytes = EvaluationKeys::expected_memory_bytes(&params, &plan.keys(), &uses)? as u64;
        let (mut frame_limit, mut total_limit) = (0, 0);
        for (purpose, level) in &keys {
            let limit = key_frame_limit(&params, *purpose, *level)?;
            frame_limit = limit.max(frame_limit);
            total_limit += limit;
        }
        Ok(Self {
            params,
            keys,
            uses,
            frame_limit,
            total_limit,
            expanded_bytes,
        })
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// Reads every key of `reader`, hands it to `keep`, and holds the set against the plan.
fn for_each_key(
    needs: &KeyNeeds,
    reader: &mut impl Read,
    mut keep: impl FnMut(SeededKeySwitchKey) -> he_ops::Result<()>,
) -> Result<(), Problem> {
    let mut missing = needs.keys.clone();
    let total = needs.keys.len();
    let mut count = 0;
    loop {
        let what = format!("key {} of {total}", count + 1);
        let wire = |e: WireError| Problem::wire(&what, &e);
        let Some(bytes) = read_frame(reader, needs.frame_limit).map_err(wire)? else {
            break;
        };
        let key = decode_key(&needs.params, &bytes, needs.frame_limit).map_err(wire)?;
        let name = key.purpose.describe(&needs.params);
        match needs.keys.get(&key.purpose) {
            None => {
                let detail = format!("{what}: the model does not use a key for {name}");
                return Err(Problem::wrong_keys(detail, "only the keys of the manifest", name));
            }
            Some(level) if *level != key.level => {
                let detail =
                    format!("{what}: the key for {name} is at another level than the model uses it at");
                return Err(Problem::wrong_keys(
                    detail,
                    format!("level {level}"),
                    format!("level {}", key.level),
                ));
            }
            Some(_) if missing.remove(&key.purpose).is_none() => {
                let detail = format!("{what}: there are two keys for {name}");
                return Err(Problem::wrong_keys(detail, "one", "two"));
            }
            Some(_) => {}
        }
        keep(key).map_err(|e| Problem::internal(&e))?;
        count += 1;
    }
    if let Some((purpose, level)) = missing.iter().next() {
        let name = purpose.describe(&needs.params);
        let detail = format!(
            "{} of {total} keys are missing, the first is the one for {name}",
            missing.len()
        );
        return Err(Problem::wrong_keys(
            detail,
            format!("{total} keys, {name} at level {level}"),
            format!("{count} keys"),
        ));
    }
    Ok(())
}

/// Checks an upload down to every residue, and keeps nothing.
pub(crate) fn check_keys(needs: &KeyNeeds, reader: &mut impl Read) -> Result<(), Problem> {
    for_each_key(needs, reader, |_| Ok(()))
}

/// Reads, checks and expands a stored set.
pub(crate) fn load_keys(needs: &KeyNeeds, reader: &mut impl Read) -> Result<EvaluationKeys, Problem> {
    let mut keys = EvaluationKeys::new(&needs.params);
    for_each_key(needs, reader, |key| keys.insert_seeded(key, &needs.uses))?;
    Ok(keys)
}
