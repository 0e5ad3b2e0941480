//! Option files: options that are read before those of the command line.
//!
//! The file is that of `-o`, or the one with the name of the tool in `$XDG_CONFIG_HOME` or
//! `~/.config`, or else the one that the mosquitto tool of the same kind reads there. Its lines are
//! those of the mosquitto tools: an option, a space, and the value, which is the rest of the line as
//! it stands. A line that begins with `#` is a comment. The words of `-D` are separated by single
//! spaces, its last one is the rest of the line.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::{
    Command,
    error::{Error, ErrorKind},
};

use super::{Tool, argv, option_error, opts::property};

/// A section of the manual page of every tool that reads one.
pub const MANUAL: &str = "\
Options are read from a file, too, before those of the command line: the file of -o, or else the one \
in $XDG_CONFIG_HOME (~/.config if that is not set) that has the name of the program, or the name of \
the mosquitto program of the same kind if there is none. A line of it is an option, a space, and its \
value up to the end of the line, with blanks and quotes as they stand; a line that begins with # is a \
comment:

  # The broker of the house
  -h broker.example.com
  --cafile /etc/ssl/house.pem
  -u ann
  --pw-file /home/ann/.mqtt-password
  -D connect user-property room living room

Of options that can be given once the command line counts, and so it does for the topics of \
midge_pub; -D and the others that can be repeated add up.

The environment variable MIDGE_PASSWORD has the password of the user that -u or -L names, unless \
another one is given.";

/// More than this is no file of options.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A file of options.
#[derive(Debug)]
pub struct OptionFile {
    path: PathBuf,
    name: &'static str,
    lines: Vec<Line>,
}

/// One option.
#[derive(Debug)]
struct Line {
    number: usize,
    /// As clap takes them.
    words: Vec<OsString>,
    /// Whether the line has a value behind an option that takes none; it is not among the words.
    has_stray_value: bool,
}

impl OptionFile {
    /// Reads the file that `words`, which are joined, name with `-o`, or the default one if there is
    /// one. `command` is built.
    ///
    /// # Errors
    /// `-o` given twice, and a file that cannot be read. That there is no default file is no error.
    pub fn find(tool: Tool, command: &Command, words: &[OsString]) -> Result<Option<Self>> {
        let options = words.iter().take_while(|word| *word != "--");
        let given = options.filter_map(|word| word_after(word, b"-o="));
        let read = |path: PathBuf, text| Ok(Some(Self::new(tool, command, path, text)));
        match given.collect::<Vec<_>>().as_slice() {
            [] => {}
            [path] => {
                let path = PathBuf::from(path);
                let text = read_file(&path)
                    .with_context(|| format!("-o: cannot read {}", path.display()))?;
                return read(path, text);
            }
            _ => bail!("-o is given twice: leave one of them out"),
        }
        for path in default_files(tool) {
            match read_file(&path) {
                Ok(text) => return read(path, text),
                Err(error) if is_absence(&error) => {}
                Err(error) => {
                    let name = path.display();
                    return Err(error).with_context(|| {
                        format!("cannot read the options in {name}; -o FILE replaces that file")
                    });
                }
            }
        }
        Ok(None)
    }

    fn new(tool: Tool, command: &Command, path: PathBuf, text: Vec<u8>) -> Self {
        let lines = text.split(|byte| *byte == b'\n').enumerate();
        let lines = lines.filter_map(|(at, line)| Line::new(command, tool, at + 1, line));
        Self { lines: lines.collect(), path, name: tool.name() }
    }

    /// Puts the options of the file in front of those of `words`, behind the name of the program.
    ///
    /// # Errors
    /// An option that takes no value and has one, and `-o`.
    pub fn put_before(&self, command: &Command, words: &mut Vec<OsString>) -> Result<()> {
        for line in &self.lines {
            if line.words.iter().any(|word| word == "-o" || word_after(word, b"-o=").is_some()) {
                bail!("{}: -o does not work in a file of options", self.place(line));
            }
            // What is wrong with the option itself is found when all are parsed.
            if line.has_stray_value && line.error(self.name, command).is_none() {
                let option = line.words.last().map(|option| option.display().to_string());
                bail!("{}: {} takes no value", self.place(line), option.unwrap_or_default());
            }
        }
        let replaces_topics = self.name == Tool::Pub.name() && words.iter().any(is_topic);
        let options = self.lines.iter().flat_map(|line| line.words.iter().cloned());
        let options = options.filter(|word| !(replaces_topics && is_topic(word)));
        let options: Vec<_> = options.collect();
        words.splice(1.min(words.len())..1.min(words.len()), options);
        Ok(())
    }

