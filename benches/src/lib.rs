//! What the README claims, measured: accuracy under encryption and the per-op latency table.
