//! The bundle of a client's evaluation keys.

use super::key_switch_key::{KeySwitchKey, SeededKeySwitchKey, smaller_keys};
use super::keys::{EvaluationKeyConfig, KeyPurpose, KeyUses};
use super::params::Params;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The evaluation keys of one client, ready for use: for each purpose the key that was sent, and the smaller keys made
/// from it for lower levels.
#[derive(Clone, Debug)]
pub struct EvaluationKeys {
    params: Params,
    /// Per purpose, by level.
    keys: BTreeMap<KeyPurpose, BTreeMap<usize, KeySwitchKey>>,
}

impl EvaluationKeys {
    /// An empty bundle.
    #[must_use]
    pub fn new(params: &Params) -> Self {
        Self {
            params: params.clone(),
            keys: BTreeMap::new(),
        }
    }

    /// Expands and collects seeded keys, with the smaller keys that pay for these uses.
    ///
    /// # Errors
    /// As [`SeededKeySwitchKey::expand`].
    pub fn from_seeded(
        params: &Params,
        uses: &KeyUses,
        keys: impl IntoIterator<Item = SeededKeySwitchKey>,
    ) -> Result<Self> {
        let mut out = Self::new(params);
        for key in keys {
            out.insert_seeded(key, uses)?;
        }
        Ok(out)
    }

    /// Expands and adds one key, with the smaller keys that pay for these uses.
    ///
    /// # Errors
    /// As [`SeededKeySwitchKey::expand`].
    pub fn insert_seeded(&mut self, key: SeededKeySwitchKey, uses: &KeyUses) -> Result<()> {
        let own = match uses.get(&key.purpose) {
            Some(levels) => key.expand_for(&self.params, levels)?,
            None => vec![key.expand(&self.params)?],
        };
        for key in own {
            self.keys.entry(key.purpose).or_default().insert(key.level, key);
        }
        Ok(())
    }

    /// Bytes in memory that keys of these levels, and the smaller ones for these uses, will take.
    ///
    /// # Errors
    /// [`Error::Level`] when a level is above the parameters' highest.
    pub fn expected_memory_bytes(
        params: &Params,
        config: &EvaluationKeyConfig,
        uses: &KeyUses,
    ) -> Result<usize> {
        let mut sum = 0;
        for (purpose, level) in config.iter() {
            let own = params.key_gadget(purpose, level)?;
            sum += KeySwitchKey::expected_bytes(params, level, &own)?;
            if let Some(levels) = uses.get(&purpose) {
                for (level, gadget) in smaller_keys(params, level, levels)? {
                    sum += KeySwitchKey::expected_bytes(params, level, &gadget)?;
                }
            }
        }
        Ok(sum)
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The smallest key for a purpose that serves a level.
    ///
    /// # Errors
    /// [`Error::MissingKey`] naming the key when it is absent or of too low a level.
    pub fn get(&self, op: &'static str, purpose: KeyPurpose, level: usize) -> Result<&KeySwitchKey> {
        let missing = |found| Error::MissingKey {
            op,
            key: purpose.describe(&self.params),
            level,
            found,
        };
        let own = self.keys.get(&purpose);
        let highest = own.and_then(|own| own.keys().next_back());
        match own.and_then(|own| own.range(level..).next()) {
            Some((_, key)) => Ok(key),
            None => Err(missing(match highest {
                Some(highest) => format!("one of level {highest} found"),
                None => "none found".into(),
            })),
        }
    }

    /// Checks that every key of a configuration is there, at its level.
    ///
    /// # Errors
    /// [`Error::MissingKey`] for the first that is not.
    pub fn satisfies(&self, config: &EvaluationKeyConfig) -> Result<()> {
        config
            .iter()
            .try_for_each(|(purpose, level)| self.get("evaluation keys", purpose, level).map(|_| ()))
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.keys
            .values()
            .flat_map(BTreeMap::values)
            .map(KeySwitchKey::memory_bytes)
            .sum()
    }
}
