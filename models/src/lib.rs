//! Polynomial transformers: their files, the f64 reference, the packing, and the lowering to a homomorphic plan.
