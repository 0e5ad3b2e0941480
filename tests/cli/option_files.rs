//! Options that are read from a file.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    run::{Outcome, Running, midge_pub, midge_rr, midge_sub, run},
    support::{Broker, broker::program},
};

/// Publishes with options from a file and this environment, and returns what a subscriber got.
struct Place {
    broker: Broker,
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Self> {
        Some(Self { broker: Broker::start()?, dir: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file that says how to connect, and then `text`.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        let broker = format!("-h 127.0.0.1\n-p {}\n-q 1\n", self.broker.port());
        fs::write(&path, broker + text).unwrap();
        path
    }

    /// Subscribes to everything for `count` messages.
    fn watch(&self, count: usize) -> Running {
        let mut watcher = midge_sub();
        watcher.args(["-h", "127.0.0.1", "-p", &self.broker.port().to_string(), "-V", "5"]);
        watcher.args(["-t", "#", "-q", "1", "-F", "%t %p %C %P", "-W", "30", "-C"]);
        let running = Running::start(watcher.arg(count.to_string()));
        self.broker.wait_for_log("Sending SUBACK to");
        running
    }
}

fn quietly(command: &mut Command) -> Outcome {
    let outcome = run(command);
    outcome.success();
    outcome
}

#[test]
fn the_command_line_comes_behind_the_file() {
    let Some(place) = Place::new() else { return };
    let file = place.write(
        "options",
        "# A comment\n\n-t from/file\n-D publish user-property a b c\n-m  two  blanks \n",
    );
    let watcher = place.watch(2);
    quietly(midge_pub().args(["-o", &file]));
    let more = ["-D", "publish", "user-property", "d", "e", "-D", "publish", "content-type", "x"];
    quietly(midge_pub().args(["-o", &file, "-t", "from/line"]).args(more));
    assert_eq!(
        watcher.wait().success().stdout(),
        "from/file  two  blanks   a:b c\nfrom/line  two  blanks  x a:b c d:e\n"
    );
}

#[test]
fn the_default_file_is_ours_or_that_of_mosquitto() {
    let Some(place) = Place::new() else { return };
    let watcher = place.watch(4);
    place.write("config/mosquitto_pub", "-t theirs\n");
    place.write("home/.config/mosquitto_pub", "-t home\n");
    let config = place.path("config");
    let message = ["-m", "x"];
    quietly(midge_pub().env("XDG_CONFIG_HOME", &config).args(message));
    place.write("config/midge_pub", "-t ours\n");
    quietly(midge_pub().env("XDG_CONFIG_HOME", &config).args(message));
    let home = || {
        let mut tool = midge_pub();
        tool.env_remove("XDG_CONFIG_HOME").env("HOME", place.path("home"));
        tool
    };
    quietly(home().args(message));
    // -o takes its place.
    let file = place.write("options", "-t given\n");
    quietly(home().args(message).args(["-o", &file]));
    assert_eq!(watcher.wait().success().stdout(), "theirs x  \nours x  \nhome x  \ngiven x  \n");
}

#[test]
fn a_file_means_the_same_to_mosquitto_pub() {
    let (Some(place), Some(mosquitto_pub)) = (Place::new(), program("mosquitto_pub")) else {
        return;
    };
    place.write(
        "mosquitto_pub",
        "#-t wrong\n  -t a b\r\n--message -x #\"y\" \n\n-d\n-i  me\n--will-topic w\n-r\n",
    );
    let watcher = place.watch(2);
    for tool in [Command::new(mosquitto_pub), midge_pub()] {
        let mut tool = tool;
        quietly(tool.env("XDG_CONFIG_HOME", place.dir.path()).stdin(Stdio::null()));
    }
    assert_eq!(watcher.wait().success().stdout(), "a b -x #\"y\"   \na b -x #\"y\"   \n");
    let log = place.broker.log();
    assert_eq!(log.matches(" as  me (p2, c1, k60)").count(), 2, "{log}");
}

#[test]
fn every_tool_reads_its_file() {
    let Some(place) = Place::new() else { return };
    place.write("midge_sub", "-t a\n-C 1\n-W 30\n");
    place.write("midge_rr", "-t ask\n-e r\n-m x\n-W 1\n");
    let mut subscriber = midge_sub();
    let subscriber = Running::start(subscriber.env("XDG_CONFIG_HOME", place.dir.path()));
    place.broker.wait_for_log("Sending SUBACK to");
    let file = place.write("options", "-t a\n-m seen\n");
    quietly(midge_pub().args(["-o", &file]));
    assert_eq!(subscriber.wait().success().stdout(), "seen\n");
    let outcome = run(midge_rr().env("XDG_CONFIG_HOME", place.dir.path()));
    assert_eq!(outcome.code, Some(27), "{outcome:?}");
}

#[test]
fn a_value_that_looks_like_the_option_is_none() {
    let Some(place) = Place::new() else { return };
    let watcher = place.watch(1);
    let port = place.broker.port().to_string();
    quietly(midge_pub().args(["-h", "127.0.0.1", "-p", &port, "-t", "a", "-m", "-o", "-q", "1"]));
    assert_eq!(watcher.wait().success().stdout(), "a -o  \n");
}

#[test]
fn a_default_file_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("midge_pub")).unwrap();
    let outcome = run(midge_pub().env("XDG_CONFIG_HOME", dir.path()).args(["-t", "a", "-n"]));
    outcome.said(1, "midge_pub; -o FILE replaces that file: Is a directory");
}
