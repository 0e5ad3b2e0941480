//! The files that a load writes.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result};

use crate::load::Report;

/// The file that the report goes to. It is opened before the load, which would otherwise be lost on
/// a file that cannot be written, and changed only after it.
pub(super) struct Output<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Output<'a> {
    /// Opens the file, creating it where there is none.
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Replaces what is in the file with `report` as JSON.
    pub(super) fn write(&mut self, report: &Report) -> Result<()> {
        let text = report.to_json();
        let mut write = || {
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
            }
            self.file.write_all(&text)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
