//! What holds after every pass, checked in debug builds: a pass that breaks it is named, not the step that fails much
//! later.

use std::collections::{BTreeMap, BTreeSet};

use super::{Scaled, Scheduled, Span, validate};
use crate::graph::facts::{Debt, Facts, Level, owing};
use crate::graph::op::PerNode;
use crate::graph::{Graph, NodeId, Op, Plan};
use crate::rlwe::Params;
use crate::{Error, Result};

/// What does not hold, in words.
type Check = std::result::Result<(), String>;

/// How far a graph has come; every stage promises what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::graph) enum Stage {
    /// As circuits write it.
    Given,
    /// It is known where it bootstraps.
    Placed,
    /// Who needs a rescaled value reads one.
    Rescaled,
    /// Who needs two parts reads two.
    Relinearized,
    /// Operands have the level and the scale of their operation.
    Scaled,
}

/// Relative difference of scales that is rounding.
const TOLERANCE: f64 = 1e-9;

/// Runs a check of what `pass` left, in debug builds.
///
/// # Errors
/// [`Error::Pass`] with its name.
pub(in crate::graph) fn after(pass: &'static str, check: impl FnOnce() -> Check) -> Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    check().map_err(|reason| Error::Pass { pass, reason })
}

/// The form of a graph: operands before their users, operations that belong to the stage, no debt where none is allowed.
pub(in crate::graph) fn verify(graph: &Graph, stage: Stage) -> Check {
    validate(graph).map_err(|error| error.to_string())?;
    for (id, node) in graph.numbered() {
        let facts = node.op.facts();
        let (from, until) = match (facts, &node.op) {
            (_, Op::Cut(..)) => (Stage::Given, Stage::Given),
            (_, Op::Decide(..)) => return Err(format!("{id} is a decision, which belongs to plans")),
            (
                Facts {
                    level: Level::Dropped(_) | Level::Aligned(_),
                    ..
                },
                _,
            ) => (Stage::Scaled, Stage::Scaled),
            (
                Facts {
                    relinearization: Debt::Pays,
                    ..
                },
                _,
            ) => (Stage::Relinearized, Stage::Scaled),
            (
                Facts {
                    rescale: Debt::Pays, ..
                },
                _,
            ) => (Stage::Rescaled, Stage::Scaled),
            _ => (Stage::Given, Stage::Scaled),
        };
        if !(from..=until).contains(&stage) {
            return Err(format!("{id} is {}, in a graph that is {stage:?}", node.op));
        }
    }
    if stage >= Stage::Rescaled {
        debts(graph, |facts| facts.rescale, "rescale", false)?;
    }
    if stage >= Stage::Relinearized {
        debts(graph, |facts| facts.relinearization, "relinearisation", true)?;
    }
    Ok(())
}

/// Debts are owed where they may be, and paid where they are owed. `mixed`: sums may add what owes and what does not.
fn debts(graph: &Graph, debt: fn(&Facts) -> Debt, what: &str, mixed: bool) -> Check {
    let owes = owing(graph.nodes().iter().map(|node| &node.op), debt);
    for (id, node) in graph.numbered() {
        let (args, own) = (node.op.args(), debt(&node.op.facts()));
        let (owing, settled): (Vec<NodeId>, Vec<NodeId>) = args.into_iter().partition(|arg| owes[*arg]);
        let problem = match own {
            Debt::Refuses | Debt::Makes => owing
                .first()
                .map(|arg| format!("reads {arg}, which owes a {what}")),
            Debt::Pays => settled
                .first()
                .map(|arg| format!("pays a {what} that {arg} does not owe")),
            Debt::Passes | Debt::Defers => match (owing.first(), settled.first()) {
                (Some(a), Some(b)) if !mixed => Some(format!(
                    "reads {a}, which owes a {what}, and {b}, which owes none"
                )),
                _ => None,
            },
        };
        if let Some(problem) = problem {
            return Err(format!("{id} ({}) {problem}", node.op.name()));
        }
    }
    match graph.outputs().iter().find(|(_, value)| owes[*value]) {
        Some((name, value)) => Err(format!("output {name} is {value}, which owes a {what}")),
        None => Ok(()),
    }
}

