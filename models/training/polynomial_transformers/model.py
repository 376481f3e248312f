"""The polynomial transformer and its softmax twin. Norms stand before the blocks (`pre`) or after them (`post`).

The client runs `embedding` in clear; everything after it is what the server evaluates under encryption.
"""

import torch
from torch import nn

from .activations import activation
from .attention import PowerSoftmaxAttention, SoftmaxAttention
from .norms import norm


class Layer(nn.Module):
    def __init__(self, shape, twin):
        super().__init__()
        attention = SoftmaxAttention if twin else PowerSoftmaxAttention
        self.pre = shape.norm_position == "pre"
        self.attention = attention(shape.dim, shape.n_heads, shape.power, shape.epsilon, causal=shape.causal)
        kind = "layer_norm" if twin else shape.norm
        self.norm1, self.norm2 = norm(kind, shape.dim), norm(kind, shape.dim)
        self.up, self.down = nn.Linear(shape.dim, shape.hidden_dim), nn.Linear(shape.hidden_dim, shape.dim)
        self.activation = activation("gelu" if twin else shape.activation, shape.hidden_dim)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x, pad, seen, norms):
        own, n1, n2 = {}, {}, {}
        seen.append(own)
        norms += [n1, n2]
        hide = {"pad": pad} if isinstance(self.attention, SoftmaxAttention) else {}
        attention = lambda y: self.dropout(self.attention(y, own, **hide))

        def feed_forward(y):
            own["up"] = self.up(y)
            return self.dropout(self.down(self.activation(own["up"])))

        if self.pre:
            x1 = x + attention(self.norm1(x, n1))
            x2 = x1 + feed_forward(self.norm2(x1, n2))
            out = x2
        else:
            x1 = x + attention(x)
            y = self.norm1(x1, n1)
            x2 = y + feed_forward(y)
            out = self.norm2(x2, n2)
        own.update(residual1=x1, residual2=x2)
        return out


class Transformer(nn.Module):
    """`embedding(inputs) -> (x, pad)`, layers, norm at the end (`pre`), head. `seen` holds the values of the last pass."""

    def __init__(self, shape, embedding, twin=False):
        super().__init__()
        self.shape, self.embedding, self.twin = shape, embedding, twin
        self.layers = nn.ModuleList(Layer(shape, twin) for _ in range(shape.n_layers))
        kind = "layer_norm" if twin else shape.norm
        self.final_norm = norm(kind, shape.dim) if shape.norm_position == "pre" else None
        self.head = nn.Linear(shape.dim, shape.outputs)
        self.dropout = nn.Dropout(shape.dropout)
        self.seen = {}

    def forward(self, inputs):
        x, pad = self.embedding(inputs)
        return self.encode(self.dropout(x), pad)

    def encode(self, x, pad=None):
        layers, norms, last = [], [], {}
        self.seen = {"layers": layers, "norms": norms, "embedding": x}
        for layer in self.layers:
            x = layer(x, pad, layers, norms)
        if self.final_norm is not None:
            x = self.final_norm(x, last)
            norms.append(last)
        if self.shape.next_token:
            return self.head(x)
        if self.twin and pad is not None:
            keep = (~pad).unsqueeze(-1).to(x.dtype)
            return self.head((x * keep).sum(1) / keep.sum(1))
        return self.head(x.mean(1))

    def project(self):
        for layer in self.layers:
            if hasattr(layer.activation, "project"):
                layer.activation.project()

    def server_parameters(self):
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("embedding."))


@torch.no_grad()
def swap(twin, shape, batches):
    """Stage 1 from a trained twin: its matrices in a polynomial model, quadratics fitted to GELU on what it saw."""
    model = Transformer(shape, twin.embedding)
    own, trained = model.state_dict(), twin.state_dict()
    model.load_state_dict({k: trained[k] if k in trained and trained[k].shape == v.shape else v for k, v in own.items()})
    seen = [[] for _ in model.layers]
    twin.eval()
    for batch in batches:
        twin(batch)
        for values, layer in zip(seen, twin.seen["layers"]):
            values.append(layer["up"].flatten(0, 1))
    for values, layer in zip(seen, model.layers):
        if hasattr(layer.activation, "fit_gelu"):
            layer.activation.fit_gelu(torch.cat(values))
    return model
