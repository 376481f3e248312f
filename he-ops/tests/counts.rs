//! What a plan is said to need, held against what a run of it needs: everybody who counts says the same.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(non_snake_case, reason = "small parameters say what they are")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use common::{Client, Numbers, largest_error, run_on};
use he_ops::Result;
use he_ops::ckks::{BootstrapPreset, Ciphertext, Pattern, SlotMap};
use he_ops::cost::{Counter, Machine, plan_costs};
use he_ops::decision::Decision;
use he_ops::exec::{Backend, Ckks, Plain, run};
use he_ops::graph::{
    CompileOptions, Counts, Graph, KeyUse, NodeId, Op, Plan, Step, compile_for, compile_with, profile,
};
use he_ops::rlwe::{KeyPurpose, KeyUses, Params};
use he_ops::trace::Tracer;
use num_complex::Complex64;

/// Counts what a backend is asked for. The rotations within linear maps it counts by walking through them: baby steps of
/// each input once for all maps, then for each map and direction a rotation of the sum so far from one giant step to the
/// next.
struct Counting<B> {
    inner: B,
    counts: Counts,
    /// By level of the operands.
    key_switches: BTreeMap<usize, usize>,
    keys: BTreeMap<KeyUse, BTreeSet<usize>>,
}

impl<B> Counting<B> {
    fn new(inner: B) -> Self {
        Counting {
            inner,
            counts: Counts::default(),
            key_switches: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    fn switch(&mut self, key: KeyUse, level: usize) {
        self.counts.key_switches += 1;
        *self.key_switches.entry(level).or_default() += 1;
        self.keys.entry(key).or_default().insert(level);
        *match key {
            KeyUse::Relinearization => &mut self.counts.relinearizations,
            KeyUse::Conjugation => &mut self.counts.conjugations,
            KeyUse::Rotation(_) => &mut self.counts.rotations,
        } += 1;
    }
}

macro_rules! passed_on {
    ($($name:ident($($arg:ident: $kind:ty),*))*) => {
        $(fn $name(&mut self, a: &B::Value, $($arg: $kind,)* step: &Step) -> Result<B::Value> {
            self.inner.$name(a, $($arg,)* step)
        })*
    };
}

impl<B: Backend> Backend for Counting<B> {
    type Value = B::Value;

    passed_on! {
        input() add(b: &B::Value) double() sub(b: &B::Value) negate() mul_i(power: u32) add_plain(pattern: &Pattern)
        drop_level()
    }

    fn weighted_sums(
        &mut self,
        inputs: &[&B::Value],
        rows: &[&[Option<&Pattern>]],
        steps: &[Step],
    ) -> Result<Vec<B::Value>> {
        self.counts.plain_products += rows.iter().copied().flatten().flatten().count();
        self.inner.weighted_sums(inputs, rows, steps)
    }

    fn linear_maps(
        &mut self,
        inputs: &[&B::Value],
        maps: &[&SlotMap],
        steps: &[Step],
    ) -> Result<Vec<B::Value>> {
        let level = steps[0].level + 1;
        let n = maps[0].baby_steps() as i64;
        let mut turned: Vec<BTreeSet<i64>> = vec![BTreeSet::new(); inputs.len()];
        for map in maps {
            for (turned, part) in turned.iter_mut().zip(map.parts()) {
                turned.extend(part.keys().map(|k| k.rem_euclid(n)).filter(|baby| *baby > 0));
            }
        }
        for babies in turned {
            self.counts.hoisted_rotations += if babies.len() > 1 { babies.len() } else { 0 };
            babies
                .into_iter()
                .for_each(|baby| self.switch(KeyUse::Rotation(baby), level));
        }
        for map in maps {
            let offsets = || map.parts().iter().flat_map(BTreeMap::keys);
            self.counts.plain_products += offsets().count();
            self.counts.rescales += 1;
            let giants: BTreeSet<i64> = offsets().map(|k| k.div_euclid(n)).collect();
            for sign in [1, -1] {
                let reach = giants.iter().map(|giant| giant * sign).max().unwrap();
                for _ in 0..reach.max(0) {
                    self.switch(KeyUse::Rotation(sign * n), level);
                }
            }
        }
        self.inner.linear_maps(inputs, maps, steps)
    }

    fn mul(&mut self, a: &B::Value, b: &B::Value, step: &Step) -> Result<B::Value> {
        self.counts.products += 1;
        self.inner.mul(a, b, step)
    }

    fn square(&mut self, a: &B::Value, step: &Step) -> Result<B::Value> {
        self.counts.products += 1;
        self.inner.square(a, step)
    }

    fn rotate(&mut self, a: &B::Value, by: &[i64], steps: &[Step]) -> Result<Vec<B::Value>> {
        self.counts.hoisted_rotations += if by.len() > 1 { by.len() } else { 0 };
        by.iter()
            .for_each(|k| self.switch(KeyUse::Rotation(*k), steps[0].level));
        self.inner.rotate(a, by, steps)
    }

    fn conjugate(&mut self, a: &B::Value, step: &Step) -> Result<B::Value> {
        self.switch(KeyUse::Conjugation, step.level);
        self.inner.conjugate(a, step)
    }

    fn bootstrap(&mut self, a: &B::Value, step: &Step) -> Result<B::Value> {
        self.counts.bootstraps += 1;
        self.inner.bootstrap(a, step)
    }

    fn relinearize(&mut self, a: &B::Value, step: &Step) -> Result<B::Value> {
        self.switch(KeyUse::Relinearization, step.level);
        self.inner.relinearize(a, step)
    }

    fn rescale(&mut self, a: &B::Value, step: &Step) -> Result<B::Value> {
        self.counts.rescales += 1;
        self.inner.rescale(a, step)
    }

    fn relinearize_rescale(&mut self, a: &B::Value, step: &Step) -> Result<B::Value> {
        self.switch(KeyUse::Relinearization, step.level + 1);
        self.counts.rescales += 1;
        self.inner.relinearize_rescale(a, step)
    }

    fn align(&mut self, a: &B::Value, step: &Step) -> Result<B::Value> {
        self.counts.rescales += 1;
        self.inner.align(a, step)
    }

    fn decide(&mut self, values: &[&B::Value], decision: &Decision, step: &Step) -> Result<()> {
        self.inner.decide(values, decision, step)
    }
}

/// Every number in a line of text, signs and points left out.
fn numbers(line: &str) -> Vec<usize> {
    let words = line.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// The columns of a table of the text of a plan, from the heading on, summed.
fn column_sums<const N: usize>(text: &str, heading: &str) -> [usize; N] {
    let rows = text.lines().skip_while(|line| !line.contains(heading)).skip(1);
    let mut sums = [0; N];
    for row in rows.take_while(|line| !line.trim().is_empty()) {
        let own = numbers(row);
        let last = &own[own.len() - N..];
        sums.iter_mut().zip(last).for_each(|(sum, own)| *sum += own);
    }
    sums
}

/// Summary, text, cost model, rows and keys of a plan against what a run asked for.
fn agree<B>(plan: &Plan, ran: &Counting<B>, tracer: &Tracer) {
    let counts = ran.counts;
    let of_steps = plan.counts();
    assert_eq!(of_steps.iter().copied().sum::<Counts>(), counts, "the plan");
    assert_eq!(
        plan.rows().iter().map(|row| row.counts).sum::<Counts>(),
        counts,
        "the rows of the plan"
    );

    let s = plan.summary().unwrap();
    let from_summary = Counts {
        key_switches: s.key_switches,
        rotations: s.rotations,
        hoisted_rotations: s.hoisted_rotations,
        conjugations: s.conjugations,
        relinearizations: s.relinearizations,
        products: s.ciphertext_products,
        plain_products: s.plaintext_products,
        rescales: s.rescales,
        bootstraps: s.bootstrap.map_or(0, |bootstrap| bootstrap.count),
    };
    assert_eq!(from_summary, counts, "the summary, which is in the manifest");
    let by_level: BTreeMap<usize, usize> = s.levels.iter().map(|own| (own.level, own.key_switches)).collect();
    assert!(
        by_level
            .iter()
            .all(|(level, own)| own == ran.key_switches.get(level).unwrap_or(&0))
    );
    let summed = |of: fn(&he_ops::graph::LevelCounts) -> usize| s.levels.iter().map(of).sum::<usize>();
    assert_eq!(
        [
            summed(|l| l.key_switches),
            summed(|l| l.products),
            summed(|l| l.plain_products),
            summed(|l| l.rescales)
        ],
        [
            counts.key_switches,
            counts.products,
            counts.plain_products,
            counts.rescales
        ],
        "the summary by level"
    );

    let costs = plan_costs(plan, &Machine::default(), 1).unwrap();
    assert_eq!(costs.counts, counts, "the cost model");
    assert_eq!(
        costs.rows.iter().map(|row| row.counts).sum::<Counts>(),
        counts,
        "its rows"
    );

    // The schedule of linear maps, by which the engine runs them.
    let counter = Counter::new(&plan.params);
    let mut of_steps = of_steps.into_iter();
    for group in plan.groups() {
        let own: Counts = of_steps.by_ref().take(group.len()).sum();
        let maps: Vec<&SlotMap> = group
            .iter()
            .filter_map(|step| match &step.op {
                Op::LinearMap(_, map) => Some(map.as_ref()),
                _ => None,
            })
            .collect();
        if !maps.is_empty() {
            let level = group[0].level_in;
            let gadget = |_: i64| plan.params.gadget(level).cloned();
            let scheduled = counter.linear_maps(level, &maps, &gadget).unwrap();
            assert_eq!(
                (own.rotations, own.plain_products),
                (scheduled.rotations, scheduled.diagonals)
            );
        }
    }

    let (text, overview) = (plan.to_string(), plan.overview().to_string());
    let head: Vec<usize> = text.lines().skip(2).take(2).flat_map(numbers).collect();
    let of_head = [
        plan.depth(),
        plan.steps.len(),
        counts.key_switches,
        counts.rotations,
        counts.hoisted_rotations,
        counts.conjugations,
        counts.relinearizations,
        counts.products,
        counts.plain_products,
        counts.rescales,
    ];
    assert_eq!(head, of_head, "the head of the text\n{text}");
    assert!(overview.starts_with(text.split("\n\n").next().unwrap()));
    assert_eq!(
        column_sums(&text, "level  key switches"),
        [
            counts.key_switches,
            counts.products,
            counts.plain_products,
            counts.rescales
        ],
        "the table by level\n{text}"
    );
    assert_eq!(
        column_sums(&overview, "level key switches"),
        [
            counts.key_switches,
            counts.products,
            counts.plain_products,
            counts.bootstraps
        ],
        "the table by label\n{overview}"
    );
    assert_eq!(
        text.contains("those within bootstraps not counted"),
        counts.bootstraps > 0
    );

    let highest: BTreeMap<KeyUse, usize> = ran
        .keys
        .iter()
        .map(|(key, uses)| (*key, *uses.last().unwrap()))
        .collect();
    assert_eq!(plan.step_keys, highest, "the keys of the steps");
    let mut uses: KeyUses = plan
        .bootstrap
        .as_ref()
        .map_or_else(KeyUses::new, |own| own.key_uses.clone());
    for (key, levels) in &ran.keys {
        uses.entry(key.purpose(&plan.params)).or_default().extend(levels);
    }
    assert_eq!(plan.key_uses(), uses, "the uses of all keys");
    let of_plan: BTreeSet<KeyPurpose> = plan.keys().iter().map(|(purpose, _)| purpose).collect();
    assert!(of_plan.iter().eq(uses.keys()), "the keys of the plan");

    // The tracer counts steps: those of one primitive.
    let primitives = tracer.primitives();
    let traced = |op: &str| {
        let found = primitives.iter().find(|row| row.op == op);
        found.map_or(0, |row| row.count as usize)
    };
    assert_eq!(traced("mul") + traced("square"), counts.products, "the trace");
    assert_eq!(
        traced("relinearize") + traced("relinearize_rescale"),
        counts.relinearizations
    );
    assert_eq!(traced("conjugate"), counts.conjugations);
    assert_eq!(traced("bootstrap"), counts.bootstraps);
    let divisions = ["rescale", "relinearize_rescale", "align", "linear_map"].map(traced);
    assert_eq!(divisions.iter().sum::<usize>(), counts.rescales);
    assert_eq!(
        tracer.ops().iter().map(|row| row.count).sum::<u64>(),
        plan.steps.len() as u64
    );
}

fn map(g_slots: usize, seed: u64, baby_steps: usize, offsets: &[&[i64]]) -> Arc<SlotMap> {
    let mut numbers = Numbers(seed);
    let mut diagonal = |k: &i64| (*k, Pattern::real(numbers.f32s(g_slots.min(16), 0.2)).unwrap());
    let parts = offsets
        .iter()
        .map(|offsets| offsets.iter().map(&mut diagonal).collect())
        .collect();
    Arc::new(SlotMap::new(baby_steps, parts).unwrap())
}

/// Maps that share some of their baby steps and not all, that share none, and that have giant steps in both directions;
/// rotations of one value and of several, weighted sums of one group, a value that is read at two levels.
fn busy(g: &mut Graph, x: NodeId, y: NodeId) -> NodeId {
    let slots = g.slots();
    let both: [&[i64]; 2] = [&[0, 1, 2, 9], &[3, 4]];
    let (q, k, v) = g.scope("layer0", "plaintext matmul", |g| {
        let q = g.linear_map(&[x, y], map(slots, 1, 4, &both));
        let k = g.linear_map(&[x, y], map(slots, 2, 4, &[&[1, -3, -9], &[0]]));
        let v = g.linear_map(&[y], map(slots, 3, 8, &[&[5]]));
        (q, k, v)
    });
    let scores = g.scope("layer0", "ciphertext matmul", |g| {
        let square = g.square(q);
        let product = g.mul(q, k);
        let sum = g.add(square, product);
        let turned = g.rotate(sum, 3);
        let other = g.rotate(sum, 5);
        let sum = g.add(turned, other);
        let conjugate = g.conjugate(sum);
        g.sub(conjugate, v)
    });
    g.scope("layer0", "repack", |g| {
        let weight = |w: f32| Pattern::constant(w).unwrap();
        let a = g.weighted_sum([(scores, weight(0.25)), (q, weight(0.5)), (k, weight(0.125))]);
        let b = g.weighted_sum([(q, weight(0.5)), (k, weight(0.25))]);
        let alone = g.rotate(a, 7);
        let sum = g.add(alone, b);
        let shifted = g.add_plain(sum, weight(0.1));
        let doubled = g.double(shifted);
        g.mul_plain(doubled, weight(0.25))
    })
}

fn inputs(plan: &Plan) -> BTreeMap<String, Vec<Complex64>> {
    let mut numbers = Numbers(11);
    let inputs = plan.inputs.iter();
    inputs
        .map(|port| (port.name.clone(), numbers.complex(plan.slots, 0.5)))
        .collect()
}

/// Runs a plan on numbers and on ciphertexts, with exactly the keys that it asks for, and counts both.
fn check(plan: &Plan) {
    let (given, mut tracer) = (inputs(plan), Tracer::new());
    let go = &mut |_, _| ControlFlow::Continue(());
    let mut plain = Counting::new(Plain::new(plan.slots));
    let expected = run(plan, &mut plain, &given, &mut tracer, go).unwrap();
    agree(plan, &plain, &tracer);

    let client = Client::new(plan);
    let bootstrapper = plan.bootstrapper(client.evaluator().encoder()).unwrap();
    let encrypted: BTreeMap<String, Ciphertext> = given
        .iter()
        .map(|(name, x)| (name.clone(), client.encrypt(plan, name, x)))
        .collect();
    let mut ckks = Counting::new(Ckks::with_bootstrapper(client.evaluator(), bootstrapper));
    let mut tracer = Tracer::new();
    let found = run(plan, &mut ckks, &encrypted, &mut tracer, go).unwrap();
    agree(plan, &ckks, &tracer);
    for (name, value) in &found {
        assert!(
            largest_error(&client.decrypt(value), &expected[name]) < 1e-2,
            "{name}"
        );
    }
}

#[test]
fn a_leveled_plan_with_linear_maps_is_counted_right() {
    let mut g = Graph::new(1 << 8);
    let (x, y) = (g.input("x"), g.input("y"));
    let z = busy(&mut g, x, y);
    g.output("z", z);
    let plan = compile_for(&g, "busy", &common::toy_params_INSECURE(9, 6)).unwrap();
    check(&plan);
    // What is shared within maps is known without a plan.
    let (profile, own) = (profile(&g).unwrap(), plan.summary().unwrap());
    assert_eq!(
        (
            profile.depth,
            profile.counts.key_switches,
            profile.counts.rotations
        ),
        (own.depth, own.key_switches, own.rotations)
    );
    // By hand, of the first two maps, with 4 baby steps: x is rotated by 1, 2 and 3, y by 3, both maps together; the first
    // has giant steps 0 to 2, the second -3 to 0. The third rotates y by 5. Then come three rotations of sums.
    assert_eq!(own.rotations, (3 + 1) + 2 + 3 + 1 + 3);
    assert_eq!(own.hoisted_rotations, 3 + 2);
}

/// The chain of the preset on a small ring, with 4 levels for the plan: 3 to 7.
fn small_INSECURE(log_n: u32) -> Params {
    let mut literal = BootstrapPreset::N16.params();
    literal.log_n = log_n;
    literal.log_q.drain(7..18);
    Params::new_INSECURE(&literal).unwrap()
}

#[test]
fn a_plan_with_linear_maps_and_bootstraps_is_counted_right() {
    let mut g = Graph::new(1 << 8);
    let (x, y) = (g.input("x"), g.input("y"));
    let z = busy(&mut g, x, y);
    let raised = g.scope("layer0", "bootstrap", |g| g.cut(&[z, x]));
    let z = busy(&mut g, raised[0], raised[1]);
    g.output("z", z);
    let options = CompileOptions {
        bootstrap: Some(BootstrapPreset::N16.bootstrap(8)),
        price: None,
    };
    let plan = compile_with(&g, "deep", &small_INSECURE(9), &options).unwrap();
    assert_eq!(plan.summary().unwrap().bootstrap.unwrap().count, 2);
    check(&plan);
}

#[test]
fn a_plan_without_one_of_its_keys_does_not_run() {
    let mut g = Graph::new(1 << 8);
    let (x, y) = (g.input("x"), g.input("y"));
    let z = busy(&mut g, x, y);
    g.output("z", z);
    let plan = compile_for(&g, "busy", &common::toy_params_INSECURE(9, 6)).unwrap();
    let given = inputs(&plan);
    for key in plan.step_keys.keys() {
        let mut poorer = plan.clone();
        poorer.step_keys.remove(key);
        let client = Client::new(&poorer);
        let encrypted = given
            .iter()
            .map(|(name, x)| (name.clone(), client.encrypt(&plan, name, x)));
        let refused = run_on(&plan, &mut Ckks::new(client.evaluator()), encrypted.collect());
        assert!(refused.is_err(), "{key:?} is not needed");
    }
}
