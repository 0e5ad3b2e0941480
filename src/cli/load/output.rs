//! The files that a load writes: opened before it starts, so that a load is not lost on a file that
//! cannot be written.

use std::{
    fs::{File, OpenOptions},
    io::{self, LineWriter, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::JoinHandle,
};

use anyhow::{Context, Result, anyhow, bail};

use super::{csv, hlog, html};
use crate::{
    cli::opts::load::{ReportFiles, ReportOptions},
    load::{Report, Update},
};

/// A file that is changed only once there is something to write.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Opens the file, creating it where there is none.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Replaces what is in the file by what `write` writes.
    pub(super) fn replace(
        &mut self,
        write: impl FnOnce(&mut io::BufWriter<&mut File>) -> Result<()>,
    ) -> Result<()> {
        let replace = || {
            self.empty()?;
            let mut out = io::BufWriter::new(&mut self.file);
            write(&mut out)?;
            Ok::<_, anyhow::Error>(out.flush()?)
        };
        replace().with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn empty(&self) -> io::Result<()> {
        if self.file.metadata()?.is_file() { self.file.set_len(0) } else { Ok(()) }
    }

    /// The file, emptied, to be written line by line.
    fn into_lines(self) -> Result<LineWriter<File>> {
        self.empty().with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(LineWriter::new(self.file))
    }
}

/// The files that a whole report goes to.
#[derive(Debug, Default)]
pub(super) struct Files {
    json: Option<Output>,
    html: Option<Output>,
}

impl Files {
    /// Opens the files.
    ///
    /// # Errors
    /// The first file that cannot be written, or that two outputs would share.
    pub(super) fn open(files: &ReportFiles) -> Result<Self> {
        Ok(Self { json: open(files.json.as_deref())?, html: open(files.html.as_deref())? })
    }

    /// Checks that no two of all outputs are one file, by whatever names.
    ///
    /// # Errors
    /// The first two that are.
    pub(super) fn check_apart_from<'a>(
        &'a self,
        others: impl IntoIterator<Item = Option<&'a Output>>,
    ) -> Result<()> {
        let all = [self.json.as_ref(), self.html.as_ref()].into_iter().chain(others).flatten();
        let mut known = Vec::new();
        for output in all {
            let about =
                output.file.metadata().with_context(|| output.path.display().to_string())?;
            let file = (about.dev(), about.ino());
            if about.is_file() && known.contains(&file) {
                bail!("two outputs cannot share {}: give each a file", output.path.display());
            }
            known.push(file);
        }
        Ok(())
    }

    /// Writes the report to each of them.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub(super) fn write(&mut self, report: &Report) -> Result<()> {
        if let Some(json) = &mut self.json {
            json.replace(|out| Ok(out.write_all(&report.to_json())?))?;
        }
        if let Some(page) = &mut self.html {
            page.replace(|out| Ok(out.write_all(html::render(report).as_bytes())?))?;
        }
        Ok(())
    }
}

fn open(path: Option<&Path>) -> Result<Option<Output>> {
    path.map(Output::open).transpose()
}

/// Everything that one load writes.
#[derive(Debug)]
pub(super) struct Outputs {
    files: Files,
    csv: Option<(PathBuf, LineWriter<File>)>,
    hlog: Option<Recorder>,
    /// The first thing that went wrong while the load ran.
    failed: Option<anyhow::Error>,
}

impl Outputs {
    /// Opens all files.
    ///
    /// # Errors
    /// The first one that cannot be written, or that two outputs would share.
    pub(super) fn open(options: &ReportOptions) -> Result<Self> {
        let files = Files::open(&options.files)?;
        let (csv, hlog) = (open(options.csv.as_deref())?, open(options.files.hlog.as_deref())?);
        files.check_apart_from([csv.as_ref(), hlog.as_ref()])?;
        let csv = csv
            .map(|output| {
                let path = output.path.clone();
                let mut lines = output.into_lines()?;
                csv::write_header(&mut lines)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok::<_, anyhow::Error>((path, lines))
            })
            .transpose()?;
        let hlog = hlog.map(Recorder::start).transpose()?;
        Ok(Self { files, csv, hlog, failed: None })
    }

    /// Writes what is written while the load runs.
    pub(super) fn observe(&mut self, update: &Update) {
        let Update::Second(interval) = update else { return };
        if let Some((path, lines)) = &mut self.csv
            && let Err(error) = csv::write_row(&interval.second, lines)
        {
            let error = anyhow!(error).context(format!("cannot write {}", path.display()));
            self.failed.get_or_insert(error);
            self.csv = None;
        }
        if let Some(recorder) = &self.hlog {
            recorder.send(hlog::Entry::Interval(interval.clone()));
        }
    }

    /// Writes what is written at the end.
    ///
    /// # Errors
    /// The first file that could not be written, at any time.
    pub(super) fn finish(mut self, report: &Report) -> Result<()> {
        if let Some(recorder) = self.hlog.take() {
            recorder.send(hlog::Entry::End(hlog::RunName::of(report)));
            recorder.finish()?;
        }
        self.files.write(report)?;
        self.failed.map_or(Ok(()), Err)
    }
}

/// The thread that writes the log of histograms.
#[derive(Debug)]
struct Recorder {
    path: PathBuf,
    entries: mpsc::Sender<hlog::Entry>,
    thread: JoinHandle<io::Result<()>>,
}

impl Recorder {
    fn start(output: Output) -> Result<Self> {
        let path = output.path.clone();
        let mut lines = output.into_lines()?;
        let (entries, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("midge-hlog".to_owned())
            .spawn(move || {
                hlog::write(received, &mut lines)?;
                lines.flush()
            })
            .context("cannot start a thread")?;
        Ok(Self { path, entries, thread })
    }

    /// Hands an entry over. Once writing has failed, [`finish`](Self::finish) tells.
    fn send(&self, entry: hlog::Entry) {
        let _ = self.entries.send(entry);
    }

    fn finish(self) -> Result<()> {
        drop(self.entries);
        let outcome = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome.with_context(|| format!("cannot write {}", self.path.display()))
    }
}