    /// The error with the line that it is about, when it is about one; the lines have been put
    /// before the command line that gave it.
    pub fn blame(&self, command: &Command, error: &Error) -> Option<anyhow::Error> {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return None;
        }
        for line in &self.lines {
            if let Some(error) = line.error(self.name, command) {
                return Some(anyhow!("{}: {}", self.place(line), option_error(&error)));
            }
        }
        let clash = error.kind() == ErrorKind::ArgumentConflict;
        clash.then(|| {
            let (text, path) = (option_error(error), self.path.display());
            anyhow!("{text}; options were read from {path}, too")
        })
    }

    fn place(&self, line: &Line) -> String {
        format!("{}:{}", self.path.display(), line.number)
    }
}

/// Whether the word names a topic. midge_pub publishes to all that are given; those of a file are
/// for want of any on the command line.
fn is_topic(word: &OsString) -> bool {
    word_after(word, b"--topic=").is_some()
}

impl Line {
    /// `None` for one without an option.
    fn new(command: &Command, tool: Tool, number: usize, line: &[u8]) -> Option<Self> {
        if line.starts_with(b"#") {
            return None;
        }
        let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        let begin = line.iter().position(|byte| *byte != b' ')?;
        let mut rest = line.get(begin..end).filter(|rest| !rest.is_empty())?;
        let mut words = vec![OsString::from(tool.name())];
        let mut count = 2;
        while words.len() < count
            && let Some(at) = rest.iter().position(|byte| *byte == b' ')
        {
            let (word, behind) = rest.split_at(at);
            match words.len() {
                1 if has_value(word) => break,
                1 if is_property(word) => count = 4,
                3 => count = property::word_count(word) + 1,
                _ => {}
            }
            words.push(word_of(word));
            rest = behind.get(1..).unwrap_or_default();
        }
        if !rest.is_empty() || words.len() >= 2 && count > 2 {
            words.push(word_of(rest));
        }
        let joined = argv::join_built(command, words.clone());
        let value = words.pop();
        let alone = argv::join_built(command, words);
        // A value that no option has taken makes a word of its own.
        let has_stray_value = value.is_some() && alone.len() > 1 && joined.len() > alone.len();
        let words = if has_stray_value { alone } else { joined };
        Some(Self { number, words: words.into_iter().skip(1).collect(), has_stray_value })
    }

    /// What clap says against it alone.
    fn error(&self, name: &str, command: &Command) -> Option<Error> {
        let words = [OsString::from(name)].into_iter().chain(self.words.iter().cloned());
        let error = command.clone().try_get_matches_from(words).err()?;
        let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        (!is_answer).then_some(error)
    }
}

/// Whether it is `--option=value`, which goes on to the end of the line.
fn has_value(word: &[u8]) -> bool {
    word.starts_with(b"--") && word.contains(&b'=')
}

fn is_property(word: &[u8]) -> bool {
    matches!(word, b"-D" | b"--property")
}

/// What follows `beginning` in a word that begins so.
fn word_after(word: &OsString, beginning: &[u8]) -> Option<OsString> {
    word.as_encoded_bytes().strip_prefix(beginning).map(word_of)
}

