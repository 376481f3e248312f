"""The polynomial transformer (and its softmax twin), as the Rust side evaluates it.

The client runs `ClientEmbedding` in clear; everything after it is what the server evaluates
under encryption. [PAD] is an ordinary token of the polynomial model: no mask, 32 positions.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from data import PAD, SEQ_LEN

EPSILON = 0.01  # added to the mean of the squared scores
DOUBLINGS = 3  # the reciprocal polynomial uses T_8
MIN_QUADRATIC = 0.02  # |a| of the activation stays above this, so the square can be completed


def reciprocal(x, lo, hi, doublings=DOUBLINGS):
    """(1 - T_m(t)/T_m(t0)) / x with m = 2^doublings, t = (hi+lo-2x)/(hi-lo), t0 = t at x = 0.

    Its relative error on [lo, hi] is at most 1/T_m(t0), the smallest possible for its degree.
    Since T_2j(t0) - T_2j(t) = 2 (T_j(t0) - T_j(t)) (T_j(t0) + T_j(t)), the division by x is exact:
    C * prod_j (T_{2^j}(t0) + T_{2^j}(t)) with C = 2^(doublings+1) / ((hi-lo) T_m(t0)).
    """
    t, t0 = (hi + lo - 2 * x) / (hi - lo), (hi + lo) / (hi - lo)
    out = torch.ones_like(x)
    for _ in range(doublings):
        out = out * (t0 + t)
        t, t0 = 2 * t * t - 1, 2 * t0 * t0 - 1
    return out * 2 ** (doublings + 1) / ((hi - lo) * t0)


class ClientEmbedding(nn.Module):
    """x = LayerNorm(table[id] + position[t]), with table = MiniLM words projected to `dim` + delta.

    Only words with `trained[id]` have a delta. `fold` replaces it all by one F16-rounded table.
    """

    def __init__(self, words, trained, dim):
        super().__init__()
        self.register_buffer("words", words, persistent=False)
        row = torch.zeros(len(words), dtype=torch.long)
        row[trained] = torch.arange(1, int(trained.sum()) + 1)
        self.register_buffer("row", row)
        self.proj = nn.Linear(words.shape[1], dim)
        self.delta = nn.Embedding(int(trained.sum()) + 1, dim, padding_idx=0)
        nn.init.zeros_(self.delta.weight)
        self.position = nn.Parameter(torch.randn(SEQ_LEN, dim) * 0.02)
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.table = None

    def lookup(self, ids):
        return self.proj(F.embedding(ids, self.words)) + self.delta(self.row[ids])

    @torch.no_grad()
    def fold(self):
        table = self.lookup(torch.arange(len(self.words)))
        self.table = table.half().to(table.dtype)

    def forward(self, ids):
        e = self.lookup(ids) if self.table is None else F.embedding(ids, self.table)
        return self.norm(e + self.position)


class Quadratic(nn.Module):
    """a x^2 + b x + c, with its own a, b, c for each channel."""

    def __init__(self, dim):
        super().__init__()
        self.a = nn.Parameter(torch.full((dim,), 0.1))
        self.b = nn.Parameter(torch.full((dim,), 0.5))
        self.c = nn.Parameter(torch.full((dim,), 0.2))

    def forward(self, x):
        return (self.a * x + self.b) * x + self.c

    @torch.no_grad()
    def project(self):
        sign = torch.where(self.a < 0, -1.0, 1.0)
        self.a.copy_(sign * self.a.abs().clamp_min(MIN_QUADRATIC))


class Attention(nn.Module):
    """`power`: weights (q.k/sqrt(head_dim) + shift)^2 over their mean plus epsilon, all positions.
    `softmax`: the usual, with a padding mask."""

    def __init__(self, kind, dim, n_heads):
        super().__init__()
        self.kind, self.n_heads, self.head_dim = kind, n_heads, dim // n_heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        if kind == "power":
            self.shift = nn.Parameter(torch.ones(n_heads))
        self.ranges = None  # (n_heads, 2): use the reciprocal polynomial on these ranges

    def forward(self, x, pad, seen):
        b, t, d = x.shape
        q, k, v = (
            f(x).view(b, t, self.n_heads, self.head_dim).transpose(1, 2)
            for f in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        if self.kind == "softmax":
            scores = scores.masked_fill(pad[:, None, None, :], -1e9)
            o = scores.softmax(-1) @ v
        else:
            scores = scores + self.shift[:, None, None]
            w = scores * scores
            denominators = w.mean(-1, keepdim=True) + EPSILON
            if self.ranges is None:
                inverse = 1 / denominators
            else:
                lo, hi = (self.ranges[:, i, None, None].to(x.dtype) for i in (0, 1))
                inverse = reciprocal(denominators, lo, hi)
            o = (w @ v) / t * inverse
            seen.update(q=q, k=k, v=v, scores=scores, denominators=denominators)
        o = o.transpose(1, 2).reshape(b, t, d)
        seen["o"] = o
        return self.output(o)


class Classifier(nn.Module):
    """One layer. kind "power": BatchNorm and quadratic activation. "softmax": LayerNorm, GELU."""

    def __init__(self, kind, words, trained, dim=64, n_heads=8, hidden_dim=64, dropout=0.2, n_labels=2):
        super().__init__()
        self.kind, self.hidden_dim = kind, hidden_dim
        self.embeddings = ClientEmbedding(words, trained, dim)
        self.attention = Attention(kind, dim, n_heads)
        self.norm = nn.BatchNorm1d(dim, momentum=0.05) if kind == "power" else nn.LayerNorm(dim)
        self.up = nn.Linear(dim, hidden_dim)
        self.activation = Quadratic(hidden_dim) if kind == "power" else nn.GELU()
        self.down = nn.Linear(hidden_dim, dim)
        self.classifier = nn.Linear(dim, n_labels)
        self.dropout = nn.Dropout(dropout)
        self.seen = {}  # intermediate values of the last forward pass, for penalties and ranges

    def forward(self, ids):
        pad, seen = ids == PAD, {}
        x = self.dropout(self.embeddings(ids))
        x1 = x + self.dropout(self.attention(x, pad, seen))
        n = self.norm(x1.flatten(0, 1)).view_as(x1) if self.kind == "power" else self.norm(x1)
        pre = self.up(n)
        x2 = x1 + self.dropout(self.down(self.activation(pre)))
        if self.kind == "power":
            pooled = x2.mean(1)
        else:
            keep = (~pad).unsqueeze(-1).to(x2.dtype)
            pooled = (x2 * keep).sum(1) / keep.sum(1)
        logits = self.classifier(pooled)
        seen.update(x=x, x1=x1, norm=n, pre_activations=pre, x2=x2, pooled=pooled, logits=logits)
        self.seen = seen
        return logits

    def server_parameters(self):
        return sum(p.numel() for n, p in self.named_parameters() if not n.startswith("embeddings."))
