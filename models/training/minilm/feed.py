"""Batches for the distillation, made on the device from runs of token ids.

A text is a piece of a run: a sentence, several sentences in a row, or a window anywhere. Besides texts there are patterns, a
few tokens again and again, which no corpus has and which reach furthest out of the ranges, and the hard ones: what reached
furthest in earlier batches.
"""

import numpy as np
import torch
from student import LENGTH

CLS, SEP, FIRST = 101, 102, 999  # special tokens; the first piece of the vocabulary
BODY = LENGTH - 2
VOCABULARY = 30522


class Run:
    """Token ids of a corpus, one text after the other."""

    def __init__(self, ids, starts, device):
        self.ids, self.starts = ids.to(device).long(), starts.numpy().astype(np.int64)

    def __len__(self):
        return len(self.starts) - 1

    def texts(self):
        """(start, length) of every text."""
        return np.stack([self.starts[:-1], np.minimum(np.diff(self.starts), BODY)], 1)

    def draw(self, rng, count, joined=0.2, windows=0.2):
        """Texts, some of them several in a row, some a window; short windows are as likely as long ones."""
        i = rng.integers(0, len(self), count)
        several = np.where(rng.random(count) < joined, rng.integers(2, 9, count), 1)
        begin, end = self.starts[i], self.starts[np.minimum(i + several, len(self))]
        window = rng.random(count) < windows
        begin = np.where(window, rng.integers(0, len(self.ids) - BODY, count), begin)
        end = np.where(window, begin + (BODY ** rng.random(count)).astype(int), end)
        return np.stack([begin, np.minimum(end - begin, BODY)], 1)

    def batch(self, pieces):
        """Ids with [CLS] and [SEP], padded with 0, and where they are real."""
        device = self.ids.device
        begin, length = torch.from_numpy(pieces).to(device).T[..., None]
        t = torch.arange(int(length.max()) + 2, device=device)
        ids = self.ids[(begin + t - 1).clamp(0, len(self.ids) - 1)]
        ids = torch.where(t == 0, CLS, torch.where(t <= length, ids, torch.where(t == length + 1, SEP, 0)))
        return ids, ids > 0


def shelves(run, pieces, tokens, rng):
    """Batches of pieces of like length with about `tokens` tokens, in random order."""
    pieces = pieces[np.argsort(pieces[:, 1] + rng.random(len(pieces)))]
    cuts, at = [], 0
    while at < len(pieces):
        # the longest of a batch decides; it grows by little within one
        size = max(1, tokens // int(pieces[min(at + tokens // (int(pieces[at, 1]) + 2), len(pieces)) - 1, 1] + 2))
        cuts.append((run, pieces[at : at + size]))
        at += size
    return [cuts[i] for i in rng.permutation(len(cuts))]


def patterns(run, tokens):
    """Between one token and `BODY` of them, drawn from the vocabulary or from the corpus, again and again."""
    device = run.ids.device
    length = int(torch.randint(1, BODY + 1, ()))
    rows = min(1024, max(1, tokens // (length + 2)))
    draw = lambda high, *shape: torch.randint(0, high, shape, device=device)
    seen = run.ids[draw(len(run.ids), rows, length)]
    any_token = FIRST + draw(VOCABULARY - FIRST, rows, length)
    own = torch.where(draw(2, rows, 1) == 0, seen, any_token)
    # short periods are as likely as long ones
    period = (length ** torch.rand(rows, 1, device=device)).round().clamp(1, length).long()
    own = own.gather(1, torch.arange(length, device=device)[None] % period)
    edge = lambda token: torch.full((rows, 1), token, device=device)
    ids = torch.cat([edge(CLS), own, edge(SEP)], 1)
    return ids, torch.ones_like(ids, dtype=torch.bool)


class Hard:
    """The texts that reached furthest, of the last batches."""

    def __init__(self, size, device):
        self.ids = torch.zeros(size, LENGTH, dtype=torch.long, device=device)
        self.at, self.full = 0, 0

    def keep(self, ids):
        size = len(self.ids)
        slots = (self.at + torch.arange(len(ids), device=ids.device)) % size
        self.ids[slots] = 0
        self.ids[slots, : ids.shape[1]] = ids
        self.at, self.full = (self.at + len(ids)) % size, min(size, self.full + len(ids))

    def batch(self, rows):
        ids = self.ids[torch.randint(0, self.full, (min(rows, self.full),), device=self.ids.device)]
        return ids, ids > 0


class Feed:
    """An endless stream of batches: texts, and every `pattern`-th time patterns or hard texts in turn."""

    def __init__(self, train, odd, tokens, seed, odd_share=0.2, pattern=5):
        self.train, self.odd, self.tokens = train, odd, tokens
        self.odd_share, self.pattern = odd_share, pattern
        self.rng, self.queue, self.step = np.random.default_rng(seed), [], 0
        self.hard = Hard(4096, train.ids.device)

    def refill(self):
        count = max(self.tokens // 2, 256)
        strange = int(count * self.odd_share)
        odd = self.odd.texts()[self.rng.integers(0, len(self.odd), strange)]
        queue = shelves(self.train, self.train.draw(self.rng, count), self.tokens, self.rng)
        queue += shelves(self.odd, odd, self.tokens, self.rng)
        self.rng.shuffle(queue)
        self.queue = queue

    def next(self):
        self.step += 1
        if self.step % self.pattern == 0:
            if self.hard.full and self.step % (2 * self.pattern) == 0:
                return self.hard.batch(self.tokens // LENGTH)
            return patterns(self.train, self.tokens)
        if not self.queue:
            self.refill()
        run, pieces = self.queue.pop()
        return run.batch(pieces)
