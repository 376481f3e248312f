"""One file with all that a distillation reads, so that it can run where there is no network.

    python bundle.py --out bundle.npz

Teacher and embeddings in half precision, and the texts as token ids without [CLS] and [SEP]: one run of ids for each corpus,
and where each text begins.
"""

import argparse
from pathlib import Path

import numpy as np
import texts
from polynomial_transformers.registry import minilm
from safetensors.numpy import load_file
from student import LENGTH
from tokenizers import Tokenizer

CORPORA = ("train", "held", "odd", "odd_held")


def tokenizer(folder):
    own = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    own.no_padding()
    own.enable_truncation(LENGTH)
    return own


def runs(ids):
    """Ids one after the other (int16), and where each text begins and the last one ends."""
    ids = [row[1:-1] for row in ids]
    starts = np.cumsum([0, *map(len, ids)])
    return np.concatenate([np.array(row, np.int16) for row in ids]), starts.astype(np.int32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    folder = minilm(args.cache)
    own = tokenizer(folder)
    # The token type is a constant, the pooler is not used, and no text is longer than LENGTH.
    teacher = {name: value for name, value in load_file(folder / "model.safetensors").items() if value.dtype == np.float32}
    positions = "embeddings.position_embeddings.weight"
    teacher[positions] = teacher[positions][:LENGTH]
    out = {name: value.astype(np.float16) for name, value in teacher.items() if "pooler" not in name}
    for name, corpus in zip(CORPORA, texts.corpus(args.cache)):
        out[name + ".ids"], out[name + ".starts"] = runs([e.ids for e in own.encode_batch(corpus)])
        print(f"{name}: {len(corpus)} texts, {len(out[name + '.ids'])} tokens", flush=True)
    np.savez_compressed(args.out, **out)


if __name__ == "__main__":
    main()
