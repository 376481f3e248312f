//! Chooses the polynomials of a transformer for the ranges that its training saw.
//!
//!     cargo run --release -p models --bin fit -- FOLDER
//!
//! Reads `config.json` and `ranges.json` of the folder, writes the fit into `config.json`, and prints what every
//! approximation costs and how good it is. Nothing is written if one misses the precision of the configuration.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use models::fit::Report;
use models::folder::fields::set_field;
use models::model::{Fit, Ranges, TransformerConfig};
use models::{Error, Result};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(folder), None) = (args.next().map(PathBuf::from), args.next()) else {
        eprintln!("usage: fit FOLDER\n\nFOLDER holds config.json and ranges.json of a transformer");
        return ExitCode::from(2);
    };
    match fit(&folder) {
        Ok(report) => {
            print!("{report}");
            let missed = report.missed().count();
            if missed == 0 {
                return ExitCode::SUCCESS;
            }
            eprintln!(
                "error: {missed} approximations miss 2^{:.0}: their ranges are too wide. Train with a stronger penalty, or lower \
                 margin or precision_bits of config.json",
                report.target.log2()
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fit(folder: &Path) -> Result<Report> {
    let path = folder.join("config.json");
    let bytes = read(&path)?;
    let config = TransformerConfig::from_json(&bytes)?;
    let ranges = read(&folder.join("ranges.json"))?;
    let ranges: Ranges = serde_json::from_slice(&ranges).map_err(|error| Error::Format {
        file: "ranges.json",
        reason: error.to_string(),
    })?;
    let (fit, report) = Fit::from_ranges(&config, &ranges)?;
    if report.missed().next().is_none() {
        set_field(&path, "fit", &fit)?;
    }
    Ok(report)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}
