"""Inputs that no data set has, but a client may send."""

import torch

from .data import CLS, PAD, SEP


def at_random(own, count, g):
    """Tokens, or pixels, at random."""
    like = own.inputs["train"].cpu()
    if not own.texts:
        return torch.randint(256, (count, like.shape[1]), generator=g)
    if own.words is None:
        return torch.randint(int(like.max()) + 1, (count, like.shape[1]), generator=g)
    pool = like[like > SEP].unique()
    ids = pool[torch.randint(len(pool), (count, like.shape[1]), generator=g)]
    end = torch.randint(1, like.shape[1], (count, 1), generator=g)
    at = torch.arange(like.shape[1])
    ids = torch.where(at == end, SEP, torch.where(at > end, PAD, ids))
    ids[:, 0] = CLS
    return ids


def odd(own, count, g):
    """Tokens at random, or one word again and again; of a small vocabulary also few kinds of them, one to four of them over
    and over, and texts that break off into these or into padding."""
    noise = at_random(own, count, g)
    if not own.texts:
        return noise
    if own.words is not None:
        again = (torch.rand(count, 1, generator=g) < 0.2) & (noise > SEP)
        return torch.where(again, noise[:, 1:2], noise)
    like = own.inputs["train"].cpu()
    text, at = like[torch.randint(len(like), (count,), generator=g)], torch.arange(like.shape[1])
    kinds, start = (torch.randint(1, most, (count, 1), generator=g) for most in (5, like.shape[1]))
    few = noise.gather(1, torch.randint(2**20, noise.shape, generator=g) % kinds)
    repeated = noise.gather(1, at % kinds)
    broken = lambda first, then: torch.where(at < start, first, then)
    some = torch.stack([noise, few, repeated, broken(text, noise), broken(text, repeated), broken(noise, PAD)])
    return some[torch.randint(len(some), (count,), generator=g), torch.arange(count)]
