"""What the client does in clear: LayerNorm(word[id] + position[t]), or the same of a projected image patch."""

import torch
import torch.nn.functional as F
from torch import nn


class Text(nn.Module):
    """MiniLM's words projected to `dim`, plus a delta for words that the training data has. `fold` makes one F16 table."""

    def __init__(self, words, trained, seq_len, dim, pad):
        super().__init__()
        self.pad = pad
        self.register_buffer("words", words, persistent=False)
        row = torch.zeros(len(words), dtype=torch.long)
        row[trained] = torch.arange(1, int(trained.sum()) + 1)
        self.register_buffer("row", row)
        self.proj = nn.Linear(words.shape[1], dim)
        self.delta = nn.Embedding(int(trained.sum()) + 1, dim, padding_idx=0)
        nn.init.zeros_(self.delta.weight)
        self.position = nn.Parameter(torch.randn(seq_len, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.table = None

    def lookup(self, ids):
        return self.proj(F.embedding(ids, self.words)) + self.delta(self.row[ids])

    @torch.no_grad()
    def fold(self):
        table = self.lookup(torch.arange(len(self.words)))
        self.table = table.half().to(table.dtype)

    def forward(self, ids):
        e = self.lookup(ids) if self.table is None else F.embedding(ids, self.table)
        return self.norm(e + self.position), ids == self.pad

    def tensors(self):
        return {"embeddings.word_embeddings.weight": self.table.half(), **placed(self)}


def waves(seq_len, dim, longest=100.0):
    """Sines and cosines: with these to begin with, heads soon find the tokens just before."""
    angles = torch.arange(seq_len)[:, None] * longest ** -torch.linspace(0, 1, dim // 2)
    return torch.cat([angles.sin(), angles.cos()], 1)


class Tokens(nn.Module):
    """A trained table of a small vocabulary. No padding."""

    def __init__(self, vocab, seq_len, dim):
        super().__init__()
        self.table = nn.Parameter(torch.randn(vocab, dim) * 0.5)
        self.position = nn.Parameter(waves(seq_len, dim) * 0.5)
        self.norm = nn.LayerNorm(dim)

    @torch.no_grad()
    def fold(self):
        self.table.copy_(self.table.half())

    def forward(self, ids):
        return self.norm(F.embedding(ids, self.table) + self.position[: ids.shape[1]]), None

    def tensors(self):
        return {"embeddings.word_embeddings.weight": self.table.half(), **placed(self)}


class Patches(nn.Module):
    """Square patches of a grey image, row-major, pixels 0 to 255 divided by 255."""

    def __init__(self, side, patch, dim):
        super().__init__()
        self.side, self.patch = side, patch
        self.projection = nn.Linear(patch * patch, dim)
        self.position = nn.Parameter(torch.randn((side // patch) ** 2, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)

    def fold(self):
        pass

    def forward(self, pixels):
        n, p = self.side // self.patch, self.patch
        x = pixels.to(self.position.dtype).view(-1, n, p, n, p).transpose(2, 3).reshape(-1, n * n, p * p) / 255
        return self.norm(self.projection(x) + self.position), None

    def tensors(self):
        return {
            "embeddings.patch_projection.weight": self.projection.weight,
            "embeddings.patch_projection.bias": self.projection.bias,
            **placed(self),
        }


def placed(embedding):
    return {
        "embeddings.position_embeddings.weight": embedding.position,
        "embeddings.LayerNorm.weight": embedding.norm.weight,
        "embeddings.LayerNorm.bias": embedding.norm.bias,
    }
