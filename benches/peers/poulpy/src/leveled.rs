//! Operations below the bootstrap.

use crate::row::{Row, median_ms, precision};
use anyhow::Result;
use poulpy_ckks::api::{CKKSDecryptOps, CKKSEncryptOps};
use poulpy_ckks::api::{
    CKKSEncodingHostOps, CKKSLinearTransformationOps, CKKSModuleInfos, CKKSMulOps, CKKSRotateOps,
    LinearTransformationPrepared, ckks_plaintext_diagonal_layout,
};
use poulpy_ckks::encoding::ckks_linear_transformation_encode_from_diagonals;
use poulpy_ckks::layouts::{CKKSCiphertextOwned, CKKSPlaintextAlloc, CKKSPlaintextOwned, ComplexDiagonals};
use poulpy_ckks::test_suite::CKKSTestParams;
use poulpy_ckks::test_suite::helpers::{alloc_ct, alloc_scratch, gen_atk, gen_sk_with_raw, gen_tsk};
use poulpy_ckks::{CKKSInfos, CoeffsMeta, GLWEPlaintextMeta, Scale, SetCKKSInfos, SlotsKind};
use poulpy_core::layouts::{Diagonals, GGLWEInfos, GLWESecretPrepared, LWEInfos, LinearTransformationStrategy};
use poulpy_cpu_avx512::NTT3x42Ifma as Be;
use poulpy_hal::AlignedBuf;
use poulpy_hal::api::{ScratchOwnedAlloc, ScratchOwnedBorrow};
use poulpy_hal::layouts::{CyclotomicOrder, HostBytesBackend, Module, ScratchOwned};
use poulpy_hal::source::Source;
use std::collections::HashMap;

/// Ring, modulus, scale, and the gadget digit in limbs of 52 bits.
#[derive(Clone, Copy)]
pub struct Shape {
    pub log_n: usize,
    pub log_q: usize,
    pub log_delta: usize,
    pub dsize: usize,
}

type Ct = CKKSCiphertextOwned<Be>;

struct Bench {
    shape: Shape,
    params: CKKSTestParams,
    module: Module<Be>,
    sk: GLWESecretPrepared<AlignedBuf, Be>,
    scratch: ScratchOwned<Be>,
}

impl Bench {
    fn encode(&mut self, re: &[f64], budget: usize) -> Result<CKKSPlaintextOwned<Be>> {
        let mut pt = self.module.ckks_plaintext_alloc_from_slots(
            re.len(),
            self.params.base2k.into(),
            (self.shape.log_delta + budget).into(),
        );
        pt.set_meta(self.params.prec_meta);
        let im = vec![0.0; re.len()];
        self.module
            .ckks_encode_slots_host_into(&mut pt, re, &im, &mut self.scratch.borrow())?;
        Ok(pt)
    }

    fn encrypt(&mut self, re: &[f64], seed: u8) -> Result<Ct> {
        let pt = self.encode(re, 30)?;
        let mut ct = alloc_ct(&self.params, &self.module, self.params.k);
        let (mut xa, mut xe) = (Source::new([seed; 32]), Source::new([seed + 100; 32]));
        self.module
            .ckks_encrypt_sk(&mut ct, &pt, &self.sk, &mut xe, &mut xa, &mut self.scratch.borrow())?;
        Ok(ct)
    }

    fn decrypt(&mut self, ct: &Ct) -> Result<Vec<f64>> {
        let m = self.params.n / 2;
        let delta = ct.log_delta();
        let budget = ct.log_budget().min(30);
        let mut pt = self
            .module
            .ckks_plaintext_alloc_from_slots(m, ct.base2k(), (delta + budget).into());
        pt.set_meta(GLWEPlaintextMeta {
            scale: Scale::Log(delta),
            slots: SlotsKind::Complex,
            log_sparsity: 0,
        });
        self.module
            .ckks_decrypt(&mut pt, ct, &self.sk, &mut self.scratch.borrow())?;
        let (mut re, mut im) = (vec![0.0; m], vec![0.0; m]);
        self.module
            .ckks_decode_slots_host_into(&pt, &mut re, &mut im, &mut self.scratch.borrow())?;
        Ok(re)
    }

