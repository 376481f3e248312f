"""Bag-of-words baselines on the same split: majority class, and TF-IDF + a linear model."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge


def tfidf(corpus):
    """Test accuracy of TF-IDF(1,2) models; their one strength parameter is chosen on dev."""
    texts = {n: [s.text for s in rows] for n, rows in corpus.sentences.items()}
    y = {n: corpus.labels(n).numpy() for n in ("train", "dev", "test")}

    def features(names):
        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"\w+|[^\w\s]+"
        )
        x = vectorizer.fit_transform([t for n in names for t in texts[n]])
        return x, vectorizer.transform(texts["dev"]), vectorizer.transform(texts["test"])

    def best(models, x, target, dev, test):
        scored = []
        for strength, model, label in models:
            model.fit(x, target)
            on = lambda z, name: float((label(model.predict(z)) == y[name]).mean())
            scored.append((on(dev, "dev"), on(test, "test"), strength))
        dev_accuracy, test_accuracy, strength = max(scored, key=lambda s: s[0])
        return {"dev": dev_accuracy, "test": test_accuracy, "strength": strength}

    x, dev, test = features(["train"])
    logistic = [
        (c, LogisticRegression(C=c, max_iter=2000), lambda p: p) for c in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    ]
    out = {"tfidf_logistic": best(logistic, x, y["train"], dev, test)}
    # The same extra information as the transformers get: the ratings, and near-neutral sentences.
    x, dev, test = features(["train", "neutral"])
    ratings = np.concatenate([corpus.ratings[n].numpy() for n in ("train", "neutral")])
    ridge = [(a, Ridge(alpha=a), lambda p: p > 0) for a in (0.5, 1.0, 2.0, 4.0)]
    out["tfidf_ridge_on_ratings"] = best(ridge, x, ratings, dev, test)
    return out


def majority(corpus):
    label = int(corpus.labels("train").float().mean() > 0.5)
    return {n: float((corpus.labels(n) == label).float().mean()) for n in ("dev", "test")}
