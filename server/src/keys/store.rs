//! Key files on disk, named by the blake3 digest of their bytes.
//!
//! An upload is written to `incoming/`, checked, synced, and renamed to `<digest>.keys`. A rename is atomic, so after a
//! crash a file is either whole or absent; left-overs in `incoming/` are removed at the next start.

use he_ops::wire::{HEADER_LEN, Header, WireError, hex};
use serde::Serialize;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of a key set: blake3 of the uploaded bytes, 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// From the digest of the bytes.
    #[must_use]
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The first digits, for logs: who knows the whole id can use and erase the keys.
    pub(crate) fn short(&self) -> String {
        hex(self.0.get(..4).unwrap_or_default())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for KeyId {
    type Err = ();

    /// Exactly 64 lower-case hexadecimal digits; nothing else ever becomes a path.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(()),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(());
        }
        let mut out = [0; 32];
        for (byte, [high, low]) in out.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(out))
    }
}

/// What is known of a stored key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Name to send as `x-key-id`.
    pub key_id: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Key-switch keys in the file.
    pub keys: usize,
    /// Digest of the parameters they were made under.
    pub params_digest: String,
}

/// Why the store cannot take or give a key set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system failed.
    #[error("key store {}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The keys were stored by another release.
    #[error(transparent)]
    Release(WireError),
    /// No room under the quota.
    #[error("key store full: {stored} of {limit} bytes used, {needed} needed")]
    Full {
        /// The quota.
        limit: u64,
        /// Bytes stored.
        stored: u64,
        /// Bytes of the new set.
        needed: u64,
    },
}

/// The folder of key files.
#[derive(Debug)]
pub struct KeyStore {
    /// `<data>/keys`.
    folder: PathBuf,
    /// `<data>/keys/incoming`, on the same file system so that a rename is atomic.
    incoming: PathBuf,
    /// Most bytes of all key files.
    limit: u64,
    /// Bytes of all key files; the lock also makes check-then-rename one step.
    stored: Mutex<u64>,
    /// Names of files in `incoming`.
    serial: AtomicU64,
    /// Held locked: a second process would remove the uploads of this one as left-overs.
    _lock: File,
}