    fn print(&mut self, op: &str, median_ms: f64, out: &Ct, want: &[f64], bytes: usize) -> Result<()> {
        let got = self.decrypt(out)?;
        let (worst, mean) = precision(&got, want);
        let key = self.params.atk_layout();
        let log_qp = key.k().as_usize();
        Row {
            op: op.to_owned(),
            log_n: self.shape.log_n,
            log_qp,
            log_q: self.shape.log_q,
            levels: (self.shape.log_q - self.shape.log_delta) / self.shape.log_delta,
            median_ms,
            precision_bits: worst,
            precision_mean_bits: mean,
            bytes,
            security: format!(
                "ternary secret of weight {}, digit {} x 52 bits",
                self.params.hw, self.shape.dsize
            ),
        }
        .print();
        Ok(())
    }
}

/// Uniform values in [-1, 1), the same in every run.
fn values(n: usize, mut state: u64) -> Vec<f64> {
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// Measures the wanted operations and prints their rows.
pub fn run(shape: Shape, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    const OPS: [&str; 4] = ["rotate", "multiply", "multiply_plain", "linear_transform"];
    if !OPS.iter().any(|op| wanted(op)) {
        return Ok(());
    }
    let n = 1usize << shape.log_n;
    let m = n / 2;
    let params = CKKSTestParams {
        n,
        base2k: 52,
        k: shape.log_q,
        prec_meta: GLWEPlaintextMeta {
            scale: Scale::Log(shape.log_delta),
            slots: SlotsKind::Complex,
            log_sparsity: 0,
        },
        prec_log_budget: 30,
        hw: 1024,
        dsize: shape.dsize,
        rank: 1,
    };
    let module = Module::<Be>::new(n as u64);
    let host = Module::<HostBytesBackend>::new(n as u64);
    let (sk_raw, sk) = gen_sk_with_raw(&params, &module, &host, [0; 32]);
    let scratch = alloc_scratch(&params, &module);
    let mut bench = Bench {
        shape,
        params,
        module,
        sk,
        scratch,
    };
    let (x, y) = (values(m, 1), values(m, 2));
    let (cx, cy) = (bench.encrypt(&x, 1)?, bench.encrypt(&y, 2)?);
    let atk = bench.params.atk_layout();
    let tsk_layout = bench.params.tsk_layout();
    let key_bytes = 2 * n * atk.dnum().as_usize() * atk.k().as_usize() / 8;

    if wanted("rotate") {
        let gal = bench.module.ckks_galois_element(1);
        let key = gen_atk(&bench.params, &bench.module, gal, &sk_raw, &mut bench.scratch.borrow());
        let keys = HashMap::from([(gal, key)]);
        let mut out = alloc_ct(&bench.params, &bench.module, bench.params.k);
        let mut scratch = ScratchOwned::<Be>::alloc(bench.module.ckks_rotate_tmp_bytes(&cx, &atk));
        let t = median_ms(11, || {
            bench
                .module
                .ckks_rotate_into(1, &mut out, &cx, &keys, &mut scratch.borrow())
                .unwrap()
        });
        let want: Vec<f64> = (0..m).map(|i| x[(i + 1) % m]).collect();
        bench.print("rotate", t, &out, &want, key_bytes)?;
    }
    if wanted("multiply") {
        let tsk = gen_tsk(&bench.params, &bench.module, &sk_raw, &mut bench.scratch.borrow());
        let mut out = alloc_ct(&bench.params, &bench.module, bench.params.k);
        let mut scratch = ScratchOwned::<Be>::alloc(bench.module.ckks_mul_tmp_bytes(&out, &cx, &cy, &tsk));
        let width = bench.params.k;
        let t = median_ms(11, || {
            poulpy_core::layouts::SetK::set_k(&mut out, width.into());
            bench
                .module
                .ckks_mul_into(&mut out, &cx, &cy, &tsk, &mut scratch.borrow())
                .unwrap();
        });
        let want: Vec<f64> = x.iter().zip(&y).map(|(a, b)| a * b).collect();
        bench.print("multiply", t, &out, &want, key_bytes)?;
    }
    if wanted("multiply_plain") {
        let pt = bench.encode(&y, 2)?;
        let mut out = alloc_ct(&bench.params, &bench.module, bench.params.k);
        let mut scratch = ScratchOwned::<Be>::alloc(bench.module.ckks_mul_pt_vec_tmp_bytes(&out, &cx, &pt));
        let width = bench.params.k;
        let t = median_ms(11, || {
            poulpy_core::layouts::SetK::set_k(&mut out, width.into());
            bench
                .module
                .ckks_mul_pt_vec_into(&mut out, &cx, &pt, &mut scratch.borrow())
                .unwrap();
        });
        let want: Vec<f64> = x.iter().zip(&y).map(|(a, b)| a * b).collect();
        bench.print("multiply_plain", t, &out, &want, 0)?;
    }
    if wanted("linear_transform") {
        // 128 features of m / 128 tokens, slot = feature * tokens + token: 128 cyclic diagonals at
        // multiples of `tokens`, 16 baby and 8 giant steps.
        let tokens = m / 128;
        let w = values(128 * 128, 3);
        let diagonals = || {
            let (mut re, mut im) = (Diagonals::<f64>::new(m), Diagonals::<f64>::new(m));
            for d in 0..128 {
                let values = (0..m).map(|s| w[(s / tokens) * 128 + (s / tokens + d) % 128]).collect();
                re.set((d * tokens) as i64, values);
                im.set((d * tokens) as i64, vec![0.0]);
            }
            ComplexDiagonals::new(re, im)
        };
        let strategy = LinearTransformationStrategy::Bsgs {
            giant_step: 16 * tokens,
        };
        let meta = CoeffsMeta::from_delta_budget(shape.log_delta, 2);
        let base2k = bench.params.base2k;
        let encode = |bench: &mut Bench| {
            ckks_linear_transformation_encode_from_diagonals(
                &bench.module,
                base2k.into(),
                meta,
                &diagonals(),
                strategy,
                false,
                &mut bench.scratch.borrow(),
            )
            .unwrap()
        };
        let lt = encode(&mut bench);
        let gals = lt.galois_elements(bench.module.cyclotomic_order());
        eprintln!("poulpy: linear transform: {} keys", gals.len());
        let mut keys = HashMap::new();
        for g in gals {
            keys.insert(
                g,
                gen_atk(&bench.params, &bench.module, g, &sk_raw, &mut bench.scratch.borrow()),
            );
        }
        let mut out = alloc_ct(&bench.params, &bench.module, bench.params.k);
        let proxy = lt.first_diagonal_plaintext().unwrap();
        let mut prepared =
            LinearTransformationPrepared::<Be>::alloc_prepared_from_index(&bench.module, &lt.index(), proxy);
        let mut prepare_scratch =
            ScratchOwned::<Be>::alloc(bench.module.ckks_linear_transformation_rhs_prepare_tmp_bytes(proxy));
        bench
            .module
            .ckks_linear_transformation_rhs_prepare(&mut prepared, &lt, &mut prepare_scratch.borrow())?;
        let mut scratch = ScratchOwned::<Be>::alloc(bench.module.ckks_linear_transformation_eval_self_tmp_bytes(
            false,
            &cx,
            &ckks_plaintext_diagonal_layout(&cx),
            &lt.index(),
            &tsk_layout,
            &atk,
        ));
        let width = bench.params.k;
        let want: Vec<f64> = (0..m)
            .map(|s| {
                let (i, t) = (s / tokens, s % tokens);
                (0..128).map(|j| w[i * 128 + j] * x[j * tokens + t]).sum()
            })
            .collect();
        let eval = median_ms(3, || {
            poulpy_core::layouts::SetK::set_k(&mut out, width.into());
            bench
                .module
                .ckks_linear_transformation_eval_self_into(&mut out, &cx, &prepared, &keys, &mut scratch.borrow())
                .unwrap();
        });
        bench.print("linear_transform_prepared", eval, &out, &want, keys.len() * key_bytes)?;
        let with_encoding = median_ms(3, || {
            let lt = encode(&mut bench);
            bench
                .module
                .ckks_linear_transformation_rhs_prepare(&mut prepared, &lt, &mut prepare_scratch.borrow())
                .unwrap();
            poulpy_core::layouts::SetK::set_k(&mut out, width.into());
            bench
                .module
                .ckks_linear_transformation_eval_self_into(&mut out, &cx, &prepared, &keys, &mut scratch.borrow())
                .unwrap();
        });
        bench.print("linear_transform", with_encoding, &out, &want, keys.len() * key_bytes)?;
    }
    Ok(())
}