#[cfg(unix)]
fn word_of(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn word_of(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(text)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Where the options are looked for without `-o`: our file, then that of mosquitto.
fn default_files(tool: Tool) -> Vec<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (directory, suffix) = if cfg!(windows) {
        (variable("USERPROFILE"), ".conf")
    } else {
        let home = || variable("HOME").map(|home| home.join(".config"));
        (variable("XDG_CONFIG_HOME").or_else(home), "")
    };
    let ours = tool.name();
    let names = [ours.to_owned(), ours.replacen("midge", "mosquitto", 1)];
    let directory = directory.into_iter();
    directory.flat_map(|dir| names.clone().map(|name| dir.join(name + suffix))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> OptionFile {
        let command = argv::built(Tool::Pub.command());
        OptionFile::new(Tool::Pub, &command, "f".into(), text.to_vec())
    }

    /// The words of a file before those of the command line.
    fn words(text: &[u8]) -> Result<Vec<OsString>> {
        let mut words = vec!["midge_pub".into(), "-d".into()];
        file(text).put_before(&Tool::Pub.command(), &mut words)?;
        Ok(words)
    }

    /// What is said about a file that is no good.
    fn error(text: &[u8]) -> String {
        let file = file(text);
        let command = Tool::Pub.command();
        let mut words = vec!["midge_pub".into(), "-n".into()];
        match file.put_before(&command, &mut words) {
            Err(error) => error.to_string(),
            Ok(()) => {
                let error = command.clone().try_get_matches_from(words).unwrap_err();
                file.blame(&command, &error).unwrap().to_string()
            }
        }
    }

    #[test]
    fn the_value_is_the_rest_of_the_line() {
        for (line, expected) in [
            (&b"-t a"[..], &["--topic=a"][..]),
            (b"-t a b \r\n", &["--topic=a b "]),
            (b"-t  a", &["--topic= a"]),
            (b"  -t \"a\"", &["--topic=\"a\""]),
            (b"-m -n", &["--message=-n"]),
            (b"-m a\tb # c", &["--message=a\tb # c"]),
            (b"--topic=a b", &["--topic=a b"]),
            (b"# -t a\n\n   \n\r\n-d\n", &["-d"]),
            (b"-dr", &["-d", "-r"]),
            (b"-q1\n-q 2", &["--qos=1", "--qos=2"]),
            (
                b"-D publish content-type text/plain; x=y",
                &["--property=publish\0content-type\0text/plain; x=y"],
            ),
            (b"--property will user-property a b c", &["--property=will\0user-property\0a\0b c"]),
            (b"-D publish content-type ", &["--property=publish\0content-type\0"]),
        ] {
            let expected = [&["midge_pub"], expected, &["-d"]].concat();
            let words = words(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            assert_eq!(words, expected, "{}", line.escape_ascii());
        }
        let long = format!("-t {}", "x".repeat(70_000));
        assert_eq!(words(long.as_bytes()).unwrap()[1].len(), "--topic=".len() + 70_000);
    }

    #[test]
    fn topics_of_the_command_line_replace_those_of_the_file_for_midge_pub() {
        for (tool, expected) in [
            (Tool::Pub, &["tool", "-r", "--topic=c"][..]),
            (Tool::Sub, &["tool", "--topic=a", "-r", "--topic=b", "--topic=c"]),
        ] {
            let command = argv::built(tool.command());
            let text = b"-t a\n-r\n-t b".to_vec();
            let file = OptionFile::new(tool, &command, "f".into(), text);
            let mut words = ["tool", "--topic=c"].map(OsString::from).to_vec();
            file.put_before(&tool.command(), &mut words).unwrap();
            assert_eq!(words, expected);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_value_need_not_be_text() {
        assert_eq!(words(b"-m \xff\xfe").unwrap()[1].as_encoded_bytes(), b"--message=\xff\xfe");
    }

    #[test]
    fn an_error_names_the_file_and_the_line() {
        for (text, expected) in [
            (&b"-t a\n-Z"[..], "f:2: unknown option '-Z'"),
            (b"\n\n-Z 1", "f:3: unknown option '-Z'"),
            (b"host x", "f:1: unknown word 'host'"),
            (b"-q 3", "f:1: invalid value '3' for '--qos <QOS>': must be 0, 1 or 2"),
            (b"-t", "f:1: a value is required for '--topic <TOPIC>' but none was supplied"),
            (b"-d yes", "f:1: -d takes no value"),
            (b"-d -r", "f:1: -d takes no value"),
            (b"-o x", "f:1: -o does not work in a file of options"),
            (b"-do x", "f:1: -o does not work in a file of options"),
            (
                b"-m a",
                "the argument '--message <TEXT>' cannot be used with '--null-message'; options \
                 were read from f, too",
            ),
        ] {
            assert_eq!(error(text), expected, "{}", text.escape_ascii());
        }
        let property = error(b"-D publish colour s3cret");
        assert!(property.starts_with("f:1: ") && property.contains("\"colour\""), "{property}");
        assert!(!property.contains("s3cret"), "{property}");
    }
}
