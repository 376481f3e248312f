"""The ground truth of VADER (Hutto & Gilbert, ICWSM 2014): sentences of four domains, each with the mean of about 20 ratings."""

import html
from dataclasses import dataclass

import torch

from .data import IGNORED, hashed, texts
from .registry import fetch

DOMAINS = {"movie": "movieReviewSnippets", "nyt": "nytEditorialSnippets", "amazon": "amazonReviewSnippets", "tweets": "tweets"}
MIN_RATING = 0.5  # a sentence whose mean rating is nearer to 0 is neither positive nor negative
SHARPNESS = 2.0  # of a rating r from -4 to 4 the target P(positive) is sigmoid(SHARPNESS r)


@dataclass(frozen=True)
class Sentence:
    id: str  # domain and the id in the original file, for example "amazon-1_1"
    domain: str
    rating: float

    @property
    def label(self):
        return IGNORED if abs(self.rating) < MIN_RATING else int(self.rating > 0)


def sentences(cache):
    """(text, sentence) in file order, entities decoded and white space collapsed."""
    folder = next(fetch("vader", cache).rglob("hutto_ICWSM_2014"))
    for domain, stem in DOMAINS.items():
        for line in (folder / f"{stem}_GroundTruth.txt").read_bytes().decode().split("\n"):
            fields = line.split("\t")
            if len(fields) >= 3:
                text = " ".join(html.unescape(" ".join(fields[2:])).split())
                yield text, Sentence(f"{domain}-{fields[0]}", domain, float(fields[1]))


def sentiment(cache, seq_len):
    """Near-neutral sentences are trained on, by their soft targets, but never evaluated."""
    rows = hashed(sentences(cache))
    rows = {split: [(t, s) for t, s in own if split == "train" or s.label != IGNORED] for split, own in rows.items()}
    own = texts(lambda _: (["negative", "positive"], {k: [(t, s.label) for t, s in v] for k, v in rows.items()}), cache, seq_len)
    positive = torch.sigmoid(SHARPNESS * torch.tensor([s.rating for _, s in rows["train"]]))
    own.soft = torch.stack([1 - positive, positive], 1)
    own.sources = {split: [(s.id, s.domain) for _, s in v] for split, v in rows.items()}
    own.counted = r"\w+|[^\w\s]+"  # signs tell as much as words
    return own


def licence(cache):
    """What must stand beside test.tsv."""
    mit = next(fetch("vader", cache).rglob("LICENSE.txt")).read_text(encoding="utf-8")
    return NOTICE + mit.replace("\r", "").rstrip() + "\n"


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

# Of the folder's card: what is not read off results.json.
NOTES = """\
## Data

The ground truth of VADER: movie review snippets, New York Times editorials, Amazon reviews and tweets, each with the mean of about 20
human ratings in [-4, 4]. The sign of the mean is the label; sentences with |mean| < 0.5 are not evaluated, but trained on: all targets are
sigmoid(2 mean). Duplicates (same words, ignoring case and punctuation) are removed. The split depends only on the text: with u = the first
32 bits of the MD5 of its words, divided by 2^32, test is u < 0.2, dev u < 0.3. `test.tsv` holds the test split, `DATA_LICENSE` belongs to it.
Seeds and settings were chosen on dev; on test the standard error of an accuracy is 0.7 points.

The word table starts from that of all-MiniLM-L6-v2, projected from 384 to 64 features, plus a learned difference for words seen in
training. [PAD] is an ordinary token: there is no mask, and the length of a sentence stays hidden.

## Use and limits

A demonstration and a benchmark of private inference. English, single sentences, at most 30 word pieces (the rest is cut). It has the taste of
about 20 paid raters per sentence in 2013, knows no neutral class, and should not decide anything about people. The embedding table is public,
and so is everything the client runs; answers to many chosen queries reveal the server's weights, as for any model behind an interface.

PowerSoftmax is from arXiv 2410.09457 (IBM Research); US patent US-12647248-B2 concerns it. Have this checked before commercial use; nothing
here is legal advice.
"""
