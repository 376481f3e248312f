//! The key folder: one folder per model with the secret key (mode 0600), the evaluation keys, and what the server said
//! of the model when they were made, so that encrypting and decrypting need no network.

use crate::error::{Error, Result};
use crate::session::{KeySet, Session};
use he_ops::wire::{decode_decision_secret, decode_secret_key, encode_decision_secret, encode_secret_key};
use models::{Bundle, Manifest};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// File of the secret key.
pub const SECRET: &str = "secret.key";
/// The secrets of the exact decision, if the keys can ask for labels; mode 0600.
pub const LABEL_SECRET: &str = "label.key";
/// File of the evaluation keys: concatenated frames, as uploaded.
pub const EVALUATION: &str = "evaluation.keys";
const MANIFEST: &str = "manifest.json";

/// The keys and public files of one model.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    model: String,
    path: PathBuf,
}

impl KeyFolder {
    /// The folder of `model` below `home`. Nothing is read or made yet.
    #[must_use]
    pub fn new(home: &Path, model: &str) -> Self {
        Self {
            model: model.to_owned(),
            path: home.join(model),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses to go on where a secret key would be replaced: what was encrypted with it could not be read any more.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn check_free(&self, force: bool) -> Result<()> {
        let path = self.path.join(SECRET);
        if path.exists() && !force {
            Err(Error::Exists { path })
        } else {
            Ok(())
        }
    }

    /// Makes the evaluation keys, straight into their file, and writes everything; the secret key last, so that an
    /// interrupted run leaves no folder that looks complete. `progress(done, total)` after each key.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Exists`], and those of [`Session::evaluation_keys`].
    pub fn save(
        &self,
        session: &Session,
        files: &[(String, Vec<u8>)],
        force: bool,
        progress: impl FnMut(usize, usize),
    ) -> Result<KeySet> {
        self.check_free(force)?;
        fs::create_dir_all(&self.path).map_err(Error::io(&self.path))?;
        restrict(&self.path, 0o700)?;
        let [secret_path, label_path] = [SECRET, LABEL_SECRET].map(|name| self.path.join(name));
        for path in [&secret_path, &label_path] {
            if path.exists() {
                // An old secret key beside new evaluation keys would give answers that mean nothing.
                fs::remove_file(path).map_err(Error::io(path))?;
            }
        }
        let manifest = serde_json::to_vec_pretty(session.manifest()).unwrap_or_default();
        for (name, bytes) in files {
            write(&self.path.join(name), bytes, 0o644)?;
        }
        write(&self.path.join(MANIFEST), &manifest, 0o644)?;
        let mut keys = None;
        write_with(&self.path.join(EVALUATION), 0o644, |file| {
            keys = Some(session.evaluation_keys(file, progress)?);
            Ok(())
        })?;
        if let Some(decision) = session.decision_secret() {
            write(
                &label_path,
                &encode_decision_secret(session.params(), decision),
                0o600,
            )?;
        }
        let secret = encode_secret_key(session.params(), session.secret());
        write(&secret_path, &secret, 0o600)?;
        keys.ok_or_else(|| self.no_keys())
    }

    /// Opens the session that was saved.
    ///
    /// # Errors
    /// [`Error::NoKeys`], [`Error::Exposed`] for a secret key that others can read, [`Error::Mismatch`] for a damaged
    /// one, [`Error::Model`] for a changed bundle.
    pub fn open(&self) -> Result<Session> {
        let path = self.path.join(SECRET);
        if !path.exists() {
            return Err(self.no_keys());
        }
        check_mode(&path)?;
        let manifest = self.manifest()?;
        let read = |name: &str| -> Result<Vec<u8>> {
            let bytes = self.read(name)?;
            manifest.check_file(name, &bytes)?;
            Ok(bytes)
        };
        let mut files = BTreeMap::new();
        for name in manifest.input.files() {
            files.insert(*name, read(name)?);
        }
        let bundle = Bundle::new(|name| files.get(name).map(Vec::as_slice))?;
        let bytes = Zeroizing::new(self.read(SECRET)?);
        let params = manifest.checked_params()?;
        let secret = decode_secret_key(&params, &bytes).map_err(Error::wire(path.display().to_string()))?;
        let session = Session::new(manifest, bundle, secret)?;
        if !self.has_labels() {
            return Ok(session);
        }
        let path = self.path.join(LABEL_SECRET);
        check_mode(&path)?;
        let bytes = Zeroizing::new(self.read(LABEL_SECRET)?);
        let decision =
            decode_decision_secret(&params, &bytes).map_err(Error::wire(path.display().to_string()))?;
        session.with_labels(Some(decision))
    }

    /// The keys can ask for labels.
    #[must_use]
    pub fn has_labels(&self) -> bool {
        self.path.join(LABEL_SECRET).exists()
    }

    /// The manifest that the keys were made for.
    ///
    /// # Errors
    /// [`Error::NoKeys`], [`Error::Release`] for keys of another release, [`Error::Model`].
    pub fn manifest(&self) -> Result<Manifest> {
        if !self.path.join(MANIFEST).exists() {
            return Err(self.no_keys());
        }
        let mend = format!(
            "make new keys, which replaces these: client keygen --model {} --force",
            self.model
        );
        let other = Error::manifest(self.path.display().to_string(), mend);
        Manifest::from_json(&self.read(MANIFEST)?).map_err(other)
    }

    /// The file of the evaluation keys, and what is in it.
    ///
    /// # Errors
    /// [`Error::NoKeys`], [`Error::Io`].
    pub fn evaluation_keys(&self) -> Result<(PathBuf, KeySet)> {
        let path = self.path.join(EVALUATION);
        if !path.exists() {
            return Err(self.no_keys());
        }
        let mut hasher = blake3::Hasher::new();
        let mut file = fs::File::open(&path).map_err(Error::io(&path))?;
        // Piece by piece: they may be gigabytes.
        let bytes = std::io::copy(&mut file, &mut hasher).map_err(Error::io(&path))?;
        let key_id = hasher.finalize().to_hex().to_string();
        Ok((path, KeySet { bytes, key_id }))
    }

    fn no_keys(&self) -> Error {
        Error::NoKeys {
            model: self.model.clone(),
            folder: self.path.clone(),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        fs::read(&path).map_err(Error::io(path))
    }
}

/// Writes a file under a temporary name with its final mode, then renames it: never half a file, never a moment in
/// which others can read it.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    write_with(path, mode, |file| file.write_all(bytes).map_err(Error::io(path)))
}

/// [`write`] by a function that fills the file.
fn write_with(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut BufWriter<fs::File>) -> Result<()>,
) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    // A left-over of a process of the same number would keep its old mode.
    let _ = fs::remove_file(&part);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let written = || {
        let mut file = BufWriter::with_capacity(1 << 20, options.open(&part).map_err(Error::io(path))?);
        fill(&mut file)?;
        let flushed = file.flush().and_then(|()| file.get_ref().sync_all());
        flushed
            .and_then(|()| fs::rename(&part, path))
            .map_err(Error::io(path))
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io(path))
}

#[cfg(not(unix))]
fn restrict(_: &Path, _: u32) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(Error::io(path))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(Error::Exposed {
            path: path.to_owned(),
            mode,
        })
    }
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<()> {
    Ok(())
}
