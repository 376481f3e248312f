//! The client's side: keys, encryption, requests, decryption.
