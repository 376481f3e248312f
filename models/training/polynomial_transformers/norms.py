"""Norms: one that folds into its neighbours (batch norm), and two whose 1/sqrt has a bounded range."""

import torch
from torch import nn

from .polynomials import inverse_sqrt


class BatchNorm(nn.Module):
    """Affine at inference; per feature, over all tokens of the batch."""

    def __init__(self, dim, epsilon=1e-5):
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, eps=epsilon, momentum=0.05)

    def forward(self, x, seen):
        own = self.norm(x.flatten(0, 1)).view_as(x)
        # what the Rust trace calls normed: before gamma and beta
        seen["normed"] = ((own - self.norm.bias) / self.norm.weight).detach()
        return own


class TokenNorm(nn.Module):
    """Layer norm (`centred`) or RMS norm. `fit` = (lo, hi, degree) puts the polynomial in place of 1/sqrt."""

    def __init__(self, dim, centred, epsilon=1e-3):
        super().__init__()
        self.centred, self.epsilon, self.fit = centred, epsilon, None
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if centred else None

    def forward(self, x, seen):
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        variance = (x * x).mean(-1, keepdim=True) + self.epsilon
        seen["variance"] = variance
        x = x * (variance.rsqrt() if self.fit is None else inverse_sqrt(variance, *self.fit))
        seen["normed"] = x
        x = x * self.weight
        return x if self.bias is None else x + self.bias


class NoNorm(nn.Module):
    def forward(self, x, seen):
        seen["normed"] = x
        return x


def norm(kind, dim):
    return {
        "batch_norm": lambda: BatchNorm(dim),
        "layer_norm": lambda: TokenNorm(dim, True),
        "rms_norm": lambda: TokenNorm(dim, False),
        "none": NoNorm,
    }[kind]()
