"""Write models/sentiment/: weights, config, tokenizer, test split and golden outputs."""

import copy
import json
import tarfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import data
from model import DOUBLINGS, EPSILON, MIN_QUADRATIC, Classifier

SOURCE = "vaderSentiment==3.3.2"

# exported name -> attribute of Classifier; names follow Hugging Face's BERT
LAYER = "encoder.layer.0."
SERVER = {
    LAYER + "attention.self.query": "attention.query",
    LAYER + "attention.self.key": "attention.key",
    LAYER + "attention.self.value": "attention.value",
    LAYER + "attention.output.dense": "attention.output",
    LAYER + "norm": "norm",
    LAYER + "intermediate.dense": "up",
    LAYER + "output.dense": "down",
    "classifier": "classifier",
}
CLIENT = {
    "embeddings.word_embeddings.weight": "table",
    "embeddings.position_embeddings.weight": "position",
    "embeddings.LayerNorm.weight": "norm.weight",
    "embeddings.LayerNorm.bias": "norm.bias",
}

GOLDEN = [
    "",
    "I love this movie.",
    "I hated every minute of it.",
    "Not bad at all, actually quite good!",
    "The battery died after two days and the company refused a refund.",
    "A gorgeous, witty, seductive movie.",
    "@anonymous YAY!!! best birthday ever :D",
    "so tired... worst monday of my life :(",
    "😀 What a wonderful day 🎉🎉",
    "😡💔",
    "The committee will meet again on Tuesday to discuss the budget.",
    "Crème brûlée à la carte: déjà vu, naïve, Ünïcödé.",
    "这部电影非常好看",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "a\tb\nc   d \u200b e &amp; <b>bold</b> 100% $5.99 http://example.com/?q=1",
    "The plot was thin and the acting was uneven, but somewhere around the second hour "
    "I stopped caring about either, because the photography is stunning, the music is superb, "
    "and the last scene alone is worth the price of the ticket, twice. " * 4,
]


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def attribute(model, path):
    for part in path.split("."):
        model = getattr(model, part)
    return model


def server_tensors(model):
    tensors = {}
    for name, path in SERVER.items():
        module = attribute(model, path)
        for kind in ("weight", "bias", "running_mean", "running_var"):
            if hasattr(module, kind):
                tensors[f"{name}.{kind}"] = getattr(module, kind)
    tensors[LAYER + "attention.self.shift"] = model.attention.shift
    for name in "abc":
        tensors[f"{LAYER}activation.{name}"] = getattr(model.activation, name)
    return {name: t.detach().float().contiguous() for name, t in tensors.items()}


def client_tensors(model):
    tensors = {name: attribute(model.embeddings, path) for name, path in CLIENT.items()}
    tensors = {name: t.detach().float().contiguous() for name, t in tensors.items()}
    tensors["embeddings.word_embeddings.weight"] = tensors["embeddings.word_embeddings.weight"].half()
    return tensors


def config_json(model, calibration, margins):
    def pair(r, digits=6):
        return [round(float(r[:, 0].min()), digits), round(float(r[:, 1].max()), digits)]

    ranges = [[float(np.float32(v)) for v in row] for row in model.attention.ranges.tolist()]
    names = ("x", "q", "k", "v", "scores", "o", "x1", "norm", "pre_activations", "x2", "pooled", "logits")
    observed = {name: pair(calibration[name]) for name in names}
    observed["denominators"] = [[[round(v, 6) for v in row] for row in calibration["denominators"].tolist()]]
    dim = model.up.in_features
    return {
        "architectures": ["PowerSoftmaxForSequenceClassification"],
        "model_type": "power_softmax_classifier",
        "hidden_size": dim,
        "num_hidden_layers": 1,
        "num_attention_heads": model.attention.n_heads,
        "intermediate_size": model.hidden_dim,
        "max_position_embeddings": data.SEQ_LEN,
        "vocab_size": len(model.embeddings.table),
        "num_labels": 2,
        "id2label": {"0": "negative", "1": "positive"},
        "label2id": {"negative": 0, "positive": 1},
        "hidden_act": "quadratic",
        "norm": "batch_norm_folded",
        "attention": {"power": 2, "epsilon": EPSILON},
        "reciprocal": {"kind": "chebyshev_doubling", "doublings": DOUBLINGS, "ranges": [ranges]},
        "layer_norm_eps": model.embeddings.norm.eps,
        "batch_norm_eps": model.norm.eps,
        "min_quadratic_coefficient": MIN_QUADRATIC,
        "pad_token_id": data.PAD,
        "unk_token_id": data.UNK,
        "cls_token_id": data.CLS,
        "sep_token_id": data.SEP,
        "torch_dtype": "float32",
        "calibration": {
            "data": "train, neutral and dev sentences; scores include the shift; "
            "denominators per layer and head, before the margin",
            "margin": {"below": margins[0], "above": margins[1]},
            "observed": observed,
        },
    }


