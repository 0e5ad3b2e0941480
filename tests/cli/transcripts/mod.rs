//! Command lines that are refused, and what is said: `options.txt` is the table.
//!
//! `$` is a command line, `!` a line of standard error, `?` the exit code; `#` is a comment. Words
//! are separated by blanks, quotes and `\xNN` are those of `$'...'` in a shell. The names of several
//! tools with `|` between stand for one command line each, in whose answers `*` is the name, and `@`
//! for what the tool needs to have something to do. Every line gives nothing on standard
//! output and connects to nothing. `MIDGE_BLESS=1 cargo test --test cli transcripts` writes the
//! answers anew.

use std::{env, ffi::OsString, fs, os::unix::ffi::OsStringExt, path::Path, thread};

use crate::run::{midge_pub, midge_rr, midge_sub, run};

/// Files of the directory that the tools run in.
const FILES: [(&str, &[u8]); 9] = [
    ("good", b"# How we connect\n\n-h broker\n-k 30\n-D publish content-type text/plain\n"),
    ("unknown", b"-k 30\n--zz 1\n"),
    ("value", b"\n\n-k 4\n"),
    ("flag", b"-d yes\n"),
    ("word", b"host broker\n"),
    ("nested", b"-o good\n"),
    ("property", b"-D publish colour red\n"),
    ("source", b"-m hello\n"),
    ("id", b"-i me\n"),
];

struct Case {
    command_line: String,
    /// The lines of standard error and the exit code, as they stand in the table.
    answer: Vec<String>,
}

#[test]
fn wrong_options_are_refused_in_these_words() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/transcripts/options.txt");
    let table = fs::read_to_string(&path).unwrap();
    let (heads, cases) = read(&table);
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let given = answers(&cases, dir.path());
    if env::var_os("MIDGE_BLESS").is_some() {
        let mut blessed = String::new();
        for ((head, case), answer) in heads.iter().zip(&cases).zip(&given) {
            blessed += &format!("{head}$ {}\n{}\n", case.command_line, answer.join("\n"));
        }
        fs::write(path, blessed).unwrap();
        return;
    }
    let mut wrong = String::new();
    for (case, given) in cases.iter().zip(&given) {
        if case.answer != *given {
            let (expected, given) = (case.answer.join("\n"), given.join("\n"));
            wrong += &format!("$ {}\n- {expected}\n+ {given}\n", case.command_line);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The cases, and what stands before each.
fn read(table: &str) -> (Vec<String>, Vec<Case>) {
    let (mut heads, mut cases): (Vec<String>, Vec<Case>) = (vec![String::new()], Vec::new());
    for line in table.lines() {
        if let Some(command_line) = line.strip_prefix("$ ") {
            cases.push(Case { command_line: command_line.to_owned(), answer: Vec::new() });
            heads.push(String::new());
        } else if line.starts_with("! ") || line.starts_with("? ") {
            cases.last_mut().unwrap().answer.push(line.to_owned());
        } else {
            *heads.last_mut().unwrap() += &format!("{line}\n");
        }
    }
    (heads, cases)
}

/// What each of them gives.
fn answers(cases: &[Case], dir: &Path) -> Vec<Vec<String>> {
    const THREADS: usize = 4;
    let part = cases.len().div_ceil(THREADS).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = cases
            .chunks(part)
            .map(|cases| scope.spawn(|| cases.iter().map(|case| answer(case, dir)).collect()))
            .collect();
        parts.into_iter().flat_map(|part| -> Vec<_> { part.join().unwrap() }).collect()
    })
}

fn answer(case: &Case, dir: &Path) -> Vec<String> {
    let words = words(&case.command_line);
    let tools = words[0].to_str().unwrap();
    let several = tools.contains('|');
    let mut lines = Vec::new();
    for tool in tools.split('|') {
        let (mut command, needed) = match tool {
            "midge_pub" => (midge_pub(), &["-t", "a", "-n"][..]),
            "midge_sub" => (midge_sub(), &["-t", "a"][..]),
            "midge_rr" => (midge_rr(), &["-t", "a", "-e", "b", "-n"][..]),
            other => panic!("{other}: {}", case.command_line),
        };
        for word in &words[1..] {
            if word == "@" {
                command.args(needed);
            } else {
                command.arg(word);
            }
        }
        let outcome = run(command.current_dir(dir));
        assert_eq!(outcome.stdout, b"", "{}", case.command_line);
        let prefix = format!("{tool}: ");
        let said: Vec<_> = outcome.stderr.lines().collect();
        assert!(said.iter().all(|line| line.starts_with(&prefix)), "{outcome:?}");
        let mut said: Vec<String> = said
            .into_iter()
            .map(|line| match several {
                true => format!("! {}", line.replace(tool, "*")),
                false => format!("! {line}"),
            })
            .collect();
        said.push(format!("? {}", outcome.code.unwrap()));
        if lines.is_empty() {
            lines = said;
        } else {
            assert_eq!(lines, said, "the tools differ: {}", case.command_line);
        }
    }
    lines
}

/// The words of a command line.
fn words(line: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = after;
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take().map(OsString::from_vec)),
            '\\' if after.starts_with('x') => {
                let byte = u8::from_str_radix(&after[1..3], 16).unwrap();
                word.get_or_insert_default().push(byte);
                rest = &after[3..];
            }
            c => {
                let word = word.get_or_insert_default();
                word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    words.extend(word.map(OsString::from_vec));
    words
}
