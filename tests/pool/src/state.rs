// SPDX-License-Identifier: GPL-2.0

//! What every sector of every volume holds, as it was read after the last power cut: it cannot change any more but by a write.

use crate::content::Stamp;
use crate::Fault;
use std::collections::BTreeMap;
use std::path::Path;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Of each sector.
    pub(crate) stamps: Vec<Stamp>,
    /// Whether it is written to.
    pub(crate) writable: bool,
}

/// The pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) volumes: BTreeMap<u64, Volume>,
    /// The last generation that was given to a write.
    pub(crate) generation: u64,
    /// The volume that is made next.
    pub(crate) next: u64,
}

impl State {
    /// A number that no volume has had.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Saves it, as a whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        let mut put = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
        put(self.generation);
        put(self.next);
        for (&id, volume) in &self.volumes {
            put(id);
            put(volume.writable.into());
            put(volume.stamps.len() as u64);
            volume.stamps.iter().for_each(|stamp| put(stamp.0));
        }
        let new = path.with_extension("new");
        std::fs::write(&new, bytes).map_err(|error| format!("{}: {error}", new.display()))?;
        Ok(std::fs::rename(&new, path)?)
    }

    /// What was saved, if anything was.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Fault> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| format!("{}: {error}", path.display()))?,
        };
        let mut words =
            bytes.chunks_exact(8).map(|bytes| bytes.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte)));
        let cut = || format!("{}: it is cut short", path.display());
        let mut state =
            Self { generation: words.next().ok_or_else(cut)?, next: words.next().ok_or_else(cut)?, ..Self::default() };
        while let Some(id) = words.next() {
            let writable = words.next().ok_or_else(cut)? != 0;
            let sectors = words.next().ok_or_else(cut)?;
            let stamps = (0..sectors).map(|_| words.next().map(Stamp)).collect::<Option<_>>().ok_or_else(cut)?;
            state.volumes.insert(id, Volume { stamps, writable });
        }
        Ok(Some(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_loaded_as_it_was_saved() -> Result<(), Fault> {
        let path = std::env::temp_dir().join(format!("stor-pool-test-{}", std::process::id()));
        assert_eq!(State::load(&path)?, None);
        let mut state = State { generation: 9, ..State::default() };
        for writable in [true, false] {
            let id = state.number();
            state.volumes.insert(id, Volume { stamps: vec![Stamp::ZEROS, Stamp::new(id, 8)], writable });
        }
        state.save(&path)?;
        assert_eq!(State::load(&path)?, Some(state));
        std::fs::write(&path, [1; 40])?;
        let cut = State::load(&path);
        std::fs::remove_file(&path)?;
        assert!(cut.is_err(), "a part of a state is none: {cut:?}");
        Ok(())
    }
}
