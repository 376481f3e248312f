//! Grey images from files: raw pixels, PGM, or one of an IDX file as the MNIST sets are.

use crate::error::{Error, Result};

/// Pixels from 0 to 255, row by row.
///
/// Understood are binary PGM (`P5`, 8 bits), IDX files of unsigned bytes in three dimensions, of which `index` chooses the
/// image, and anything else of exactly `rows * cols` bytes as raw pixels.
///
/// # Errors
/// [`Error::Image`] for another size, a damaged header, or an index beyond the last image.
pub fn read(bytes: &[u8], [rows, cols]: [usize; 2], index: usize) -> Result<Vec<u8>> {
    let wrong = |found: String| Error::Image { rows, cols, found };
    let pixels = if bytes.len() == rows * cols {
        bytes
    } else if bytes.starts_with(b"P5") {
        let (size, data) = pgm(bytes).ok_or_else(|| wrong("a PGM header that cannot be read".into()))?;
        if size != [rows, cols] {
            let [rows, cols] = size;
            return Err(wrong(format!("a PGM of {rows} rows of {cols} pixels")));
        }
        data
    } else if let Some(([count, high, wide], data)) = idx(bytes) {
        if [high, wide] != [rows, cols] || index >= count {
            return Err(wrong(format!(
                "an IDX file of {count} images of {high} rows of {wide} pixels, image {index} asked for"
            )));
        }
        data.get(index * rows * cols..).unwrap_or_default()
    } else {
        return Err(wrong(format!(
            "{} bytes that are no PGM and no IDX file",
            bytes.len()
        )));
    };
    match pixels.get(..rows * cols) {
        Some(pixels) => Ok(pixels.to_vec()),
        None => Err(wrong(format!("{} bytes of pixels", pixels.len()))),
    }
}

/// Rows and columns, and what follows the header.
fn pgm(bytes: &[u8]) -> Option<([usize; 2], &[u8])> {
    let mut at = 2;
    let mut number = || {
        loop {
            match bytes.get(at)? {
                b'#' => at += bytes.get(at..)?.iter().position(|byte| *byte == b'\n')?,
                byte if byte.is_ascii_whitespace() => at += 1,
                _ => break,
            }
        }
        let digits = bytes.get(at..)?;
        let digits = digits.get(..digits.iter().position(|byte| !byte.is_ascii_digit())?)?;
        at += digits.len();
        std::str::from_utf8(digits).ok()?.parse::<usize>().ok()
    };
    let (cols, rows, most) = (number()?, number()?, number()?);
    if most != 255 {
        return None;
    }
    // One white space, then the pixels.
    Some(([rows, cols], bytes.get(at + 1..)?))
}

/// Count, rows and columns, and what follows the header.
fn idx(bytes: &[u8]) -> Option<([usize; 3], &[u8])> {
    let (head, data) = bytes.split_first_chunk::<16>()?;
    let [0, 0, 8, 3, sizes @ ..] = head else {
        return None;
    };
    let (sizes, _) = sizes.as_chunks::<4>();
    let mut sizes = sizes.iter().map(|size| u32::from_be_bytes(*size) as usize);
    Some(([sizes.next()?, sizes.next()?, sizes.next()?], data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_give_the_same_pixels() {
        let pixels = [1, 2, 3, 4, 5, 250];
        let pgm = [b"P5\n# made by hand\n3 2\n255\n".as_slice(), &pixels].concat();
        let header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        let idx = [header.as_slice(), &[9; 6], &pixels].concat();
        for bytes in [pixels.as_slice(), &pgm, &idx] {
            assert_eq!(read(bytes, [2, 3], 1).unwrap(), pixels);
        }
        for (bytes, size, index) in [
            (&pgm[..pgm.len() - 1], [2, 3], 0),
            (&pgm, [3, 2], 0),
            (b"P5 3 2 65535 ".as_slice(), [2, 3], 0),
            (&idx, [2, 3], 2),
            (&idx[..20], [2, 3], 1),
            (b"", [2, 3], 0),
        ] {
            assert!(matches!(read(bytes, size, index), Err(Error::Image { .. })));
        }
    }
}
