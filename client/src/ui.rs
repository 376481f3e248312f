//! What long work tells the person who waits for it.

use std::time::Duration;

/// Is told how far a long step has come.
pub trait Ui: Send + Sync {
    /// A step begins; `total` in bytes or pieces.
    fn start(&self, what: &str, total: u64, bytes: bool);
    /// So much of it is done.
    fn at(&self, done: u64);
    /// It is over; `text` sums it up.
    fn done(&self, what: &str, text: &str);
}

/// A duration for people.
#[must_use]
pub fn time(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    if s < 1.0 {
        format!("{:.0} ms", s * 1e3)
    } else {
        format!("{s:.1} s")
    }
}

/// A size for people.
#[must_use]
pub fn size(bytes: usize) -> String {
    let b = bytes as f64;
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=999_999 => format!("{:.1} kB", b / 1e3),
        _ => format!("{:.2} MB", b / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [80, 147_000, 52_428_800].map(size),
            ["80 B", "147.0 kB", "52.43 MB"]
        );
        assert_eq!(
            [12, 2345].map(Duration::from_millis).map(time),
            ["12 ms", "2.3 s"]
        );
    }
}