impl KeyStore {
    /// Opens the store below `data_dir`, makes its folders, removes unfinished uploads, and counts what is there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(data_dir: &Path, limit: u64) -> Result<Self, StoreError> {
        let folder = data_dir.join("keys");
        let incoming = folder.join("incoming");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        fs::create_dir_all(&incoming).map_err(at(&incoming))?;
        // File names are key ids, and who knows an id can use and erase the keys.
        #[cfg(unix)]
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .map_err(at(&folder))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.try_lock().map_err(|error| StoreError::Io {
            path: data_dir.to_owned(),
            source: io::Error::other(format!(
                "another server uses this data folder ({error}); stop it, or give this one another --data-dir"
            )),
        })?;
        for entry in fs::read_dir(&incoming).map_err(at(&incoming))? {
            let path = entry.map_err(at(&incoming))?.path();
            fs::remove_file(&path).map_err(at(&path))?;
        }
        let (mut stored, mut outdated) = (0, 0);
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            if entry.path().extension().is_some_and(|e| e == "keys") {
                stored += entry.metadata().map_err(at(&folder))?.len();
                let mut head = Vec::with_capacity(HEADER_LEN);
                let file = File::open(entry.path()).map_err(at(&folder))?;
                file.take(HEADER_LEN as u64)
                    .read_to_end(&mut head)
                    .map_err(at(&folder))?;
                outdated += usize::from(matches!(Header::parse(&head), Err(WireError::Version { .. })));
            }
        }
        if outdated > 0 {
            tracing::warn!(
                outdated,
                folder = %folder.display(),
                "key sets of another release: their clients are told to make new ones; these can be erased"
            );
        }
        Ok(Self {
            folder,
            incoming,
            limit,
            stored: Mutex::new(stored),
            serial: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// A fresh path for an upload in progress; removed when the guard drops, unless it was committed.
    pub(crate) fn incoming(&self) -> Incoming {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        Incoming {
            path: self
                .incoming
                .join(format!("{}-{serial}.part", std::process::id())),
        }
    }

    /// Refuses early what will not fit; [`Self::commit`] checks again.
    pub(crate) fn check_room(&self, needed: u64) -> Result<(), StoreError> {
        let stored = *self.lock();
        if stored.saturating_add(needed) > self.limit {
            return Err(StoreError::Full {
                limit: self.limit,
                stored,
                needed,
            });
        }
        Ok(())
    }

    /// Makes a checked upload permanent. Uploading the same bytes again is not an error and takes no room.
    pub(crate) fn commit(&self, incoming: &Incoming, id: KeyId) -> Result<(), StoreError> {
        let path = self.path(id);
        let at = |source| StoreError::Io {
            path: path.clone(),
            source,
        };
        let file = File::open(&incoming.path).map_err(at)?;
        file.sync_all().map_err(at)?;
        let needed = file.metadata().map_err(at)?.len();
        let mut stored = self.lock();
        if path.exists() {
            return Ok(());
        }
        if stored.saturating_add(needed) > self.limit {
            return Err(StoreError::Full {
                limit: self.limit,
                stored: *stored,
                needed,
            });
        }
        fs::rename(&incoming.path, &path).map_err(at)?;
        *stored += needed;
        // The new name must survive a power cut too.
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(at)
    }

    /// Opens a key file.
    ///
    /// # Errors
    /// [`StoreError::Io`]; `Ok(None)` when there is no such set.
    pub fn open_keys(&self, id: KeyId) -> Result<Option<File>, StoreError> {
        let path = self.path(id);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// What is stored under a name, read from the frame headers only.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Release`]; `Ok(None)` when there is no such set.
    pub fn info(&self, id: KeyId) -> Result<Option<KeyInfo>, StoreError> {
        let Some(mut file) = self.open_keys(id)? else {
            return Ok(None);
        };
        let at = |source| StoreError::Io {
            path: self.path(id),
            source,
        };
        let bytes = file.metadata().map_err(at)?.len();
        let (mut keys, mut params_digest, mut position) = (0, String::new(), 0u64);
        let mut head = [0; HEADER_LEN];
        while position < bytes {
            file.seek(SeekFrom::Start(position))
                .and_then(|_| file.read_exact(&mut head))
                .map_err(at)?;
            let header = Header::parse(&head).map_err(|error| match error {
                WireError::Version { .. } => StoreError::Release(error),
                damaged => at(io::Error::other(damaged)),
            })?;
            params_digest = hex(&header.params_digest);
            position = position.saturating_add(header.frame_len());
            keys += 1;
        }
        Ok(Some(KeyInfo {
            key_id: id.to_string(),
            bytes,
            keys,
            params_digest,
        }))
    }

    /// Erases a key set; false when there was none.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, id: KeyId) -> Result<bool, StoreError> {
        let path = self.path(id);
        let mut stored = self.lock();
        let bytes = fs::metadata(&path).map(|m| m.len()).unwrap_or(0);
        match fs::remove_file(&path) {
            Ok(()) => {
                *stored = stored.saturating_sub(bytes);
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    fn path(&self, id: KeyId) -> PathBuf {
        self.folder.join(format!("{id}.keys"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        // The guarded value is a plain counter: a panic elsewhere cannot leave it half written.
        self.stored
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// An upload in progress; its file goes when this does.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Where the bytes are written.
    pub path: PathBuf,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Absent after a commit; any other failure is cleaned up at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_ops::wire::{Kind, write_frame};

    fn put(store: &KeyStore, bytes: &[u8]) -> Result<KeyId, StoreError> {
        let incoming = store.incoming();
        fs::write(&incoming.path, bytes).unwrap();
        let id = KeyId::new(*blake3::hash(bytes).as_bytes());
        store.commit(&incoming, id).map(|()| id)
    }

    #[test]
    fn keys_survive_a_restart_and_unfinished_uploads_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = write_frame(Kind::KeySwitchKey, [3; 32], b"first");
        bytes.extend(write_frame(Kind::KeySwitchKey, [3; 32], b"second key"));
        let store = KeyStore::open(dir.path(), 1000).unwrap();
        let id = put(&store, &bytes).unwrap();
        std::mem::forget({
            let unfinished = store.incoming();
            fs::write(&unfinished.path, b"half").unwrap();
            unfinished
        });
        drop(store);

        let store = KeyStore::open(dir.path(), 1000).unwrap();
        let info = store.info(id).unwrap().unwrap();
        assert_eq!(
            (info.bytes, info.keys, info.params_digest),
            (bytes.len() as u64, 2, "03".repeat(32))
        );
        assert_eq!(fs::read_dir(dir.path().join("keys/incoming")).unwrap().count(), 0);
        assert!(store.remove(id).unwrap());
        assert!(!store.remove(id).unwrap());
        assert_eq!(store.info(id).unwrap(), None);
    }

    #[test]
    fn the_quota_holds_and_the_same_keys_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = KeyStore::open(dir.path(), 250).unwrap();
        let frame = |fill: u8| write_frame(Kind::KeySwitchKey, [fill; 32], b"key");
        let id = put(&store, &frame(1)).unwrap();
        assert_eq!(put(&store, &frame(1)).unwrap(), id);
        put(&store, &frame(2)).unwrap();
        put(&store, &frame(3)).unwrap();
        assert!(matches!(
            put(&store, &frame(4)),
            Err(StoreError::Full {
                limit: 250,
                stored: 249,
                needed: 83
            })
        ));
        store.remove(id).unwrap();
        put(&store, &frame(4)).unwrap();
        assert!(store.check_room(2).is_err());
    }

    #[test]
    fn only_digests_are_names() {
        let id = KeyId::new([0xa5; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "a5",
            "../../etc/passwd",
            &"A5".repeat(32),
            &"g0".repeat(32),
            &"a5".repeat(33),
        ] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }
}
