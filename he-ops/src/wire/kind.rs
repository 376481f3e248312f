//! The types of frames.

use std::fmt;

/// What a frame holds; the number is its type tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A ciphertext with all its parts.
    Ciphertext = 1,
    /// A fresh ciphertext whose mask is expanded from a seed.
    SeededCiphertext = 2,
    /// A key-switch key (relinearisation, rotation or conjugation) whose masks are expanded from a seed.
    KeySwitchKey = 3,
    /// An encryption key that may be published.
    PublicKey = 4,
    /// A secret key; it must never leave the client.
    SecretKey = 5,
    /// A latency report, as JSON.
    Report = 6,
    /// Key of the exact decision. Public.
    DecisionKey = 7,
    /// Secret key of the exact decision: never sent.
    DecisionSecret = 8,
    /// A class, encrypted.
    Label = 9,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Ciphertext,
        Self::SeededCiphertext,
        Self::KeySwitchKey,
        Self::PublicKey,
        Self::SecretKey,
        Self::Report,
        Self::DecisionKey,
        Self::DecisionSecret,
        Self::Label,
    ];

    pub(super) fn tag(self) -> u8 {
        self as u8
    }

    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tag() == tag)
    }

    /// True for everything but a secret key.
    #[must_use]
    pub fn is_safe_to_send(self) -> bool {
        !matches!(self, Self::SecretKey | Self::DecisionSecret)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ciphertext => "ciphertext",
            Self::SeededCiphertext => "seeded ciphertext",
            Self::KeySwitchKey => "key-switch key",
            Self::PublicKey => "public key",
            Self::SecretKey => "SECRET key",
            Self::Report => "latency report",
            Self::DecisionKey => "key of the exact decision",
            Self::DecisionSecret => "SECRET key of the exact decision",
            Self::Label => "encrypted label",
        })
    }
}