/// Levels of results against those of operands. Before alignments are inserted operands may be above the level at which
/// they are needed; `exact` says that none is.
pub(in crate::graph) fn verify_levels(
    graph: &Graph,
    levels: &PerNode<usize>,
    span: Span,
    exact: bool,
) -> Check {
    if levels.len() != graph.nodes().len() {
        return Err(format!(
            "{} levels of {} values",
            levels.len(),
            graph.nodes().len()
        ));
    }
    let at = |id: NodeId, needed: usize, user: &str| {
        if levels[id] == needed || (!exact && levels[id] > needed) {
            Ok(())
        } else {
            Err(format!(
                "{user} needs {id} at level {needed}, where it has level {}",
                levels[id]
            ))
        }
    };
    let mut inputs = BTreeSet::new();
    for (id, node) in graph.numbered() {
        let (own, user) = (levels[id], format!("{id} ({})", node.op.name()));
        let right = match node.op.facts().level {
            Level::Same | Level::Below => own >= span.bottom,
            Level::Fresh => own == span.top,
            Level::Dropped(to) | Level::Aligned(to) => {
                own == to && node.op.args().iter().all(|arg| levels[*arg] > to)
            }
        };
        if !right {
            return Err(format!(
                "{user} has level {own} between {} and {}",
                span.bottom, span.top
            ));
        }
        match node.op.facts().level {
            Level::Dropped(_) | Level::Aligned(_) => {}
            Level::Fresh => node
                .op
                .args()
                .into_iter()
                .try_for_each(|arg| at(arg, span.bottom, &user))?,
            Level::Same | Level::Below => {
                let needed = node.op.operand_level(own);
                node.op
                    .args()
                    .into_iter()
                    .try_for_each(|arg| at(arg, needed, &user))?;
            }
        }
        if matches!(node.op, Op::Input { .. }) {
            inputs.insert(own);
        }
    }
    if inputs.len() > 1 {
        return Err(format!("inputs enter at levels {inputs:?}"));
    }
    let mut outputs = graph.outputs().iter();
    outputs.try_for_each(|(name, value)| at(*value, span.bottom, &format!("output {name}")))
}

/// Every scale against those of the operands.
pub(in crate::graph) fn verify_scales(scaled: &Scaled, params: &Params) -> Check {
    let Scaled {
        graph,
        levels,
        scales,
        plain_scales,
    } = scaled;
    let same = |a: f64, b: f64| (a / b - 1.0).abs() < TOLERANCE;
    for (id, node) in graph.numbered() {
        let (facts, args) = (node.op.facts(), node.op.args());
        let operands: Vec<f64> = args.iter().map(|arg| scales[*arg]).collect();
        if let Some(at) = operands
            .windows(2)
            .position(|pair| !matches!(pair, [a, b] if same(*a, *b)))
        {
            return Err(format!(
                "{id} ({}) has operands of different scales at place {at}",
                node.op.name()
            ));
        }
        let canonical = params.scale(levels[id]).map_err(|error| error.to_string())?;
        let expected = match operands.first() {
            Some(scale) if !node.op.is_fresh() => {
                let square = if facts.relinearization == Debt::Makes {
                    *scale
                } else {
                    1.0
                };
                let divided = match facts.level {
                    Level::Below | Level::Aligned(_) => match params.moduli().nth(levels[id] + 1) {
                        Some(prime) => prime.value() as f64,
                        None => return Err(format!("{id} divides by a prime that is not there")),
                    },
                    _ => 1.0,
                };
                scale * square * plain_scales[id] / divided
            }
            _ => canonical,
        };
        if !same(scales[id], expected) {
            return Err(format!(
                "{id} ({}) has scale 2^{:.6}, its operands make 2^{:.6}",
                node.op.name(),
                scales[id].log2(),
                expected.log2()
            ));
        }
    }
    Ok(())
}