def load(folder, words, trained):
    """The exported model in float64, read back from its files: F16/F32 values, nothing else."""
    config = json.loads((folder / "config.json").read_text())
    model = Classifier(
        "power", words, trained, dim=config["hidden_size"],
        n_heads=config["num_attention_heads"], hidden_dim=config["intermediate_size"],
    ).double().eval()
    server = load_file(folder / "model.safetensors")
    client = load_file(folder / "embeddings.safetensors")
    with torch.no_grad():
        for name, expected in server_tensors(model).items():
            assert server[name].shape == expected.shape, name
        for name, path in SERVER.items():
            module = attribute(model, path)
            for kind in ("weight", "bias", "running_mean", "running_var"):
                if hasattr(module, kind):
                    getattr(module, kind).copy_(server[f"{name}.{kind}"].double())
        model.attention.shift.copy_(server[LAYER + "attention.self.shift"].double())
        for name in "abc":
            getattr(model.activation, name).copy_(server[f"{LAYER}activation.{name}"].double())
        model.embeddings.table = client["embeddings.word_embeddings.weight"].double()
        model.embeddings.position.copy_(client["embeddings.position_embeddings.weight"].double())
        model.embeddings.norm.weight.copy_(client["embeddings.LayerNorm.weight"].double())
        model.embeddings.norm.bias.copy_(client["embeddings.LayerNorm.bias"].double())
    model.attention.ranges = torch.tensor(config["reciprocal"]["ranges"][0], dtype=torch.float64)
    return model


def with_division(model):
    model = copy.deepcopy(model)
    model.attention.ranges = None
    return model


@torch.no_grad()
def golden(model, tokenizer):
    ids = torch.from_numpy(data.encode(tokenizer, GOLDEN))
    exact, polynomial = with_division(model)(ids), model(ids)
    return {
        "description": "float64 forward pass of the exported F16/F32 values",
        "cases": [
            {"text": t, "input_ids": i, "logits_exact_division": e, "logits_polynomial": p}
            for t, i, e, p in zip(GOLDEN, ids.tolist(), exact.tolist(), polynomial.tolist())
        ],
    }


def export(model, corpus, calibration, margins, folder):
    """Everything except results.json. Returns the model read back in float64."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(server_tensors(model), folder / "model.safetensors", metadata={"format": "pt"})
    save_file(client_tensors(model), folder / "embeddings.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", config_json(model, calibration, margins))
    for name in ("model.safetensors", "embeddings.safetensors"):
        (folder / name).chmod(0o644)
    (folder / "tokenizer.json").write_text(data.tokenizer_json(corpus.cache), encoding="utf-8")
    rows = [f"{s.id}\t{s.domain}\t{s.label}\t{s.text}\n" for s in corpus.sentences["test"]]
    (folder / "test.tsv").write_text("id\tdomain\tlabel\ttext\n" + "".join(rows), encoding="utf-8")
    with tarfile.open(data.package(SOURCE, corpus.cache)) as sdist:
        mit = sdist.extractfile("vaderSentiment-3.3.2/LICENSE.txt").read().decode()
    (folder / "DATA_LICENSE").write_text(NOTICE + mit.replace("\r", "").rstrip() + "\n", encoding="utf-8")
    loaded = load(folder, corpus.words.double(), corpus.trained)
    write_json(folder / "golden.json", golden(loaded, data.load_tokenizer(corpus.cache)))
    return loaded


NOTICE = """\
test.tsv is a part (the held-out 20 %) of the ground-truth data of VADER, as distributed in the
source package vaderSentiment 3.3.2 (additional_resources/hutto_ICWSM_2014.tar.gz):

  Hutto, C.J. & Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment
  Analysis of Social Media Text. Eighth International Conference on Weblogs and Social Media
  (ICWSM-14). Ann Arbor, MI, June 2014.

The human ratings are theirs, and so is the collection. The texts were written by others: movie
review snippets (rotten.tomatoes.com; Pang & Lee 2004), Amazon product reviews (Hu & Liu 2004),
New York Times opinion editorials, and tweets with user names replaced.
Changes made here: HTML entities decoded, white space collapsed, duplicates and near-neutral
sentences (|mean rating| < 0.5) removed, mean ratings replaced by a label (1 positive, 0 negative).

The licence of the package follows.

"""
