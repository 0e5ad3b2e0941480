//! The socket by which `midge_conn stop` finds the running loads of its user and ends them.
//!
//! Each load listens on `PID.sock` in a directory that only its user may enter. To whoever connects
//! it says in one line what it is; on `stop` it ends, and the connection with it.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

/// Time for a load to say what it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The socket of this load. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
    about: String,
    /// Whoever asked for the end, and is told of it by the end of the connection.
    asked: Option<UnixStream>,
}

impl Control {
    /// Listens for `stop`. `about` says what the load is, in one line.
    ///
    /// # Errors
    /// When there is no directory for it.
    pub(super) fn open(about: String) -> io::Result<Self> {
        Self::open_in(&directory(), about)
    }

    fn open_in(directory: &Path, about: String) -> io::Result<Self> {
        make_private(directory)?;
        let path = directory.join(format!("{}.sock", std::process::id()));
        // That of a process of the same number, which has been killed.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        Ok(Self { listener, path, about, asked: None })
    }

    /// Waits until the load is asked to end.
    ///
    /// # Cancel safety
    /// Cancel safe, but for whoever is being answered.
    pub(super) async fn stopped(&mut self) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors, say. The load goes on, and ends by a signal.
                return std::future::pending().await;
            };
            let mut stream = BufReader::new(stream);
            let mut word = String::new();
            let answered = async {
                stream.write_all(format!("{}\n", self.about).as_bytes()).await?;
                stream.read_line(&mut word).await
            };
            let answered = tokio::time::timeout(ANSWER_TIMEOUT, answered).await;
            if matches!(answered, Ok(Ok(_))) && word == "stop\n" {
                self.asked = Some(stream.into_inner());
                return;
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A load that is running.
#[derive(Debug)]
pub(super) struct Running {
    /// Its process.
    pub(super) id: u32,
    /// What it says of itself.
    pub(super) about: String,
    stream: BufReader<UnixStream>,
}

impl Running {
    /// All running loads of this user, in the order of their numbers.
    pub(super) async fn all() -> io::Result<Vec<Self>> {
        Self::all_in(&directory()).await
    }

    async fn all_in(directory: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let Some(id) = id else { continue };
            match Self::ask(id, &path).await {
                Ok(running) => all.push(running),
                // Left behind by a process that was killed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let _ = fs::remove_file(&path);
                }
                // It has ended meanwhile, or does not answer.
                Err(_) => {}
            }
        }
        all.sort_by_key(|running| running.id);
        Ok(all)
    }

    async fn ask(id: u32, path: &Path) -> io::Result<Self> {
        let mut stream = BufReader::new(UnixStream::connect(path).await?);
        let mut about = String::new();
        tokio::time::timeout(ANSWER_TIMEOUT, stream.read_line(&mut about)).await??;
        Ok(Self { id, about: about.trim_end().to_owned(), stream })
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        self.stream.write_all(b"stop\n").await?;
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await?;
        Ok(())
    }
}

/// Where the sockets of this user are.
fn directory() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|path| path.is_absolute()) {
        Some(path) => path.join("midge_conn"),
        None => {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("midge_conn-{user}"))
        }
    }
}

/// Makes a directory for this user alone, or makes sure that it is one.
fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        outcome => return outcome,
    }
    let about = fs::symlink_metadata(directory)?;
    let mine = about.uid() == rustix::process::geteuid().as_raw();
    if about.is_dir() && mine && about.mode() & 0o077 == 0 {
        return Ok(());
    }
    let text = format!("{} is not a directory for this user alone", directory.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_load_is_found_and_ends_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("here");
        assert!(Running::all_in(&place).await.unwrap().is_empty());
        let mut control = Control::open_in(&place, "7 clients".to_owned()).unwrap();
        let asking = tokio::spawn(async move {
            // One that only looks, and one that ends it.
            let looked = Running::all_in(&place).await.unwrap();
            assert_eq!((looked[0].id, &*looked[0].about), (std::process::id(), "7 clients"));
            drop(looked);
            let [running] = <[_; 1]>::try_from(Running::all_in(&place).await.unwrap()).unwrap();
            running.stop().await.unwrap();
            place
        });
        control.stopped().await;
        drop(control);
        let place = asking.await.unwrap();
        assert!(Running::all_in(&place).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_a_killed_process_left_behind_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(Running::all_in(dir.path()).await.unwrap().is_empty());
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_of_others_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = make_private(dir.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        make_private(dir.path()).unwrap();
    }
}
