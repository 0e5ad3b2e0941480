//! The floors of the house: which module may import which. A breach fails here, with its line.
//!
//! Also checked: no source file is longer than 900 lines, and a program in `src/bin` is no more
//! than a call into `midge::cli`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A floor and the floors it may import.
const FLOORS: [(&str, &[&str]); 8] = [
    ("cli", &["client", "load", "passwd", "session", "codec", "net"]),
    ("load", &["driver", "session", "net", "codec"]),
    ("client", &["driver", "session", "net", "codec"]),
    ("driver", &["session", "net", "codec"]),
    ("net", &[]),
    ("session", &["codec"]),
    ("codec", &[]),
    ("passwd", &[]),
];
const MAX_LINES: usize = 900;
const MAX_PROGRAM_LINES: usize = 15;

#[test]
fn no_floor_imports_what_it_may_not() {
    let mut breaches = Vec::new();
    for (path, text) in sources() {
        let module = module_path(&path);
        // `link` is the build script.
        let is_floor = |name: &&String| !["lib", "bin", "link"].contains(&name.as_str());
        let Some(floor) = module.first().filter(is_floor) else { continue };
        let (_, allowed) = FLOORS.iter().find(|(name, _)| name == floor).unwrap_or_else(|| {
            panic!("{} is on no floor: add `{floor}` to the table of this test", path.display())
        });
        for (line, import) in imports(&text, module.len()) {
            if import != *floor && !allowed.contains(&import.as_str()) {
                breaches.push(format!("{}:{line}: {floor} imports {import}", path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn no_source_file_is_too_long() {
    for (path, text) in sources() {
        let count = text.lines().count();
        assert!(count <= MAX_LINES, "{} has {count} lines, at most {MAX_LINES}", path.display());
    }
}

#[test]
fn programs_only_call_the_cli() {
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("bin")) {
        let count = text.lines().count();
        assert!(count <= MAX_PROGRAM_LINES, "{} has {count} lines", path.display());
        for at in text.match_indices("midge::").map(|(at, name)| at + name.len()) {
            assert!(text[at..].starts_with("cli"), "{} reaches around cli", path.display());
        }
    }
}

#[test]
fn the_scan_sees_every_way_to_import() {
    let text = "
        //! [`crate::comment`]
        use crate::plain::{a, b};
        use crate::{one, two::{inner, other}, three as four};
        let x = crate::inline::call(\"crate::text\"); // crate::trailing
        use super::sibling;
        use super::super::load::x;
        mod tests { use super::super::super::{net, own}; }
        $crate::macros::m!()
    ";
    let found: Vec<_> = imports(text, 2).into_iter().map(|(_, name)| name).collect();
    assert_eq!(
        found,
        ["plain", "one", "two", "three", "inline", "macros", "load", "net"],
        "found {found:?}"
    );
}

/// Every first module named through `crate::`, or through enough `super::` to leave the floor, with
/// its line. `depth` is the number of modules from the crate root to the file.
fn imports(text: &str, depth: usize) -> Vec<(usize, String)> {
    let code: String = text.lines().map(|line| without_comment(line).to_owned() + "\n").collect();
    let mut found = Vec::new();
    let line_of = |at: usize| code[..at].matches('\n').count() + 1;
    for (at, name) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') || in_text(&code, at) {
            continue;
        }
        for import in first_names(&code[at + name.len()..]) {
            found.push((line_of(at), import));
        }
    }
    let mut from = 0;
    while let Some(at) = code[from..].find("super::").map(|at| from + at) {
        let mut end = at;
        let mut count = 0;
        while code[end..].starts_with("super::") {
            end += "super::".len();
            count += 1;
        }
        if count >= depth {
            for import in first_names(&code[end..]) {
                // A module inside the file needs one `super` more than the file itself, so that
                // the name may still be one of this floor.
                if FLOORS.iter().any(|(name, _)| *name == import) {
                    found.push((line_of(at), import));
                }
            }
        }
        from = end;
    }
    found
}

fn first_names(after: &str) -> Vec<String> {
    let ident = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = after.strip_prefix('{') else { return vec![ident(after)] };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(ident(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn without_comment(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}

fn in_text(code: &str, at: usize) -> bool {
    let line = &code[code[..at].rfind('\n').map_or(0, |n| n + 1)..at];
    line.matches('"').count() % 2 == 1
}

/// `codec`, `frame` for `codec/frame.rs`; `codec` for `codec/mod.rs`.
fn module_path(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        path.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    names.pop_if(|name| name == "mod");
    names
}

/// All source files, by their path below `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut dirs = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    files.sort();
    files
}
