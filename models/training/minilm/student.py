"""all-MiniLM-L6-v2 as teacher (softmax, GELU) and as polynomial student, in plain PyTorch.

Every text takes LENGTH positions under encryption. A shorter one is repeated: position t holds token t mod n, with the
embedding of that token, so that nothing tells its length and no mask is needed. Repeated tokens compute the same, so the
student here runs on the n tokens once, each with its share of the positions as weight.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from polynomial_transformers.polynomials import inverse_sqrt, reciprocal
from safetensors.torch import load_file
from torch import nn

LENGTH = 128
DIM, HEADS, HIDDEN, LAYERS = 384, 12, 1536, 6
HEAD_DIM = DIM // HEADS
POWER = 4
# Added to what is divided by, in the student: no input, however strange, comes below. Denominators have a median of 1.
EPSILON = 0.15
NORM_EPSILON = 0.05
# Hidden units that answer to [CLS] alone, with one value whatever the text, and make feature 99 of its residual 80 to 180:
# (layer, unit). Without them the variance of [CLS] would be 100 times that of words.
OUTLIERS = [(0, 856), (1, 607), (2, 1004), (2, 218), (3, 358)]
TEACHER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "n1": "attention.output.LayerNorm",
    "f1": "intermediate.dense",
    "f2": "output.dense",
    "n2": "output.LayerNorm",
}


def weights(ids, real):
    """Share of the LENGTH positions that each token has, (batch, tokens); nothing for padding of the batch."""
    n = real.sum(1, keepdim=True)
    t = torch.arange(ids.shape[1], device=ids.device)[None]
    return (LENGTH // n + (t < LENGTH % n)) * real / LENGTH


class Embedding(nn.Module):
    """What the client does in clear: word + position + type, layer norm."""

    def __init__(self, teacher):
        super().__init__()
        get = lambda name: teacher["embeddings." + name].float()
        positions = get("position_embeddings.weight")[:LENGTH] + get("token_type_embeddings.weight")[0]
        parts = {"words": get("word_embeddings.weight"), "positions": positions}
        parts |= {"gamma": get("LayerNorm.weight"), "beta": get("LayerNorm.bias")}
        for name, value in parts.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, ids):
        x = self.words[ids] + self.positions[: ids.shape[1]]
        return F.layer_norm(x, (DIM,), self.gamma, self.beta, 1e-12)


class Layer(nn.Module):
    """One layer of both; `shift`, `gain` and `quadratic` are the student's."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(DIM, DIM) for _ in range(4))
        self.f1, self.f2 = nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, DIM)
        self.n1, self.n2 = (nn.LayerNorm(DIM, eps=1e-12) for _ in range(2))
        self.shift = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.gain = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.quadratic = nn.Parameter(torch.tensor([0.1, 0.5, 0.2])[:, None].repeat(1, HIDDEN))


def tensors(folder):
    """The weights of the teacher."""
    return load_file(Path(folder) / "model.safetensors")


class MiniLM(nn.Module):
    """Teacher with `polynomial=False`. `fit`, the layers of a fit, puts the polynomials in place of 1/D and 1/sqrt(v).
    `watch`, if set, is called with (what, index), values, and which tokens are real; names and indices as in the package's ranges."""

    def __init__(self, teacher, polynomial):
        super().__init__()
        self.polynomial = polynomial
        self.embedding = Embedding(teacher)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.fit = None
        self.watch = None
        for i, layer in enumerate(self.layers):
            for own, name in TEACHER_NAMES.items():
                module = getattr(layer, own)
                module.weight.data = teacher[f"encoder.layer.{i}.{name}.weight"].float()
                module.bias.data = teacher[f"encoder.layer.{i}.{name}.bias"].float()

    def see(self, what, index, values, real):
        if self.watch is not None:
            self.watch((what, index), values, real)

    def attention(self, i, layer, x, real, share):
        b, t, _ = x.shape
        heads = lambda y: y.view(b, t, HEADS, HEAD_DIM).transpose(1, 2)
        q, k, v = heads(layer.q(x)), heads(layer.k(x)), heads(layer.v(x))
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD_DIM)
        if not self.polynomial:
            scores = scores.masked_fill(~real[:, None, None], -1e9)
            out = scores.softmax(-1) @ v
        else:
            scores = layer.shift + scores * layer.gain / POWER
            self.see("scores", i, scores.abs().amax(-1).transpose(1, 2), real)
            self.see("values", i, layer.v(x), real)
            w = scores**POWER * share[:, None, None]
            d = w.sum(-1, keepdim=True) + EPSILON
            self.see("denominators", i, d[..., 0].transpose(1, 2), real)
            out = (w @ v) * (1 / d if self.fit is None else self.reciprocal(i, d))
        out = out.transpose(1, 2).reshape(b, t, DIM)
        self.see("attention", i, out, real)
        return layer.o(out)

    def reciprocal(self, i, d):
        own = self.fit[i]
        lo, hi = (torch.tensor(v).double().view(HEADS, 1, 1) for v in zip(*own["denominator"]))
        return reciprocal(d.double(), lo, hi, own["reciprocal_doublings"]).float()

    def norm(self, i, which, norm, z, real):
        """The first or second norm of layer i."""
        if not self.polynomial:
            return norm(z)
        self.see(f"residual{which}", i, z, real)
        z = z - z.mean(-1, keepdim=True)
        v = (z * z).mean(-1, keepdim=True) + NORM_EPSILON
        self.see("variance", 2 * i + which - 1, v, real)
        if self.fit is None:
            z = z * v.rsqrt()
        else:
            own = self.fit[i][f"norm{which}"]
            z = z * inverse_sqrt(v.double(), *own["variance"], own["degree"]).float()
        self.see("normed", 2 * i + which - 1, z, real)
        return z * norm.weight + norm.bias

    def forward(self, ids, real):
        """Embeddings of unit length (batch, DIM), and the output of every layer."""
        share = weights(ids, real) if self.polynomial else real / real.sum(1, keepdim=True)
        x = self.embedding(ids)
        self.see("embedding", 0, x, real)
        hidden = []
        for i, layer in enumerate(self.layers):
            x = self.norm(i, 1, layer.n1, x + self.attention(i, layer, x, real, share), real)
            h = layer.f1(x)
            self.see("up", i, h, real)
            a, b, c = layer.quadratic
            h = (a * h + b) * h + c if self.polynomial else F.gelu(h)
            x = self.norm(i, 2, layer.n2, x + layer.f2(h), real)
            hidden.append(x)
        return F.normalize((x * share[..., None]).sum(1), dim=-1), hidden


