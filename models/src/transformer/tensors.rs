//! `model.safetensors` of a polynomial transformer: its tensors by their Hugging Face names.

pub(super) const FILE: &str = "model.safetensors";
