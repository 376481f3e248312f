//! What a calibration chose, and how good it is.

use std::fmt;

/// One polynomial that stands for a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Approximation {
    /// Layer; none for the norm at the end.
    pub layer: Option<usize>,
    /// `1/denominator`, `norm1`, `norm2`, `gelu` or `final norm`.
    pub what: &'static str,
    /// The range, margin included; of the widest head for the denominators.
    pub range: [f64; 2],
    /// hi / lo of the range; none for an activation.
    pub condition: Option<f64>,
    /// Degree.
    pub degree: u32,
    /// Levels that it takes.
    pub depth: u32,
    /// Largest error on the range: absolute for an activation, else relative.
    pub error: f64,
    /// The same on the range widened by a factor of 1.25: how it goes wrong just outside.
    pub error_outside: f64,
}

/// All approximations of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What every error should meet.
    pub target: f64,
    /// Forward passes that were looked at.
    pub inputs: usize,
    /// Layer by layer.
    pub rows: Vec<Approximation>,
}

impl Report {
    /// The approximations that miss the target although they have the highest degree allowed: their ranges are too
    /// wide.
    pub fn missed(&self) -> impl Iterator<Item = &Approximation> {
        self.rows.iter().filter(|row| row.error > self.target)
    }

    /// Levels of the deepest approximation of this name.
    pub fn depth(&self, what: &str) -> u32 {
        let rows = self.rows.iter().filter(|row| row.what == what);
        rows.map(|row| row.depth).max().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "ranges of {} inputs; target {:.2e}; outside = 1.25 times beyond the range",
            self.inputs, self.target
        )?;
        writeln!(
            f,
            "{:<6}{:<15}{:>10}{:>10}{:>10}{:>8}{:>7}{:>11}{:>11}",
            "layer", "function", "lo", "hi", "condition", "degree", "depth", "error", "outside"
        )?;
        for row in &self.rows {
            let layer = row.layer.map_or("end".to_owned(), |n| n.to_string());
            let condition = row.condition.map_or("-".to_owned(), |c| format!("{c:.1}"));
            writeln!(
                f,
                "{layer:<6}{:<15}{:>10.4}{:>10.4}{condition:>10}{:>8}{:>7}{:>11.1e}{:>11.1e}{}",
                row.what,
                row.range[0],
                row.range[1],
                row.degree,
                row.depth,
                row.error,
                row.error_outside,
                if row.error > self.target { "  missed" } else { "" }
            )?;
        }
        Ok(())
    }
}