@torch.no_grad()
def calm_outliers(student, variance=1.2):
    """Scales the columns of OUTLIERS down, so that [CLS] has the variance of words. Its layer norm gives nearly the same."""
    student.watch = None
    ids = torch.tensor([[101, 1996, 2240, 1997, 1996, 2143, 1012, 102]])
    real = torch.ones_like(ids, dtype=torch.bool)
    for i in sorted({layer for layer, _ in OUTLIERS}):
        units = [unit for layer, unit in OUTLIERS if layer == i]
        seen = {}
        student.watch = lambda key, values, _: seen.update({key: values})
        student(ids, real)
        found = seen["variance", 2 * i + 1][0, 0, 0].item()
        student.layers[i].f2.weight.data[:, units] *= math.sqrt(variance / found)
    student.watch = None


def file_weights(student):
    """The tensors of the model file, in half precision; the gains of the heads are in the queries."""
    out = {}
    for i, layer in enumerate(student.layers):
        prefix = f"encoder.layer.{i}."
        gain = layer.gain.flatten().repeat_interleave(HEAD_DIM)
        for own, name in TEACHER_NAMES.items():
            module = getattr(layer, own)
            factor = gain if own == "q" else torch.ones_like(gain[:1])
            out[f"{prefix}{name}.weight"] = (module.weight * (factor[:, None] if own == "q" else factor)).half()
            out[f"{prefix}{name}.bias"] = (module.bias * factor).half()
        out[prefix + "attention.self.shift"] = layer.shift.flatten().half()
        for name, row in zip("abc", layer.quadratic):
            # The square is completed: a must not vanish, in half precision either.
            sign = torch.where(row < 0, -1.0, 1.0)
            row = torch.where(row.abs() < 1e-4, 1e-4 * sign, row) if name == "a" else row
            out[f"{prefix}activation.{name}"] = row.half()
    return {name: value.contiguous() for name, value in out.items()}


def read_file(student, file):
    """Takes the weights of a model file."""
    for i, layer in enumerate(student.layers):
        prefix = f"encoder.layer.{i}."
        for own, name in TEACHER_NAMES.items():
            getattr(layer, own).weight.data = file[f"{prefix}{name}.weight"].float()
            getattr(layer, own).bias.data = file[f"{prefix}{name}.bias"].float()
        layer.gain.data = torch.ones_like(layer.gain)
        layer.shift.data = file[prefix + "attention.self.shift"].float().view(HEADS, 1, 1)
        layer.quadratic.data = torch.stack([file[f"{prefix}activation.{name}"].float() for name in "abc"])
    student.embedding.words = student.embedding.words.half().float()


@torch.no_grad()
def rounded(student):
    """Makes it the student with exactly the numbers of its model file; returns these."""
    file = file_weights(student)
    read_file(student, file)
    return file


def save(student, folder):
    """One file for each layer, in half precision."""
    for i, layer in enumerate(student.layers):
        torch.save({name: value.half() for name, value in layer.state_dict().items()}, Path(folder) / f"layer{i}.pt")


def restore(student, folder):
    """The student from the files of `save`."""
    for i, layer in enumerate(student.layers):
        state = torch.load(Path(folder) / f"layer{i}.pt", weights_only=True, map_location="cpu")
        layer.load_state_dict({name: value.float() for name, value in state.items()})


def batch(ids):
    """Padded ids, and where they are real."""
    width = max(map(len, ids))
    out = torch.zeros(len(ids), width, dtype=torch.long)
    for row, own in zip(out, ids):
        row[: len(own)] = torch.tensor(own)
    return out, out > 0
