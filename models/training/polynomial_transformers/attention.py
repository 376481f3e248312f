"""PowerSoftmax attention (arXiv 2410.09457) and the softmax of its twin."""

import math

import torch
from torch import nn

from .polynomials import reciprocal


class PowerSoftmaxAttention(nn.Module):
    """w = (q.k/sqrt(head_dim) score_scale + shift)^power * mask, o = mean_j(w_j v_j) / (mean_j w_j + epsilon).

    The mean form: sums are divided by the number of positions, so the denominators do not grow with the length, and
    epsilon bounds the slope of the division. The mask multiplies (a power has no -inf). A causal mask is scaled by
    seq_len / (t + 1), so that sums are means over the visible positions. Any even power; `shift` is learned, one per head.
    `fit` = (lo (n_heads), hi (n_heads), doublings) puts the polynomial in place of the division.
    """

    def __init__(self, dim, n_heads, power=2, epsilon=0.01, score_scale=1.0, causal=False):
        super().__init__()
        if power % 2 or power < 2:
            raise ValueError(f"an even power needed, {power} found")
        self.n_heads, self.head_dim = n_heads, dim // n_heads
        self.power, self.epsilon, self.score_scale, self.causal = power, epsilon, score_scale, causal
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        self.shift = nn.Parameter(torch.ones(n_heads))
        self.fit = None

    def mask(self, t, like):
        if not self.causal:
            return None
        own = torch.ones(t, t, dtype=like.dtype, device=like.device).tril()
        return own * (t / torch.arange(1, t + 1, dtype=like.dtype, device=like.device))[:, None]

    def heads(self, y):
        b, t, _ = y.shape
        return y.view(b, t, self.n_heads, self.head_dim).transpose(1, 2)

    def forward(self, x, seen):
        b, t, d = x.shape
        q, k, v = (self.heads(f(x)) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) * (self.score_scale / math.sqrt(self.head_dim)) + self.shift[:, None, None]
        w = scores**self.power
        mask = self.mask(t, w)
        if mask is not None:
            w = w * mask
        denominators = w.mean(-1, keepdim=True) + self.epsilon
        if self.fit is None:
            inverse = 1 / denominators
        else:
            lo, hi = (r.to(x.dtype)[:, None, None] for r in self.fit[:2])
            inverse = reciprocal(denominators, lo, hi, self.fit[2])
        o = ((w @ v) / t * inverse).transpose(1, 2).reshape(b, t, d)
        seen.update(scores=scores, denominators=denominators, values=v, attention=o)
        return self.output(o)


class SoftmaxAttention(PowerSoftmaxAttention):
    """The twin: the same matrices, the usual softmax, padding hidden by -inf."""

    def forward(self, x, seen, pad=None):
        b, t, d = x.shape
        q, k, v = (self.heads(f(x)) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        if pad is not None:
            scores = scores.masked_fill(pad[:, None, None, :], -1e9)
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1), -1e9)
        return self.output((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d))
