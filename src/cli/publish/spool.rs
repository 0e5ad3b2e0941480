//! Messages that outlive the program: `--spool`.

use std::{fs::DirBuilder, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    cli::{
        opts::IdentityOptions,
        plan::{ClientPlan, SpoolPlan, random_client_id},
    },
    client::{ClientBuilder, Durability, FileStore, OutgoingQueue, StoreError},
};

/// An open spool.
#[derive(Debug)]
pub(super) struct Spool {
    store: FileStore,
    limit: usize,
}

impl Spool {
    /// Opens the spool, or makes it, and has the client be the one whose messages are in it.
    ///
    /// # Errors
    /// An identifier that is another one in each run, and files that cannot be used.
    pub(super) fn open(
        plan: &SpoolPlan,
        identity: &IdentityOptions,
        client: &mut ClientPlan,
    ) -> Result<Self> {
        let dir = &plan.dir;
        if identity.id_prefix.is_some() {
            bail!("--spool needs the same client identifier in each run: use -i in place of -I");
        }
        make_dir(dir).with_context(|| format!("--spool: cannot make {}", dir.display()))?;
        let store = FileStore::open(dir.join("session")).map_err(with_remedy)?;
        client.client_id = match (&identity.id, store.client_id()) {
            (Some(id), Some(stored)) if id != stored => bail!(
                "--spool: {} has the messages of the client {stored:?}: use -i {stored}, or another \
                 directory",
                dir.display()
            ),
            (Some(id), _) => id.clone(),
            (None, Some(stored)) => stored.to_owned(),
            (None, None) => random_client_id(),
        };
        // The session with the broker is the other half of what is on disk.
        client.clean_start = false;
        client.retry = true;
        let durability = if plan.sync { Durability::Power } else { Durability::Process };
        Ok(Self { store: store.durability(durability), limit: plan.limit })
    }

    /// How many messages are left from before.
    pub(super) fn pending(&self) -> u64 {
        self.store.pending() as u64
    }

    /// Has the client use it.
    pub(super) fn attach(self, builder: ClientBuilder) -> ClientBuilder {
        let queue =
            OutgoingQueue { messages: usize::MAX, bytes: self.limit, ..OutgoingQueue::default() };
        builder.outgoing(queue).store(self.store)
    }
}

fn with_remedy(error: StoreError) -> anyhow::Error {
    let remedy = match error {
        StoreError::Locked { .. } => "another midge_pub uses it: give each its own --spool",
        StoreError::Corrupt { .. } | StoreError::NotAStore { .. } => {
            "move the directory away to begin anew"
        }
        _ => return anyhow::Error::new(error).context("--spool"),
    };
    anyhow::anyhow!("--spool: {error}; {remedy}")
}

#[cfg(unix)]
fn make_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn make_dir(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).create(dir)
}
