//! Why a parameter set is refused, or what belongs to another one.

/// Why parameters are refused, with the numbers.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// A number of the literal is outside of what is implemented.
    #[error("{what}: {least} to {most} needed, {found} found")]
    Range {
        /// The number.
        what: &'static str,
        /// Least allowed.
        least: f64,
        /// Most allowed.
        most: f64,
        /// Found.
        found: f64,
    },
    /// A number that is no modulus of this crate.
    #[error("{value} is no modulus; an odd number of at most 50 bits needed")]
    NoModulus {
        /// The number.
        value: u64,
    },
    /// No prime of the size wanted is left that has a transform.
    #[error("no free prime near 2^{bits:.2} is 1 mod 2^{}; use larger or fewer primes", log_n + 1)]
    NoPrime {
        /// log2 of the size wanted.
        bits: f64,
        /// log2 of the ring degree.
        log_n: u32,
    },
    /// A prime without a transform of this size.
    #[error("no transform of size 2^{log_n} modulo {modulus}: it must be 1 mod 2^{}", log_n + 1)]
    NoTransform {
        /// The prime.
        modulus: u64,
        /// log2 of the ring degree.
        log_n: u32,
    },
    /// Primes that must differ do not.
    #[error("prime {prime} stands twice; use every prime once")]
    RepeatedPrime {
        /// The prime.
        prime: u64,
    },
    /// No number of special primes makes keys of a level secure.
    #[error(
        "no key-switch gadget fits at level {level}: {log_q:.0} bits of Q leave no room for special primes under the bound{}",
        bound.map_or(String::new(), |bound| format!(" {bound:.0}"))
    )]
    NoGadget {
        /// The level.
        level: usize,
        /// log2 of Q there.
        log_q: f64,
        /// The bound of the security table, if it was asked for.
        bound: Option<f64>,
    },
    /// The security table has no row for ephemeral secrets of this ring.
    #[error("no ephemeral secrets for N = 2^{log_n}: 2^14 to 2^16 needed")]
    NoEphemeralSecret {
        /// log2 of the ring degree.
        log_n: u32,
    },
    /// A circuit needs more levels than are secure.
    #[error("{needed} levels of {log_scale} bits needed, {most} are secure with N = 2^{log_n}")]
    TooDeep {
        /// Levels needed.
        needed: usize,
        /// Levels that are secure.
        most: usize,
        /// Bits of a level.
        log_scale: u32,
        /// log2 of the ring degree.
        log_n: u32,
    },
    /// A key of other parameters.
    #[error("the {key} belongs to other parameters; use the keys of this model")]
    OtherParams {
        /// Which key.
        key: &'static str,
    },
    /// A key that a plan and its bootstrap share cannot serve both.
    #[error(
        "no key for {key} serves both level {level} and the bootstrap at level {bootstrap}; use more special primes"
    )]
    NoSharedKey {
        /// The key, in words.
        key: String,
        /// Level of the plan.
        level: usize,
        /// Level of the bootstrap.
        bootstrap: usize,
    },
    /// Keys of one level give no smaller ones for another.
    #[error("keys of level {from} give no smaller ones for level {level}; use more special primes")]
    NoSmallerKey {
        /// Level of the keys.
        from: usize,
        /// Level wanted.
        level: usize,
    },
    /// The radices of a transform of a bootstrap do not make its slots.
    #[error("the radices of {map} must multiply to 2^{log_slots}, {found:?} found")]
    Radices {
        /// Which transform.
        map: &'static str,
        /// log2 of the slots.
        log_slots: u32,
        /// log2 of the radices found.
        found: Vec<u32>,
    },
    /// The arcsine with fewer than all slots.
    #[error("the arcsine needs all 2^{needed} slots, 2^{found} found; leave it out for fewer")]
    Arcsine {
        /// log2 of all slots.
        needed: u32,
        /// log2 of the slots found.
        found: u32,
    },
    /// Fewer than all slots with too few levels of CoeffsToSlots.
    #[error("fewer than all slots need at least 2 levels of coeffs_to_slots, {found} found")]
    SparseLevels {
        /// Levels found.
        found: usize,
    },
    /// A bootstrap of another number of slots than the plan has.
    #[error("a bootstrap of all 2^{needed} slots needed in a plan, one of 2^{found} found")]
    BootstrapSlots {
        /// log2 of the slots of the plan.
        needed: u32,
        /// log2 of the slots of the bootstrap.
        found: u32,
    },
}

impl ParamsError {
    /// An error unless a number of the literal is in a range, both ends included.
    pub(crate) fn check(
        what: &'static str,
        found: impl Into<f64>,
        [least, most]: [impl Into<f64>; 2],
    ) -> Result<(), Self> {
        let (found, least, most) = (found.into(), least.into(), most.into());
        if (least..=most).contains(&found) {
            return Ok(());
        }
        Err(Self::Range {
            what,
            least,
            most,
            found,
        })
    }
}
