//! The HTTP service: keys in, ciphertexts in, ciphertexts out.
