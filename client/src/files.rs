//! Files and pipes of the command line: `-` is stdin or stdout, and nothing is overwritten without being told.

use client::{Error, Result};
use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

fn is_pipe(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// All bytes of a file or of stdin.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    if !is_pipe(path) {
        return fs::read(path).map_err(io(path));
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(io(Path::new("stdin")))?;
    Ok(bytes)
}

/// A file or stdin, to be read piece by piece.
pub fn open(path: &Path) -> Result<Box<dyn Read>> {
    if is_pipe(path) {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = fs::File::open(path).map_err(io(path))?;
    Ok(Box::new(std::io::BufReader::with_capacity(1 << 20, file)))
}

/// Most bytes of a text on stdin: the models read a few hundred of them.
const TEXT_LIMIT: u64 = 1 << 20;

/// A text from stdin.
pub fn read_text() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let stdin = std::io::stdin().lock();
    let stdin_error = || io(Path::new("stdin"));
    stdin
        .take(TEXT_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(stdin_error())?;
    if bytes.len() as u64 > TEXT_LIMIT {
        let reason = format!("a text of at most {TEXT_LIMIT} bytes needed, more found");
        return Err(stdin_error()(std::io::Error::other(reason)));
    }
    Ok(bytes)
}

/// Refuses to overwrite; called before any work is done.
pub fn check_output(path: &Path, force: bool) -> Result<()> {
    if is_pipe(path) {
        let reason = "binary data would garble this terminal; use -o FILE or a pipe";
        let error = || io(Path::new("stdout"))(std::io::Error::other(reason));
        return if std::io::stdout().is_terminal() {
            Err(error())
        } else {
            Ok(())
        };
    }
    if path.exists() && !force {
        return Err(Error::Exists {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Writes a whole result.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if !is_pipe(path) {
        return fs::write(path, bytes).map_err(io(path));
    }
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(io(Path::new("stdout")))
}

/// Writes text for people or one JSON document to stdout.
pub fn print(text: &str) -> Result<()> {
    write(Path::new("-"), text.as_bytes())
}

/// One JSON document and a line end.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let json =
        serde_json::to_string_pretty(value).map_err(|e| io(Path::new("stdout"))(std::io::Error::other(e)))?;
    print(&(json + "\n"))
}

/// The folder of the keys: as given, else `he-keys` in the user's data folder.
pub fn key_home(given: Option<&PathBuf>) -> PathBuf {
    if let Some(given) = given {
        return given.clone();
    }
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let data = folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .or_else(|| folder("LOCALAPPDATA"));
    data.unwrap_or_default().join("he-keys")
}