/// Every node once, after its operands; groups in one piece.
pub(in crate::graph) fn verify_order(graph: &Graph, order: &[Scheduled]) -> Check {
    let mut done = PerNode::from(vec![false; graph.nodes().len()]);
    let mut groups = BTreeSet::new();
    let mut last = None;
    for Scheduled { node: id, group } in order {
        if std::mem::replace(&mut done[*id], true) {
            return Err(format!("{id} is done twice"));
        }
        if let Some(arg) = graph.node(*id).op.args().into_iter().find(|arg| !done[*arg]) {
            return Err(format!("{id} comes before {arg}, which it reads"));
        }
        if let Some(group) = group.filter(|_| *group != last)
            && !groups.insert(group)
        {
            return Err(format!("group {group} is in two pieces, the second at {id}"));
        }
        last = *group;
    }
    match done.iter().position(|done| !done) {
        Some(lost) => Err(format!("{} is never done", NodeId(lost))),
        None => Ok(()),
    }
}

/// Every value is there when it is read and freed once; every key is there at the level of its uses.
pub(in crate::graph) fn verify_plan(plan: &Plan) -> Check {
    let mut alive = PerNode::from(vec![false; plan.steps.len()]);
    for (index, step) in plan.steps.iter().enumerate() {
        let id = NodeId(index);
        if let Some(arg) = step
            .op
            .args()
            .into_iter()
            .find(|arg| arg.index() >= index || !alive[*arg])
        {
            return Err(format!(
                "{id} ({}) reads {arg}, which is not there",
                step.op.name()
            ));
        }
        alive[id] = true;
        if let Some(freed) = step
            .frees
            .iter()
            .find(|freed| !std::mem::replace(&mut alive[**freed], false))
        {
            return Err(format!(
                "{id} ({}) frees {freed}, which is not there",
                step.op.name()
            ));
        }
    }
    if let Some(port) = plan.outputs.iter().find(|port| !alive[port.value]) {
        return Err(format!("output {} is {}, which is freed", port.name, port.value));
    }
    let keys: BTreeMap<_, _> = plan.keys().iter().collect();
    for (purpose, levels) in plan.key_uses() {
        let (needed, found) = (levels.last(), keys.get(&purpose));
        if needed > found {
            let there = found.map_or("is none".to_owned(), |level| format!("is one of level {level}"));
            return Err(format!(
                "the key for {} is used at levels {levels:?}, there {there}",
                purpose.describe(&plan.params)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{assign_levels, assign_scales, schedule};
    use super::*;
    use crate::graph::{Graph, compile_for};
    use crate::rlwe::ParamsLiteral;

    const BUG: &str = "a bug of he-ops, please report it: after ";

    /// What is said of what `pass` left.
    fn refusal(pass: &'static str, check: Check) -> String {
        after(pass, || check).map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    fn refused(found: &str, pass: &str, reason: &str) {
        assert_eq!(found, format!("{BUG}{pass}, {reason}"));
    }

    fn params() -> Params {
        Params::new_INSECURE(&ParamsLiteral {
            log_n: 9,
            log_q: vec![45, 35, 35, 35],
            log_p: vec![45, 45],
            log_scale: 35,
        })
        .unwrap()
    }

    /// x^2 rotated, as the passes that do not know the parameters leave it.
    fn lowered() -> Graph {
        let mut g = Graph::new(1 << 8);
        let x = g.input("x");
        let square = g.square(x);
        let low = g.push_as(Op::RelinearizeRescale(square), 0);
        let turned = g.rotate(low, 1);
        g.output("y", turned);
        assert_eq!(verify(&g, Stage::Relinearized), Ok(()));
        g
    }

    #[test]
    fn a_value_of_another_graph_and_an_operation_out_of_its_stage_are_refused() {
        let mut g = Graph::new(8);
        let x = g.input("x");
        let sum = g.push_as(Op::Add(x, NodeId(7)), 0);
        g.output("y", sum);
        let found = refusal("remove_dead_code", verify(&g, Stage::Given));
        let reason = "graph: %1 (add) uses %7, which belongs to another graph";
        refused(&found, "remove_dead_code", reason);

        let mut g = Graph::new(8);
        let x = g.input("x");
        let cut = g.cut(&[x]);
        g.output("y", cut[0]);
        assert_eq!(verify(&g, Stage::Given), Ok(()));
        let found = refusal("place_bootstraps", verify(&g, Stage::Placed));
        refused(
            &found,
            "place_bootstraps",
            "%1 is cut %0 number 0, in a graph that is Placed",
        );

        let early = lowered();
        let found = refusal("insert_rescale", verify(&early, Stage::Rescaled));
        refused(
            &found,
            "insert_rescale",
            "%2 is relinearize_rescale %1, in a graph that is Rescaled",
        );
    }

    #[test]
    fn debts_that_nobody_pays_or_nobody_owes_are_refused() {
        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let product = g.mul(x, y);
        let mut unpaid = g.clone();
        let conjugate = unpaid.conjugate(product);
        unpaid.output("z", conjugate);
        let found = refusal("insert_rescale", verify(&unpaid, Stage::Rescaled));
        refused(
            &found,
            "insert_rescale",
            "%3 (conjugate) reads %2, which owes a rescale",
        );

        let mut three_parts = g.clone();
        let low = three_parts.push_as(Op::Rescale(product), 0);
        three_parts.output("z", low);
        let found = refusal("insert_relinearize", verify(&three_parts, Stage::Relinearized));
        refused(
            &found,
            "insert_relinearize",
            "%3 (rescale) reads %2, which owes a relinearisation",
        );

        let mut twice = g.clone();
        let low = twice.push_as(Op::RelinearizeRescale(product), 0);
        let lower = twice.push_as(Op::Rescale(low), 0);
        twice.output("z", lower);
        let found = refusal("fuse_relinearize_rescale", verify(&twice, Stage::Relinearized));
        refused(
            &found,
            "fuse_relinearize_rescale",
            "%4 (rescale) pays a rescale that %3 does not owe",
        );

        let mut mixed = g.clone();
        let sum = mixed.add(product, x);
        let low = mixed.push_as(Op::Rescale(sum), 0);
        mixed.output("z", low);
        let found = refusal("insert_rescale", verify(&mixed, Stage::Rescaled));
        refused(
            &found,
            "insert_rescale",
            "%3 (add) reads %2, which owes a rescale, and %0, which owes none",
        );

        g.output("z", product);
        let found = refusal("insert_rescale", verify(&g, Stage::Rescaled));
        refused(&found, "insert_rescale", "output z is %2, which owes a rescale");
    }

    #[test]
    fn wrong_levels_are_refused() {
        let (g, span) = (lowered(), Span::default());
        let levels = assign_levels(&g, span);
        assert_eq!(levels.into_vec(), [1, 1, 0, 0]);
        let check = |levels: [usize; 4]| {
            let levels = levels.to_vec().into();
            refusal("assign_levels", verify_levels(&g, &levels, span, false))
        };
        assert_eq!(check([2, 1, 0, 0]), "accepted");
        let reason = "%2 (relinearize_rescale) needs %1 at level 1, where it has level 0";
        refused(&check([1, 0, 0, 0]), "assign_levels", reason);
        let few = PerNode::from(vec![1, 1, 0]);
        let found = refusal("assign_levels", verify_levels(&g, &few, span, false));
        refused(&found, "assign_levels", "3 levels of 4 values");
        // After alignments nothing may be above its level.
        let higher = vec![2, 1, 0, 0].into();
        let found = refusal("assign_scales", verify_levels(&g, &higher, span, true));
        refused(
            &found,
            "assign_scales",
            "%1 (square) needs %0 at level 1, where it has level 2",
        );

        let mut g = Graph::new(8);
        let (x, y) = (g.input("x"), g.input("y"));
        let fresh = g.bootstrap(x);
        let sum = g.add(fresh, y);
        g.output("z", sum);
        let span = Span { bottom: 1, top: 4 };
        let check = |levels: [usize; 4]| {
            let levels = levels.to_vec().into();
            refusal("assign_levels", verify_levels(&g, &levels, span, false))
        };
        assert_eq!(check([1, 1, 4, 1]), "accepted");
        refused(
            &check([1, 1, 3, 1]),
            "assign_levels",
            "%2 (bootstrap) has level 3 between 1 and 4",
        );
        refused(
            &check([2, 1, 4, 1]),
            "assign_levels",
            "inputs enter at levels {1, 2}",
        );
        refused(
            &check([1, 1, 4, 0]),
            "assign_levels",
            "%3 (add) has level 0 between 1 and 4",
        );
    }

    #[test]
    fn wrong_scales_are_refused() {
        let (g, params) = (lowered(), params());
        let mut scaled = assign_scales(&g, &assign_levels(&g, Span::default()), 0, &params).unwrap();
        assert_eq!(verify_scales(&scaled, &params), Ok(()));
        scaled.scales[NodeId(3)] *= 2.0;
        let found = refusal("assign_scales", verify_scales(&scaled, &params));
        assert!(
            found.contains("after assign_scales, %3 (rotate) has scale 2^36.000"),
            "{found}"
        );

        let mut g = Graph::new(1 << 8);
        let (x, y) = (g.input("x"), g.input("y"));
        let sum = g.add(x, y);
        g.output("z", sum);
        let mut scaled = assign_scales(&g, &assign_levels(&g, Span::default()), 0, &params).unwrap();
        scaled.scales[y] *= 2.0;
        let found = refusal("assign_scales", verify_scales(&scaled, &params));
        assert!(
            found.contains("after assign_scales, %1 (input) has scale"),
            "{found}"
        );
    }

    #[test]
    fn a_wrong_order_is_refused() {
        let g = lowered();
        let order = schedule(&g, &vec![1, 1, 0, 0].into(), &vec![1.0; 4].into());
        assert_eq!(verify_order(&g, &order), Ok(()));
        let check = |change: fn(&mut Vec<Scheduled>)| {
            let mut order = order.clone();
            change(&mut order);
            refusal("schedule", verify_order(&g, &order))
        };
        refused(
            &check(|order| order.swap(1, 2)),
            "schedule",
            "%2 comes before %1, which it reads",
        );
        refused(&check(|order| order.truncate(3)), "schedule", "%3 is never done");
        refused(
            &check(|order| order[3] = order[2]),
            "schedule",
            "%2 is done twice",
        );
        let two_pieces = check(|order| {
            order[0].group = Some(0);
            order[2].group = Some(0);
        });
        refused(
            &two_pieces,
            "schedule",
            "group 0 is in two pieces, the second at %2",
        );
    }

    #[test]
    fn values_that_are_gone_and_keys_that_are_missing_are_refused() {
        let mut g = Graph::new(1 << 8);
        let x = g.input("x");
        let square = g.square(x);
        let turned = g.rotate(square, 1);
        g.output("y", turned);
        let plan = compile_for(&g, "small", &params()).unwrap();
        assert_eq!(verify_plan(&plan), Ok(()));
        let check = |change: fn(&mut Plan)| {
            let mut plan = plan.clone();
            change(&mut plan);
            refusal("finish", verify_plan(&plan))
        };
        let early = check(|plan| plan.steps[0].frees.push(NodeId(0)));
        refused(&early, "finish", "%1 (square) reads %0, which is not there");
        let twice = check(|plan| plan.steps[2].frees.push(NodeId(0)));
        refused(
            &twice,
            "finish",
            "%2 (relinearize_rescale) frees %0, which is not there",
        );
        let output = check(|plan| plan.steps[3].frees.push(NodeId(3)));
        refused(&output, "finish", "output y is %3, which is freed");
        let low = check(|plan| {
            plan.step_keys.values_mut().for_each(|level| *level = 0);
        });
        let reason = "the key for relinearization is used at levels {1}, there is one of level 0";
        refused(&low, "finish", reason);
        let none = check(|plan| plan.step_keys.clear());
        let reason = "the key for relinearization is used at levels {1}, there is none";
        refused(&none, "finish", reason);
    }
}
