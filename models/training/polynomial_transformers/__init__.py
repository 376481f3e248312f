"""Transformers made of additions and multiplications: training, range control, export for encrypted inference."""
