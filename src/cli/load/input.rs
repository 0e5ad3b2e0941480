//! Reports and logs that a load has written.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::hlog::Log;
use crate::load::Report;

/// A file that a load has written.
#[derive(Debug)]
pub(super) enum Input {
    /// A report.
    Report(Box<Report>),
    /// A log of histograms.
    Log(Log),
}

impl Input {
    /// Reads a file; which of the two it is shows in its first character.
    ///
    /// # Errors
    /// When it cannot be read, or is neither.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let parsed = if text.trim_ascii_start().first() == Some(&b'#') {
            Log::parse(&text).map(Self::Log)
        } else {
            Report::from_json(&text)
                .map(|report| Self::Report(Box::new(report)))
                .map_err(Into::into)
        };
        parsed.with_context(|| format!("cannot use {}", path.display()))
    }
}

/// Reads a report.
///
/// # Errors
/// When it cannot be read, or is something else.
pub(super) fn report(path: &Path) -> Result<Report> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Report::from_json(&text).with_context(|| format!("cannot use {}", path.display()))
}
