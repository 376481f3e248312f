"""What a linear model makes of the same split."""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression


def linear(own):
    """TF-IDF(1,2) of the whole texts, or pixels; logistic regression, its strength chosen on dev."""
    y = {s: v.numpy() for s, v in own.labels.items()}
    if own.texts:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        x = {"train": vectorizer.fit_transform(own.texts["train"])}
        x.update({s: vectorizer.transform(own.texts[s]) for s in ("dev", "test")})
        strengths, name = (1.0, 4.0, 16.0), "TF-IDF and logistic regression, whole texts"
    else:
        x = {s: v.numpy() / 255 for s, v in own.inputs.items()}
        x["train"], y["train"] = x["train"][:10000], y["train"][:10000]
        strengths, name = (0.01, 0.1), "logistic regression on the pixels of 10,000 images"
    best = None
    for c in strengths:
        model = LogisticRegression(C=c, max_iter=500).fit(x["train"], y["train"])
        found = {"name": name, "dev": float(model.score(x["dev"], y["dev"])), "test": float(model.score(x["test"], y["test"])), "strength": c}
        if best is None or found["dev"] > best["dev"]:
            best = found
    return best
