//! Where the messages of midge_sub go if they are not printed.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use super::ClientPlan;
use crate::{
    cli::opts::{DeliveryOptions, OnFailure, WatchOptions},
    codec::Version,
};

/// Where messages go.
#[derive(Clone, Debug)]
pub enum DeliveryPlan {
    /// To standard output, one behind the other.
    Print,
    /// To standard output, each to the place of its topic.
    Watch,
    /// Nowhere: they are counted.
    Rate,
    /// To commands.
    Exec(ExecPlan),
    /// To files.
    Files(FilesPlan),
}

/// A command for each message.
#[derive(Clone, Debug)]
pub struct ExecPlan {
    /// The program, as it was named.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How many run at a time.
    pub jobs: usize,
    /// What follows when one fails.
    pub on_failure: OnFailure,
}

/// A file for each topic.
#[derive(Clone, Debug)]
pub struct FilesPlan {
    /// The directory.
    pub dir: PathBuf,
    /// The size beyond which a new file is begun.
    pub rotate_bytes: Option<u64>,
}

impl DeliveryPlan {
    /// Checks the options.
    ///
    /// # Errors
    /// A program or directory that does not exist, and what MQTT 3.x cannot do.
    pub fn new(
        options: &DeliveryOptions,
        watch: &WatchOptions,
        client: &ClientPlan,
    ) -> Result<Self> {
        if let Some(dir) = &options.output {
            if !dir.is_dir() {
                bail!("--output {}: there is no such directory; create it first", dir.display());
            }
            return Ok(Self::Files(FilesPlan { dir: dir.clone(), rotate_bytes: options.rotate }));
        }
        let Some((program, args)) = options.exec.split_first() else {
            return Ok(match watch {
                WatchOptions { message_rate: true, .. } => Self::Rate,
                WatchOptions { watch: true, .. } => Self::Watch,
                _ => Self::Print,
            });
        };
        if !is_program(program) {
            let program = program.display();
            bail!("--exec {program}: there is no such program; give its path or see to PATH");
        }
        if options.on_failure == OnFailure::Reject && client.version != Version::V5 {
            bail!("--on-failure reject is for MQTT 5: add -V 5, or choose end or ack");
        }
        Ok(Self::Exec(ExecPlan {
            program: program.clone(),
            args: args.to_vec(),
            jobs: options.jobs.get(),
            on_failure: options.on_failure,
        }))
    }
}

/// Whether a file is there that the system would try to run.
fn is_program(name: &OsStr) -> bool {
    if name.is_empty() {
        return false;
    }
    if Path::new(name).components().count() > 1 || name.as_encoded_bytes().contains(&b'/') {
        return is_executable(Path::new(name));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| is_executable(&dir.join(name)))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Where extensions are added to names, only the system knows.
#[cfg(not(unix))]
fn is_executable(_: &Path) -> bool {
    true
}
