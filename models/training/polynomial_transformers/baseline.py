"""What simple models make of the same split."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from .data import IGNORED, PAD


def linear(own):
    """TF-IDF(1,2) of the whole texts, or pixels; logistic regression, its strength chosen on dev. Where there are soft
    targets, ridge regression on their log-odds instead: it knows what the transformer knows."""
    y = {s: v.numpy() for s, v in own.labels.items()}
    if own.texts:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=own.counted)
        x = {"train": vectorizer.fit_transform(own.texts["train"])}
        x.update({s: vectorizer.transform(own.texts[s]) for s in ("dev", "test")})
        strengths, name = (1.0, 4.0, 16.0), "TF-IDF and logistic regression, whole texts"
    else:
        x = {s: v.numpy() / 255 for s, v in own.inputs.items()}
        x["train"], y["train"] = x["train"][:10000], y["train"][:10000]
        strengths, name = (0.01, 0.1), "logistic regression on the pixels of 10,000 images"
    if own.soft is None:
        fits = ((c, LogisticRegression(C=c, max_iter=500).fit(x["train"], y["train"]).predict) for c in strengths)
    else:
        name, log_odds = "TF-IDF and ridge regression on the log-odds, whole texts", own.soft[:, 1].double().logit().numpy()
        ridges = ((a, Ridge(alpha=a).fit(x["train"], log_odds)) for a in (0.5, 1.0, 2.0, 4.0))
        fits = ((a, lambda v, ridge=ridge: ridge.predict(v) > 0) for a, ridge in ridges)
    share = lambda predict, split: float((predict(x[split]) == y[split]).mean())
    found = [{"name": name, "dev": share(fit, "dev"), "test": share(fit, "test"), "strength": s} for s, fit in fits]
    return max(found, key=lambda f: f["dev"])


def ngrams(own, outputs, longest=7):
    """Perplexity of next tokens by counts of what followed up to `longest` tokens, each length smoothed by the shorter
    one (Witten-Bell); the order that is best on dev. It sees the same windows as the transformer."""

    def coded(split, order):
        """Contexts of `order` tokens as numbers, and what follows; None where the window is too short."""
        x, y = own.inputs[split].numpy(), own.labels[split].numpy()
        code = np.zeros_like(x)
        for back in range(order):
            code[:, back:] = code[:, back:] + (x[:, : x.shape[1] - back] + 1) * (outputs + 1) ** back
            code[:, :back] = -1
        return code, y

    def probabilities(split):
        p = np.full(own.labels[split].shape, 1 / outputs)
        for order in range(longest + 1):
            code, y = coded("train", order)
            known = (y != IGNORED) & (own.inputs["train"].numpy() != PAD) & (code >= 0)
            contexts, totals = np.unique(code[known], return_counts=True)
            pairs, counts = np.unique(code[known] * outputs + y[known], return_counts=True)
            kinds = np.bincount(np.searchsorted(contexts, pairs // outputs), minlength=len(contexts))
            code, y = coded(split, order)
            look = lambda keys, values, wanted: np.where(
                keys[at := np.searchsorted(keys, wanted).clip(max=len(keys) - 1)] == wanted, values[at], 0)
            total, kind = look(contexts, totals, code), look(contexts, kinds, code)
            count = look(pairs, counts, code * outputs + y)
            p = np.where(total > 0, (count + kind * p) / np.maximum(total + kind, 1), p)
            yield float(np.exp(-np.log(p).mean()))

    dev, test = list(probabilities("dev")), list(probabilities("test"))
    best = int(np.argmin(dev))
    return {"name": f"counts of {best + 1} characters", "dev_perplexity": dev[best], "test_perplexity": test[best], "orders": test}
