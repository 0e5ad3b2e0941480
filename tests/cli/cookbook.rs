//! Runs every snippet of docs/cookbook.md, and compares what it prints with what is said there.
//!
//! A section is run from top to bottom. `conf` blocks are lines of mosquitto.conf: a broker is
//! started with them, in the directory that the snippets run in; a section without any has a broker
//! that lets everybody in. `sh` blocks are run by a shell, and a `text` block is what the `sh` block
//! before it prints, where `…` stands for anything within a line.

use std::{
    ffi::OsString,
    fs, iter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    run::Running,
    support::{Broker, broker::program},
};

const COOKBOOK: &str = include_str!("../../docs/cookbook.md");

/// A fenced block.
#[derive(Clone, Copy)]
struct Block<'t> {
    kind: &'t str,
    text: &'t str,
}

/// The blocks of the section with this heading.
fn blocks(heading: &str) -> Vec<Block<'static>> {
    let sections = COOKBOOK.split("\n## ").skip(1);
    let mut matching = sections.filter(|section| section.lines().next() == Some(heading));
    let section = matching.next().unwrap_or_else(|| panic!("no section {heading:?}"));
    let mut rest = section;
    iter::from_fn(|| {
        let (_, block) = rest.split_once("\n```")?;
        let (kind, block) = block.split_once('\n').unwrap();
        let (text, behind) = block.split_once("```").unwrap();
        rest = behind;
        Some(Block { kind, text })
    })
    .collect()
}

/// Where the snippets of a section run.
struct Kitchen {
    dir: TempDir,
    broker: Option<Broker>,
    path: OsString,
}

impl Kitchen {
    fn new() -> Self {
        let bin = Path::new(env!("CARGO_BIN_EXE_midge_pub")).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path).unwrap();
        Self { dir: tempfile::tempdir().unwrap(), broker: None, path }
    }

    /// The directory of the snippets.
    fn dir(&self) -> PathBuf {
        self.broker.as_ref().map_or(self.dir.path(), Broker::dir).to_owned()
    }

    /// Starts the broker of the section, with the files that the snippets have made so far.
    fn serve(&mut self, config: &str) {
        let texts: Vec<_> = fs::read_dir(self.dir()).unwrap().map(Result::unwrap).collect();
        let texts = texts.iter().map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        });
        let texts: Vec<_> = texts.collect();
        let files: Vec<_> = texts.iter().map(|(name, text)| (&**name, &**text)).collect();
        let broker = Broker::with_files(config, &files).unwrap();
        // The snippets leave host and port out, as their readers may.
        let options = format!("-h 127.0.0.1\n-p {}\n", broker.port());
        let config = broker.dir().join(".options");
        fs::create_dir(&config).unwrap();
        for tool in ["midge_pub", "midge_sub", "midge_rr"] {
            fs::write(config.join(tool), &options).unwrap();
        }
        self.broker = Some(broker);
    }

    fn run(&mut self, script: &str) -> String {
        // The first snippet of a section with passwords makes the files of the broker.
        if self.broker.is_none() && !script.contains("midge_passwd") {
            self.serve("allow_anonymous true\n");
        }
        let dir = self.dir();
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", script]).current_dir(&dir).stdin(Stdio::null());
        shell.env("PATH", &self.path).env("XDG_CONFIG_HOME", dir.join(".options"));
        let outcome = Running::start(&mut shell).wait();
        let log = self.broker.as_ref().map_or(String::new(), Broker::log);
        assert_eq!(outcome.code, Some(0), "{script}\n{outcome:?}\n{log}");
        outcome.stdout()
    }
}

/// Runs the section with this heading.
#[track_caller]
fn cook(heading: &str) {
    if program("mosquitto").is_none() {
        return;
    }
    let mut kitchen = Kitchen::new();
    let mut printed = String::new();
    for Block { kind, text } in blocks(heading) {
        match kind {
            "conf" => kitchen.serve(text),
            "sh" => printed = kitchen.run(text),
            "text" => {
                let matches = printed.lines().count() == text.lines().count()
                    && printed.lines().zip(text.lines()).all(|(line, said)| is_like(line, said));
                assert!(matches, "{heading}\n--- printed\n{printed}--- said\n{text}");
            }
            other => panic!("a block of {other:?} in {heading:?}"),
        }
    }
}

/// Whether the line is what is said, where `…` stands for anything.
fn is_like(line: &str, said: &str) -> bool {
    let mut parts = said.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

macro_rules! recipes {
    ($($test:ident: $heading:literal;)*) => {
        $(
            #[test]
            fn $test() {
                cook($heading);
            }
        )*

        /// No section of the book is left out here.
        #[test]
        fn every_recipe_is_tested() {
            let headings = COOKBOOK.split("\n## ").skip(1);
            let headings: Vec<_> = headings.map(|section| section.lines().next().unwrap()).collect();
            assert_eq!(headings, [$($heading),*]);
        }
    };
}

recipes! {
    the_state_of_the_broker: "What the broker says of itself";
    retained_messages: "Keep the last value of a topic";
    a_durable_session: "Miss nothing while away";
    a_will: "Notice that a client is gone";
    shared_subscriptions: "Share the work between several";
    passwords_and_acl: "Passwords, and who may do what";
    lwm2m: "Ask a device behind a gateway (LwM2M)";
    tcp: "Ask a device behind a gateway (a TCP protocol)";
    many_topics: "Publish a table";
    bytes: "Send and see bytes";
    replay: "Record and replay";
    store_and_forward: "Publish through an outage";
    commands: "Run a command for each message";
}

#[test]
fn anything_may_stand_for_the_ellipsis() {
    for (line, said) in [("a", "a"), ("abc", "a…"), ("abc", "…c"), ("abcd", "a…c…"), ("", "…")]
    {
        assert!(is_like(line, said), "{line} {said}");
    }
    for (line, said) in [("a", "b"), ("ab", "a"), ("abc", "a…b"), ("", "a")] {
        assert!(!is_like(line, said), "{line} {said}");
    }
}
