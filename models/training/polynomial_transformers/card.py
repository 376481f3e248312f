"""The model card, from results.json."""

from statistics import mean, stdev


def row(name, seeds):
    test = [100 * s["test"] for s in seeds]
    spread = f" ± {stdev(test):.1f}" if len(test) > 1 else ""
    return f"| {name} | {mean(test):.1f}{spread} | {' / '.join(f'{v:.1f}' for v in test)} |"


def card(task, name, r):
    s, e, base = task.shape, r["exported"], r["baseline"]
    gap = 100 * (mean(x["test"] for x in r["polynomial"]) - mean(x["test"] for x in r["twin"]))
    conditions = "\n".join(
        f"| {c['layer']} | {max(c['fit']):.1f} | {max(c['test']):.1f} | {2 ** c['doublings'] - 1} |" for c in e["conditions"])
    return f"""# {task.title}

{s.n_layers} layer{'s' * (s.n_layers > 1)}, {s.dim} features, {s.n_heads} heads, feed-forward {s.hidden_dim}, {s.seq_len} positions; PowerSoftmax with
p = {s.power}, {s.norm.replace('_', ' ')} ({s.norm_position}), {s.activation} activation. {e['server_parameters']:,} weights on the server.

| test accuracy, {r['splits']['test']} inputs | mean of seeds | each |
|---|---|---|
| majority class | {100 * r['majority']:.1f} | |
| {base['name']} | {100 * base['test']:.1f} | |
{row('softmax twin (layer norm, GELU)', r['twin'])}
{row('polynomial model, exact division', r['exact'])}
{row('polynomial model, reciprocal polynomial', r['polynomial'])}

Polynomial minus twin: {gap:+.1f} points. The folder holds seed {e['seed']}, the best on dev ({100 * e['test']:.1f} on test).
{'The transformer sees the first ' + str(s.seq_len) + ' tokens, the baseline the whole text. ' * (not task.patch)}The linear baseline is as
honest a competitor as the twin: this model shows that the mechanism works, not that it is needed here.
Accuracy under encryption: not measured yet.

## Ranges

Denominators seen on train and dev, widened by {s.margin} on either side. Condition number = hi/lo of the widest head.

| layer | of the range | seen on test | degree of 1/x |
|---|---|---|---|
{conditions}

Test inputs with a denominator outside its range: {e['test_inputs_outside_range']}. Labels equal to those of the exact division:
{100 * e['agreement_with_division']:.2f} %; largest difference of a logit {e['largest_logit_difference']:.4f}. Of {e['strange_inputs']['inputs']} inputs
at random (tokens of random words, or pixels of noise) {e['strange_inputs']['outside_range']} have a denominator outside its range; the largest logit of all is
{e['strange_inputs']['largest_logit']:.1f}. Far outside of its range a polynomial grows and the answer means nothing; nothing in the encrypted
evaluation notices.

## Licences

{task.licence}

## Reproduce

```sh
cd models/training
python3 -m venv .venv && .venv/bin/pip install .
.venv/bin/polynomial-transformers {name} --out ../{name}
```
"""
