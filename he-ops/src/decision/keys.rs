//! The evaluation key of the exact decision: ring switch, bootstrap key and key-switch key of `tfhe`, seeded on the wire.

use tfhe::core_crypto::commons::math::random::CompressionSeed;
use tfhe::core_crypto::prelude::*;

use super::params::{LOG_STEPS, TFHE_PARAMETERS as TFHE, check_params, tfhe_words};
use super::ring_switch::{RingSwitchKey, SeededRingSwitchKey};
use crate::arith::sample::Seed;
use crate::rlwe::Params;
use crate::{Error, ParamsError, Result};

/// What the client makes and sends: seeds and bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededDecisionKey {
    /// Random, as in the secrets that read its labels: keys that do not belong together are told apart by it.
    pub id: [u8; 16],
    /// From the CKKS secret to that of `tfhe`.
    pub ring_switch: SeededRingSwitchKey,
    /// The masks of the bootstrap key are expanded from it.
    pub bootstrap_seed: Seed,
    /// Bodies of the bootstrap key.
    pub bootstrap: Vec<u64>,
    /// The masks of the key-switch key are expanded from it.
    pub switch_seed: Seed,
    /// Bodies of the key-switch key.
    pub switch: Vec<u64>,
}

/// The expanded key. Evaluation keys are public.
pub struct DecisionKey {
    id: [u8; 16],
    pub(super) ring_switch: RingSwitchKey,
    bootstrap: FourierLweBootstrapKeyOwned,
    switch: LweKeyswitchKeyOwned<u64>,
    params_digest: [u8; 32],
}

impl std::fmt::Debug for DecisionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecisionKey(..)")
    }
}

/// The seed as `tfhe` takes it.
pub(super) fn compression_seed(seed: &Seed) -> CompressionSeed {
    tfhe_csprng::seeders::Seed(u128::from_le_bytes(seed.0)).into()
}

pub(super) type Lwe = LweCiphertextOwned<u64>;

pub(super) fn lwe(words: Vec<u64>) -> Lwe {
    Lwe::from_container(words, TFHE.ciphertext_modulus)
}

impl DecisionKey {
    /// Expands a seeded key: the masks, and the bootstrap key in Fourier form.
    ///
    /// # Errors
    /// [`Error::Shape`] for a part of another size, and as [`check_params`].
    pub fn expand(params: &Params, seeded: SeededDecisionKey) -> Result<Self> {
        check_params(params)?;
        let [bootstrap, switch] = tfhe_words();
        for (needed, found) in [(bootstrap, seeded.bootstrap.len()), (switch, seeded.switch.len())] {
            if needed != found {
                return Err(Error::Shape {
                    what: "words of a key of the exact decision",
                    needed,
                    found,
                });
            }
        }
        let standard = SeededLweBootstrapKey::from_container(
            seeded.bootstrap,
            TFHE.glwe_dimension.to_glwe_size(),
            TFHE.polynomial_size,
            TFHE.pbs_base_log,
            TFHE.pbs_level,
            compression_seed(&seeded.bootstrap_seed),
            TFHE.ciphertext_modulus,
        )
        .par_decompress_into_lwe_bootstrap_key();
        let mut fourier = FourierLweBootstrapKeyOwned::new(
            standard.input_lwe_dimension(),
            standard.glwe_size(),
            standard.polynomial_size(),
            standard.decomposition_base_log(),
            standard.decomposition_level_count(),
        );
        par_convert_standard_lwe_bootstrap_key_to_fourier(&standard, &mut fourier);
        let switch = SeededLweKeyswitchKey::from_container(
            seeded.switch,
            TFHE.ks_base_log,
            TFHE.ks_level,
            TFHE.lwe_dimension.to_lwe_size(),
            compression_seed(&seeded.switch_seed),
            TFHE.ciphertext_modulus,
        );
        Ok(DecisionKey {
            id: seeded.id,
            ring_switch: RingSwitchKey::expand(params, &seeded.ring_switch)?,
            bootstrap: fourier,
            switch: switch.par_decompress_into_lwe_keyswitch_key(),
            params_digest: params.digest(),
        })
    }

    /// As in the secrets.
    pub(super) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// # Errors
    /// [`Error::Params`] for a key of other parameters.
    pub(super) fn check(&self, params: &Params) -> Result<()> {
        if self.params_digest == params.digest() {
            return Ok(());
        }
        Err(ParamsError::OtherParams {
            key: "key of the exact decision",
        }
        .into())
    }

    /// From dimension 2048 to the small dimension.
    pub(super) fn to_small(&self, input: &Lwe) -> Lwe {
        let mut out = lwe(vec![0; TFHE.lwe_dimension.to_lwe_size().0]);
        keyswitch_lwe_ciphertext(&self.switch, input, &mut out);
        out
    }

    /// `value` if the phase of the input lies in \[0, 1/2) of the torus, -`value` if in \[1/2, 1): a fresh sample.
    pub(super) fn sign(&self, input: &Lwe, value: u64) -> Lwe {
        let mut small = self.to_small(input);
        // Half a step down: rounding to the nearest step then has its border at zero.
        let body = small.get_mut_body().data;
        *body = body.wrapping_sub(1 << (63 - LOG_STEPS));
        let steps = CiphertextModulusLog(LOG_STEPS as usize);
        let switched = lwe_ciphertext_centered_binary_modulus_switch::<u64, usize, _>(small, steps);
        let constant = PlaintextList::new(value, PlaintextCount(TFHE.polynomial_size.0));
        let size = TFHE.glwe_dimension.to_glwe_size();
        let mut accumulator =
            allocate_and_trivially_encrypt_new_glwe_ciphertext(size, &constant, TFHE.ciphertext_modulus);
        blind_rotate_assign(&switched, &mut accumulator, &self.bootstrap);
        let mut out = lwe(vec![0; TFHE.glwe_dimension.0 * TFHE.polynomial_size.0 + 1]);
        extract_lwe_sample_from_glwe_ciphertext(&accumulator, &mut out, MonomialDegree(0));
        out
    }
}
