//! `test.tsv`: held-out inputs of a model, for honest accuracies.

use std::path::Path;

use crate::error::{Error, Result};

/// A held-out input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Domain and number in the original file.
    pub id: String,
    /// Where it comes from.
    pub domain: String,
    /// The right label; of a language model, the token that follows the text.
    pub label: usize,
    /// The text; of an image, its pixels from 0 to 255 row by row, with spaces between.
    pub text: String,
}

impl Row {
    /// The pixels in place of a text.
    ///
    /// # Errors
    /// - something else than numbers from 0 to 255 (the row is named)
    pub fn pixels(&self) -> Result<Vec<u8>> {
        let pixels: std::result::Result<_, _> = self.text.split(' ').map(str::parse).collect();
        pixels.map_err(|_| Error::Format {
            file: FILE,
            reason: format!("pixels from 0 to 255 needed in row {}", self.id),
        })
    }
}

/// The name of such a file in a model folder.
pub const FILE: &str = "test.tsv";

/// Reads such a file: a header, then `id, domain, label, text`.
///
/// # Errors
/// - the file cannot be read, or a line has other fields (the line is named)
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.split_terminator('\n').enumerate();
    let wrong = |line: usize, reason: &str| Error::Format {
        file: FILE,
        reason: format!("line {}: {reason}", line + 1),
    };
    if lines.next().map(|(_, header)| header) != Some("id\tdomain\tlabel\ttext") {
        return Err(wrong(0, "the header id, domain, label, text needed, with tabs"));
    }
    lines
        .map(|(number, line)| {
            let mut fields = line.splitn(4, '\t');
            let mut next = || {
                fields
                    .next()
                    .ok_or_else(|| wrong(number, "four fields with tabs needed"))
            };
            let (id, domain, label, text) = (next()?, next()?, next()?, next()?);
            let label = label
                .parse()
                .map_err(|_| wrong(number, "the label is not a number"))?;
            Ok(Row {
                id: id.to_owned(),
                domain: domain.to_owned(),
                label,
                text: text.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_wrong_lines_are_named() {
        let rows = parse("id\tdomain\tlabel\ttext\na-1\ttweets\t1\tso\tgood\n").unwrap();
        assert_eq!(
            (rows[0].id.as_str(), rows[0].label, rows[0].text.as_str()),
            ("a-1", 1, "so\tgood")
        );
        let refused = |text: &str| parse(text).unwrap_err().to_string();
        assert!(refused("a\tb\n").contains("line 1"));
        assert!(refused("id\tdomain\tlabel\ttext\na\tb\n").contains("line 2: four fields"));
        assert!(refused("id\tdomain\tlabel\ttext\na\tb\tx\tc\n").contains("line 2: the label"));
    }
}
