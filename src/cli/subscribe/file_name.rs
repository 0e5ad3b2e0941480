//! From a topic to the name of its file.
//!
//! Topics come from whoever publishes: no name may leave the directory, hide, or be the name of
//! another topic's file. The levels become directories and the last one a file that ends in `.log`;
//! directories have no dot in their names, so that no file is where a directory has to be.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::cli::stdio::needs_escape;

/// What is said about the names in the manual page.
pub(super) const MANUAL: &str = "\
The file of --output for the topic a/b/c is DIR/a/b/c.log; rotated ones are DIR/a/b/c.log.1 and so \
on. In a name, % and two hexadecimal digits stand for a byte of the topic that a name cannot have: \
control characters, the characters \" * : < > ? \\ | and %, a dot or dash that a name would begin \
with, and every dot in the name of a directory. A level without characters is %00. The file of a \
topic whose name would have more than 1,000 bytes, or a level more than 200, is \
DIR/%long/HASH.log, with the SHA-256 of the topic. One midge_sub at a time should write to a \
directory.";

const MAX_NAME_BYTES: usize = 1000;
/// Most file systems have names of up to 255 bytes; the suffixes need some.
const MAX_LEVEL_BYTES: usize = 200;

/// The path of the file for `topic`, below the directory.
pub(super) fn file_path(topic: &str) -> PathBuf {
    let mut path = String::with_capacity(topic.len() + 8);
    let mut fits = true;
    let mut levels = topic.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_file = levels.peek().is_none();
        let start = path.len();
        escape_level(level, is_file, &mut path);
        fits &= path.len() - start <= MAX_LEVEL_BYTES && path.len() <= MAX_NAME_BYTES;
        if !fits {
            break;
        }
        path.push_str(if is_file { ".log" } else { "/" });
    }
    if fits { path.into() } else { hashed_path(topic) }
}

fn hashed_path(topic: &str) -> PathBuf {
    let mut name = String::new();
    for byte in Sha256::digest(topic) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    // No level is escaped to that.
    Path::new("%long").join(name + ".log")
}

fn escape_level(level: &str, is_file: bool, out: &mut String) {
    if level.is_empty() {
        out.push_str("%00");
    }
    for (at, c) in level.char_indices() {
        let is_escaped = match c {
            '.' => at == 0 || !is_file,
            '-' => at == 0,
            '"' | '*' | ':' | '<' | '>' | '?' | '\\' | '|' | '%' => true,
            '\n' | '\t' => true,
            c => needs_escape(c),
        };
        if !is_escaped {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, path::Component};

    use super::*;

    fn name(topic: &str) -> String {
        file_path(topic).into_os_string().into_string().unwrap()
    }

    #[test]
    fn plain_topics_keep_their_names() {
        assert_eq!(name("a"), "a.log");
        assert_eq!(name("plant/7/state"), "plant/7/state.log");
        assert_eq!(name("grüße/ü b"), "grüße/ü b.log");
        assert_eq!(name("v1.2/file.txt"), "v1%2E2/file.txt.log");
        assert_eq!(name("$SYS/broker"), "$SYS/broker.log");
    }

    #[test]
    fn nothing_leaves_the_directory_or_hides() {
        assert_eq!(name("../../etc/passwd"), "%2E%2E/%2E%2E/etc/passwd.log");
        assert_eq!(name(".."), "%2E..log");
        assert_eq!(name("/etc/passwd"), "%00/etc/passwd.log");
        assert_eq!(name("a//b/"), "a/%00/b/%00.log");
        assert_eq!(name(".bashrc"), "%2Ebashrc.log");
        assert_eq!(name("-rf"), "%2Drf.log");
        assert_eq!(name("C:\\x"), "C%3A%5Cx.log");
        assert_eq!(name("a\nb\x1b\u{202e}%"), "a%0Ab%1B%E2%80%AE%25.log");
    }

    #[test]
    fn different_topics_have_different_files_and_no_directory_is_a_file() {
        let levels =
            ["", ".", "..", "a", "a.log", "a.log.1", "%00", "%long", "%2E", ".log", "-", "A"];
        let mut files = HashSet::new();
        let mut dirs = HashSet::new();
        let mut topics: Vec<String> = levels.iter().map(|level| level.to_string()).collect();
        for first in levels {
            for second in levels {
                topics.push(format!("{first}/{second}"));
                topics.push(format!("{first}/{second}/a"));
            }
        }
        topics.retain(|topic| !topic.is_empty());
        for topic in &topics {
            let path = file_path(topic);
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
            for rotated in ["", ".1"] {
                let file = format!("{}{rotated}", path.display());
                assert!(files.insert(file), "{topic:?}");
            }
            dirs.extend(path.ancestors().skip(1).map(|dir| dir.display().to_string()));
        }
        assert!(files.is_disjoint(&dirs));
    }

    #[test]
    fn long_topics_have_a_hash() {
        let long = "x".repeat(MAX_LEVEL_BYTES);
        assert_eq!(name(&long), long.clone() + ".log");
        for topic in [format!("{long}x"), format!("a/{long}x/b"), "a/".repeat(600), "\n".repeat(67)]
        {
            let name = name(&topic);
            assert!(name.starts_with("%long/") && name.len() == 6 + 64 + 4, "{name}");
        }
        assert_ne!(name(&"y".repeat(201)), name(&"z".repeat(201)));
    }

    proptest::proptest! {
        #[test]
        fn any_topic_has_a_file_of_its_own(
            one in "[./%a\\-\\\\ü\u{202e}\n0-2]{1,12}",
            other in "[./%a\\-\\\\ü\u{202e}\n0-2]{1,12}",
        ) {
            let path = file_path(&one);
            for part in path.components() {
                let Component::Normal(part) = part else { panic!("{path:?}") };
                let part = part.to_str().unwrap();
                assert!(!part.starts_with(['.', '-']), "{path:?}");
                assert!(!part.chars().any(char::is_control), "{path:?}");
            }
            assert_eq!(path == file_path(&other), one == other, "{path:?}");
            // No file of one is a directory of the other.
            assert!(!file_path(&other).ancestors().skip(1).any(|dir| dir == path), "{path:?}");
        }
    }
}
