//! Uploaded keys against the plan: exactly the keys it uses, each at its level, nothing else.

use crate::problem::Problem;
use he_ops::decision::{DecisionKey, SeededDecisionKey, decision_memory_bytes};
use he_ops::graph::Plan;
use he_ops::rlwe::{EvaluationKeys, KeyPurpose, KeyUses, Params, SeededKeySwitchKey};
use he_ops::wire::{
    Header, Kind, WireError, decision_key_frame_limit, decode_decision_key, decode_key, key_frame_limit,
    read_frame,
};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// The keys that a plan uses, with the sizes that follow.
#[derive(Debug, Clone)]
pub(crate) struct KeyNeeds {
    params: Params,
    keys: BTreeMap<KeyPurpose, usize>,
    /// Levels at which the plan uses each.
    uses: KeyUses,
    /// The exact decision has a key, which may come with the others.
    decision: bool,
    /// Largest frame of any of them.
    frame_limit: u64,
    /// Sum of all frames, with room for the fields: more cannot be right.
    pub total_limit: u64,
    /// Memory of the expanded set.
    pub expanded_bytes: u64,
}

impl KeyNeeds {
    /// What a plan needs; `decision`: it can end with a label.
    pub(crate) fn of(plan: &Plan, decision: bool) -> he_ops::Result<Self> {
        let params = plan.params.clone();
        let keys: BTreeMap<_, _> = plan.keys().iter().collect();
        let uses = plan.key_uses();
        let mut expanded_bytes = EvaluationKeys::expected_memory_bytes(&params, &plan.keys(), &uses)? as u64;
        let (mut frame_limit, mut total_limit) = (0, 0);
        for (purpose, level) in &keys {
            let limit = key_frame_limit(&params, *purpose, *level)?;
            frame_limit = limit.max(frame_limit);
            total_limit += limit;
        }
        if decision {
            let limit = decision_key_frame_limit(&params);
            frame_limit = limit.max(frame_limit);
            total_limit += limit;
            expanded_bytes += decision_memory_bytes(&params);
        }
        Ok(Self {
            params,
            keys,
            uses,
            decision,
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
) -> Result<Option<SeededDecisionKey>, Problem> {
    let mut missing = needs.keys.clone();
    let total = needs.keys.len();
    let mut count = 0;
    let mut decision = None;
    loop {
        let what = format!("key {} of {total}", count + 1);
        let wire = |e: WireError| Problem::wire(&what, &e);
        let Some(bytes) = read_frame(reader, needs.frame_limit).map_err(wire)? else {
            break;
        };
        if needs.decision && Header::parse(&bytes).map_err(wire)?.kind == Kind::DecisionKey {
            let what = "key of the exact decision";
            let key = decode_decision_key(&needs.params, &bytes).map_err(|e| Problem::wire(what, &e))?;
            if decision.replace(key).is_some() {
                return Err(Problem::wrong_keys(
                    format!("there are two, {what}"),
                    "one",
                    "two",
                ));
            }
            continue;
        }
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
    Ok(decision)
}

/// The expanded keys of one client.
pub(crate) struct ClientKeys {
    pub evaluation: Arc<EvaluationKeys>,
    /// Needed for labels alone.
    pub decision: Option<Arc<DecisionKey>>,
}

/// Checks an upload down to every residue, and keeps nothing.
pub(crate) fn check_keys(needs: &KeyNeeds, reader: &mut impl Read) -> Result<(), Problem> {
    for_each_key(needs, reader, |_| Ok(())).map(drop)
}

/// Reads, checks and expands a stored set.
pub(crate) fn load_keys(needs: &KeyNeeds, reader: &mut impl Read) -> Result<ClientKeys, Problem> {
    let mut keys = EvaluationKeys::new(&needs.params);
    let decision = for_each_key(needs, reader, |key| keys.insert_seeded(key, &needs.uses))?;
    let decision = decision.map(|seeded| DecisionKey::expand(&needs.params, seeded).map(Arc::new));
    Ok(ClientKeys {
        evaluation: Arc::new(keys),
        decision: decision.transpose().map_err(|e| Problem::internal(&e))?,
    })
}
