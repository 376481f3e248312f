"""The model card, from results.json."""

from statistics import mean, stdev


def row(name, seeds, key, factor, digits):
    values = [factor * s[key] for s in seeds]
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"| {name} | {mean(values):.{digits}f}{spread} | {' / '.join(f'{v:.{digits}f}' for v in values)} |"


def seeds_table(r):
    """Test accuracies, or perplexities of a model of next tokens, and what they say; the `remark` that somebody put into the results."""
    e, base, test = r["exported"], r["baseline"], r["splits"]["test"]
    rows = (("softmax twin (layer norm, GELU)", "twin"), ("polynomial model, exact division", "exact"),
            ("polynomial model, reciprocal polynomial", "polynomial"))
    if "test_perplexity" in e:
        key, factor, digits, what = "test_perplexity", 1, 3, f"test perplexity per character, {test} windows of {r['shape']['seq_len']}"
        bases = [f"| {base['name']} (Witten-Bell) | {base['test_perplexity']:.3f} | |"]
        gap = f"Polynomial minus twin: {mean(x[key] for x in r['polynomial']) - mean(x[key] for x in r['twin']):+.3f}."
        best = f"perplexity {e[key]:.3f}, {100 * e['test']:.1f} % of the next characters right on test"
    else:
        key, factor, digits, what = "test", 100, 1, f"test accuracy, {test} inputs"
        bases = [f"| majority class | {100 * r['majority']:.1f} | |", f"| {base['name']} | {100 * base['test']:.1f} | |"]
        gap = f"Polynomial minus twin: {100 * (mean(x[key] for x in r['polynomial']) - mean(x[key] for x in r['twin'])):+.1f} points."
        best = f"{100 * e['test']:.1f} on test"
    lines = [f"| {what} | mean of seeds | each |", "|---|---|---|", *bases, *(row(name, r[k], key, factor, digits) for name, k in rows)]
    remark = f"\n{r['remark']}" if "remark" in r else ""
    return "\n".join(lines) + f"\n\n{gap} The folder holds seed {e['seed']}, the best on dev ({best}).{remark}"


def domains_table(r):
    """Test accuracy by domain, where the data set has some."""
    if "test_by_domain" not in r["exported"]:
        return ""
    names = list(r["exported"]["test_by_domain"])
    line = lambda what, of: f"| {what} | " + " | ".join(f"{100 * of(name):.1f}" for name in names) + " |\n"
    seeds = lambda key: lambda name: mean(s["test_by_domain"][name] for s in r[key])
    return (f"\n| test accuracy | {' | '.join(names)} |\n|---{'|---' * len(names)}|\n" + line("softmax twin, mean of seeds", seeds("twin"))
            + line("polynomial model, mean of seeds", seeds("polynomial")) + line("the folder", r["exported"]["test_by_domain"].get))


def baseline_note(task, r):
    if task.shape.next_token:
        return ("Counts are as honest a competitor as the twin: this model shows that next tokens can be predicted under encryption, "
                "not that one of this size beats counting.")
    seen = f"The transformer sees the first {task.shape.seq_len} tokens, the baseline the whole text. " * (not task.patch)
    return seen + ("The linear baseline is as honest a competitor as the twin: this model shows that the mechanism works, not that "
                   "it is needed here.")


def encrypted(r, name):
    """The table of `evaluate --json`, and what an evaluation costs."""
    found = r.get("evaluated")
    if not found or not found["encrypted"]:
        return "Not measured yet."
    e, clear, ms = found["encrypted"], found["clear"], found["encrypted"]["evaluate"]
    perplexity = "perplexity" in e["score"]
    percent = lambda v: f"{100 * v:.2f} %"

    def line(what, s, compared):
        cells = [what, str(s["inputs"]), percent(s["accuracy"]), *(f"{s[k]:.3f}" for k in ("perplexity",) if k in s),
                 percent(s["agreement"]) if compared else "", f"{s['max_error']:.1e}" if compared else ""]
        return "| " + " | ".join(cells) + " |"

    head = ["", "inputs", "right", *(["perplexity"] * perplexity), "same label as the row above", "largest error of a logit"]
    table = "\n".join([
        "| " + " | ".join(head) + " |", "|---" * len(head) + "|",
        line("exact division", clear["exact"], False), line("polynomial", clear["polynomial"], True),
        line("polynomial, these inputs", e["polynomial"], False), line("encrypted", e["score"], True)])
    machine, part = found["machine"], f" --clear {clear['exact']['inputs']}" * (clear["exact"]["inputs"] < r["splits"]["test"])
    return f"""{table}

Depth {e['depth']}{f" between {e['bootstraps']} bootstraps" * (e['bootstraps'] > 0)}. Predicted {e['predicted_ms'] / 1e3:.1f} s; measured {ms['median_ms'] / 1e3:.1f} s in the
median of {len(ms['runs_ms'])} ({ms['min_ms'] / 1e3:.1f} to {ms['max_ms'] / 1e3:.1f} s) on {machine['cpu']}, {found['threads']} threads, other programs running.
Evaluation keys {e['upload_bytes'] / 1e6:.0f} MB, once; request {e['request_bytes'] / 1e6:.2f} MB, reply {e['reply_bytes'] / 1e6:.2f} MB.

```sh
polynomial-transformers {name} --split {name}.tsv
cargo run --release -p benches --bin evaluate -- --model {name} --split {name}.tsv{part} --encrypted {e['score']['inputs']} --json > {name}.json
polynomial-transformers {name} --evaluated {name}.json
```"""


def card(task, name, r):
    s, e = task.shape, r["exported"]
    conditions = "\n".join(
        f"| {c['layer']} | {max(c['fit']):.1f} | {max(c['test']):.1f} | {2 ** c['doublings'] - 1} |" for c in e["conditions"])
    odd = e["strange_inputs"]
    largest = "some answers are not finite" if odd["largest_logit"] is None else (
        f"{odd.get('not_finite', 0)} answers are not finite, the largest logit of the others is {odd['largest_logit']:.1f}")
    kind = "Characters at random" if s.next_token else "Pixels of noise" if task.patch else "Tokens of random words"
    return f"""# {task.title}

{s.n_layers} layer{'s' * (s.n_layers > 1)}, {s.dim} features, {s.n_heads} heads, feed-forward {s.hidden_dim}, {s.seq_len} positions; {'causal ' * s.causal}PowerSoftmax with
p = {s.power}, {s.norm.replace('_', ' ')} ({s.norm_position}), {s.activation} activation. {e['server_parameters']:,} weights on the server.

{seeds_table(r)}
{baseline_note(task, r)}
{domains_table(r)}
## Encrypted

{encrypted(r, name)}

## Ranges

Denominators seen on train and dev, widened by {s.margin} on either side. Condition number = hi/lo of the widest head.

| layer | of the range | seen on test | degree of 1/x |
|---|---|---|---|
{conditions}

Test inputs with a denominator outside its range: {e['test_inputs_outside_range']}. Labels equal to those of the exact division:
{100 * e['agreement_with_division']:.2f} %; largest difference of a logit {e['largest_logit_difference']:.4f}. {kind}, {odd['inputs']}
inputs: {odd['outside_range']} have a denominator outside its range; {largest}.
Far outside of its range a polynomial grows and the answer means nothing; nothing in the encrypted evaluation notices.
{task.notes and chr(10) + task.notes}
## Licences

{task.licence}

## Reproduce

```sh
cd models/training
python3 -m venv .venv && .venv/bin/pip install .
.venv/bin/polynomial-transformers {name}
```
"""
