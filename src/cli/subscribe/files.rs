//! --output: a file for each topic.
//!
//! Messages are written in batches, as many as are waiting, by a thread that may wait for the disk;
//! a message is acknowledged once the system has taken it. When a file cannot be written, it is cut
//! back to where it ended before, so that no message stands there in part when the broker delivers
//! it again.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{file_name::file_path, intake::Intake};
use crate::{
    cli::{
        Tool,
        exit::Failure,
        format::{Format, Renderer},
        opts::LogOptions,
        plan::FilesPlan,
    },
    client::Message,
};

/// How many messages are written together.
const BATCH: usize = 1000;
/// How many files are open at a time.
const MAX_OPEN: usize = 200;

/// Writes messages until there are no more.
///
/// # Errors
/// What cannot be written.
pub(super) async fn run(
    plan: FilesPlan,
    format: Format,
    mut intake: Intake<'_>,
    log: LogOptions,
) -> Result<(), Failure> {
    let mut files = Files::new(plan, format, log);
    while let Some(message) = intake.next().await {
        let mut batch = vec![message];
        while batch.len() < BATCH
            && let Some(message) = intake.try_next()
        {
            batch.push(message);
        }
        let written = tokio::task::spawn_blocking(move || {
            let written = files.write(&batch);
            (files, batch, written)
        });
        let (back, batch, (count, outcome)) = written.await.context("writing files failed")?;
        files = back;
        batch.iter().take(count).for_each(|message| intake.succeeded(message));
        outcome?;
    }
    Ok(())
}

/// The files of one directory.
struct Files {
    dir: PathBuf,
    rotate_bytes: Option<u64>,
    header: Option<&'static str>,
    renderer: Renderer,
    log: LogOptions,
    open: HashMap<PathBuf, TopicFile>,
    /// Counts uses, to find what was not used for longest.
    uses: u64,
}

struct TopicFile {
    path: PathBuf,
    file: File,
    len: u64,
    /// What is to be appended.
    buffer: Vec<u8>,
    /// The first message in it, by its place in the batch.
    first: usize,
    /// What was in the buffer could not be written.
    failed: bool,
    last_use: u64,
}

impl Files {
    fn new(plan: FilesPlan, format: Format, log: LogOptions) -> Self {
        Self {
            dir: plan.dir,
            rotate_bytes: plan.rotate_bytes,
            header: format.header(),
            renderer: Renderer::new(format),
            log,
            open: HashMap::new(),
            uses: 0,
        }
    }

    /// Writes messages, and says how many of them, from the first on, may be acknowledged.
    fn write(&mut self, batch: &[Message]) -> (usize, Result<()>) {
        let mut written = batch.len();
        let mut outcome = Ok(());
        for (place, message) in batch.iter().enumerate() {
            if let Err(error) = self.append(place, message) {
                written = place;
                outcome = Err(error);
                break;
            }
        }
        for file in self.open.values_mut() {
            outcome = outcome.and(file.flush());
            if file.failed {
                written = written.min(file.first);
            }
        }
        (written, outcome)
    }

    /// Adds a message to the buffer of its file.
    fn append(&mut self, place: usize, message: &Message) -> Result<()> {
        let mut text = Vec::new();
        let publish = message.publish();
        if let Err(error) = self.renderer.render(&publish, &mut text)
            && !self.log.quiet
        {
            super::complain(Tool::Sub, publish.topic, error);
        }
        let rotate_bytes = self.rotate_bytes;
        let header = self.header;
        let file = self.file(message.topic())?;
        let len = file.len + file.buffer.len() as u64;
        if len > 0 && rotate_bytes.is_some_and(|limit| len + text.len() as u64 > limit) {
            file.flush()?;
            file.rotate()?;
        }
        if file.buffer.is_empty() {
            file.first = place;
        }
        if let Some(header) = header
            && file.len == 0
            && file.buffer.is_empty()
        {
            file.buffer.extend_from_slice(header.as_bytes());
            file.buffer.push(b'\n');
        }
        file.buffer.append(&mut text);
        Ok(())
    }

    fn file(&mut self, topic: &str) -> Result<&mut TopicFile> {
        self.uses += 1;
        let path = self.dir.join(file_path(topic));
        if !self.open.contains_key(&path) {
            if self.open.len() >= MAX_OPEN {
                self.close_oldest()?;
            }
            let file = TopicFile::open(path.clone())?;
            self.open.insert(path.clone(), file);
        }
        let file = self.open.get_mut(&path).context("the file that was just opened")?;
        file.last_use = self.uses;
        Ok(file)
    }

    fn close_oldest(&mut self) -> Result<()> {
        let oldest = self.open.values().min_by_key(|file| file.last_use);
        let Some(path) = oldest.map(|file| file.path.clone()) else { return Ok(()) };
        match self.open.get_mut(&path) {
            Some(file) => file.flush()?,
            None => return Ok(()),
        }
        self.open.remove(&path);
        Ok(())
    }
}

impl TopicFile {
    fn open(path: PathBuf) -> Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)
                .with_context(|| format!("cannot create the directory {}", dir.display()))?;
        }
        let (file, len) = append_to(&path)?;
        Ok(Self { path, file, len, buffer: Vec::new(), first: 0, failed: false, last_use: 0 })
    }

    /// Writes the buffer; if that fails, the file is as it was before.
    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.buffer);
        let bytes = self.buffer.len() as u64;
        self.buffer.clear();
        match written {
            Ok(()) => {
                self.len += bytes;
                Ok(())
            }
            Err(error) => {
                self.failed = true;
                // What is no regular file (a device that is full) cannot be shortened.
                let _ = self.file.set_len(self.len);
                Err(error).with_context(|| format!("cannot write to {}", self.path.display()))
            }
        }
    }

    /// Gives the file the first number that is free, and begins a new one.
    fn rotate(&mut self) -> Result<()> {
        let old = first_free(&self.path);
        fs::rename(&self.path, &old)
            .with_context(|| format!("cannot rename {}", self.path.display()))?;
        (self.file, self.len) = append_to(&self.path)?;
        Ok(())
    }
}

fn append_to(path: &Path) -> Result<(File, u64)> {
    let open = || -> io::Result<(File, u64)> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        // The last name is never followed to somewhere else.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
        let file = options.open(path)?;
        let len = file.metadata()?.len();
        Ok((file, len))
    };
    open().with_context(|| format!("cannot open {}", path.display()))
}

/// `PATH.1`, or the first number behind those that are taken.
fn first_free(path: &Path) -> PathBuf {
    let numbered = |number: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    // Doubling and halving: nobody waits for as many looks as there are files.
    let is_taken = |number| fs::symlink_metadata(numbered(number)).is_ok();
    let mut free = 1;
    while is_taken(free) {
        free *= 2;
    }
    let mut taken = free / 2;
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_taken(middle) { taken = middle } else { free = middle }
    }
    numbered(free)
}
