//! Progress on stderr: bars on a terminal, one line per finished step elsewhere, nothing with `--quiet`.

use crate::ui::Ui;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Progress of the command line.
pub struct Progress {
    quiet: bool,
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress {
    /// Silent with `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
            bar: Mutex::new(None),
        }
    }

    /// A remark that is neither data nor an error.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    fn set(&self, bar: Option<ProgressBar>) {
        let old = std::mem::replace(&mut *self.bar.lock().unwrap_or_else(PoisonError::into_inner), bar);
        if let Some(old) = old {
            old.finish_and_clear();
        }
    }
}

impl Ui for Progress {
    fn start(&self, what: &str, total: u64, bytes: bool) {
        if self.quiet || !self.terminal {
            return;
        }
        let template = match (total, bytes) {
            (0, _) => "  {spinner} {prefix:<9} {elapsed}",
            (_, true) => "  {spinner} {prefix:<9} {bar:40} {bytes} of {total_bytes}",
            (_, false) => "  {spinner} {prefix:<9} {bar:40} step {pos} of {len}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        self.set(Some(bar));
    }

    fn at(&self, done: u64) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            bar.set_position(done);
        }
    }

    fn done(&self, what: &str, text: &str) {
        self.set(None);
        self.note(&format!("  ✓ {what:<9} {text}"));
    }
}
