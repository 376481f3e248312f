"""Polynomial activations."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

MIN_QUADRATIC = 0.02  # |a| stays above this, so that the square can be completed


def gelu_quadratic(x):
    """(3, channels): for every channel the a, b, c of least squares of GELU on the values `x` (n, channels) that it saw."""
    x = x.double()
    powers = torch.stack([x * x, x, torch.ones_like(x)], -1).transpose(0, 1)
    gram = powers.transpose(1, 2) @ powers + 1e-4 * torch.eye(3, dtype=torch.double, device=x.device)
    return torch.linalg.solve(gram, (powers * F.gelu(x).T[..., None]).sum(1)).T


class Quadratic(nn.Module):
    """a x^2 + b x + c, its own a, b, c for each channel."""

    def __init__(self, dim):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.full((dim,), v)) for v in (0.1, 0.5, 0.2))

    def forward(self, x):
        return (self.a * x + self.b) * x + self.c

    @torch.no_grad()
    def project(self):
        sign = torch.where(self.a < 0, -1.0, 1.0)
        self.a.copy_(sign * self.a.abs().clamp_min(MIN_QUADRATIC))

    @torch.no_grad()
    def fit_gelu(self, x):
        """To the values `x` (n, dim) that each channel saw."""
        for own, value in zip((self.a, self.b, self.c), gelu_quadratic(x)):
            own.copy_(value)
        self.project()


class Polynomial(nn.Module):
    """A fixed polynomial, the least-squares fit of GELU on [-4, 4] with a normal weight of deviation 2."""

    def __init__(self, degree=4):
        super().__init__()
        x = np.linspace(-4, 4, 2001)
        y = F.gelu(torch.tensor(x)).numpy()
        fit = np.polynomial.polynomial.polyfit(x, y, degree, w=np.exp(-(x**2) / 16))
        self.coefficients = [float(c) for c in fit]

    def forward(self, x):
        y = torch.zeros_like(x)
        for c in reversed(self.coefficients):
            y = y * x + c
        return y


def activation(kind, dim):
    return {"quadratic": lambda: Quadratic(dim), "polynomial": Polynomial, "gelu": nn.GELU}[kind]()
