"""A trained model as a folder of the `polynomial_transformer` format (Rust crate `models`, transformer/)."""

import json

import torch
from safetensors.torch import save_file

from .activations import Polynomial, Quadratic
from .norms import BatchNorm, TokenNorm


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def norm_tensors(norm, name):
    if isinstance(norm, BatchNorm):
        own = norm.norm
        return {f"{name}.{k}": getattr(own, k) for k in ("weight", "bias", "running_mean", "running_var")}
    if isinstance(norm, TokenNorm):
        return {f"{name}.{k}": v for k, v in norm.named_parameters()}
    return {}


def server_tensors(model):
    out = {}

    def linear(module, name):
        out[f"{name}.weight"], out[f"{name}.bias"] = module.weight, module.bias

    for i, layer in enumerate(model.layers):
        name, a = f"encoder.layer.{i}.", layer.attention
        for own, module in (("query", a.query), ("key", a.key), ("value", a.value)):
            linear(module, f"{name}attention.self.{own}")
        out[f"{name}attention.self.shift"] = a.shift
        linear(a.output, f"{name}attention.output.dense")
        out.update(norm_tensors(layer.norm1, f"{name}attention.output.LayerNorm"))
        linear(layer.up, f"{name}intermediate.dense")
        if isinstance(layer.activation, Quadratic):
            out.update({f"{name}activation.{k}": getattr(layer.activation, k) for k in "abc"})
        linear(layer.down, f"{name}output.dense")
        out.update(norm_tensors(layer.norm2, f"{name}output.LayerNorm"))
    if model.final_norm is not None:
        out.update(norm_tensors(model.final_norm, "final_layer_norm"))
    linear(model.head, "lm_head" if model.shape.next_token else "classifier")
    return out


def epsilon(model):
    norm = model.layers[0].norm1
    return norm.norm.eps if isinstance(norm, BatchNorm) else getattr(norm, "epsilon", 0.0)


def config_json(model, names, fitted, patch=0):
    s, act = model.shape, model.layers[0].activation
    coefficients = {"coefficients": act.coefficients} if isinstance(act, Polynomial) else {}
    head = {"kind": "next_token", "vocab": s.outputs} if s.next_token else {
        "kind": "classification", "num_labels": s.outputs, "pool": "mean"}
    out = {
        "model_type": "polynomial_transformer",
        "hidden_size": s.dim, "num_hidden_layers": s.n_layers, "num_attention_heads": s.n_heads,
        "intermediate_size": s.hidden_dim, "max_position_embeddings": s.seq_len,
        "vocab_size": 1 if patch else model.embedding.tensors()["embeddings.word_embeddings.weight"].shape[0],
        "num_labels": s.outputs, "id2label": {str(i): name for i, name in enumerate(names)},
        "layer_norm_eps": model.embedding.norm.eps, "pad_token_id": 0, "norm_position": s.norm_position,
        "attention": {"power": s.power, "epsilon": s.epsilon, "mask": "causal" if s.causal else "none", "visible_mean": s.causal},
        "norm": {"kind": s.norm, "epsilon": epsilon(model)},
        "activation": {"kind": s.activation, **coefficients},
        "head": head, "precision_bits": s.precision_bits, "margin": s.margin, "fit": fitted,
    }
    if patch:
        out["input"] = {"kind": "patches", "rows": 28, "cols": 28, "patch": patch}
    return out


def write_tensors(path, tensors):
    """Halves as halves, everything else in single precision."""
    keep = lambda t: t.detach() if t.dtype == torch.float16 else t.detach().float()
    save_file({name: keep(t).contiguous().clone() for name, t in tensors.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)


def set_by_operator(folder):
    """What stays when a model is trained again: the exact decision, and the parameters of the plan."""
    path = folder / "config.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {field: known[field] for field in ("decision", "plan") if field in known}


def export(model, own, fitted, ranges, folder, patch=0):
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", server_tensors(model))
    write_tensors(folder / "embeddings.safetensors", model.embedding.tensors())
    write_json(folder / "config.json", config_json(model, own.names, fitted, patch) | set_by_operator(folder))
    write_json(folder / "ranges.json", ranges)
    if own.tokenizer:
        (folder / "tokenizer.json").write_text(own.tokenizer, encoding="utf-8")
