//! Prints JSON rows measured with `poulpy-ckks`, one a line, in the form of the `peers` runner.

mod bootstrap;
mod leveled;
mod row;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut only: Vec<String> = Vec::new();
    let mut shape = leveled::Shape {
        log_n: 16,
        log_q: 1320,
        log_delta: 45,
        dsize: 3,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| anyhow::anyhow!("{arg} needs a value"));
        match arg.as_str() {
            "--only" => only = value()?.split(',').map(str::to_owned).collect(),
            "--log-n" => shape.log_n = value()?.parse()?,
            "--log-q" => shape.log_q = value()?.parse()?,
            "--log-delta" => shape.log_delta = value()?.parse()?,
            "--dsize" => shape.dsize = value()?.parse()?,
            _ => bail!("unknown argument {arg}"),
        }
    }
    let wanted = |op: &str| only.is_empty() || only.iter().any(|o| o == op);
    leveled::run(shape, &wanted)?;
    for preset in bootstrap::PRESETS {
        if wanted("bootstrap") || wanted(preset) {
            bootstrap::run(preset)?;
        }
    }
    Ok(())
}
