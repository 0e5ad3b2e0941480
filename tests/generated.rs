//! The man pages and shell completions in the repository are the ones the options give.
//!
//! `MIDGE_BLESS=1 cargo test --test generated` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use clap::Command;
use clap_complete::{Generator, Shell, generate};
use clap_mangen::Man;
use midge::cli::{Tool, exit::Exit};

const MAN: &str = "man";
const COMPLETIONS: &str = "completions";

#[test]
fn man_pages_and_completions_are_current() {
    let mut files = Vec::new();
    for tool in Tool::ALL {
        man_pages(tool, &tool.command(), &mut files);
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            files.push(completion(tool, shell));
        }
    }

    let bless = env::var_os("MIDGE_BLESS").is_some();
    let mut stale = Vec::new();
    for (path, text) in &files {
        let file = root().join(path);
        if bless {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
        } else if fs::read(&file).ok().as_ref() != Some(text) {
            stale.push(path.display().to_string());
        }
    }
    for path in committed() {
        if !files.iter().any(|(made, _)| *made == path) {
            if bless {
                fs::remove_file(root().join(path)).unwrap();
            } else {
                stale.push(format!("{} (no tool makes it)", path.display()));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "out of date: {}; `MIDGE_BLESS=1 cargo test --test generated` writes them anew",
        stale.join(", ")
    );
}

#[test]
fn every_exit_code_is_in_the_table_once() {
    for tool in Tool::ALL {
        let rows: Vec<_> = tool.exits().map(Exit::row).collect();
        let codes: Vec<_> = tool.exits().map(Exit::code).collect();
        assert!(codes.contains(&0) && codes.contains(&1), "{}: {codes:?}", tool.name());
        for (at, row) in rows.iter().enumerate() {
            assert!(!rows[..at].contains(row), "{}: {row:?} is there twice", tool.name());
        }
    }
}

/// The page of `command`, and one for each of its subcommands.
fn man_pages(tool: Tool, command: &Command, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let man = Man::new(command.clone().disable_help_subcommand(true))
        .title(name.to_uppercase())
        .section("1")
        .date("")
        .source(concat!("midge ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).unwrap();
    }
    page.extend_from_slice(exit_status(tool).as_bytes());
    if command.get_after_long_help().or(command.get_after_help()).is_some() {
        man.render_extra_section(&mut page).unwrap();
    }
    files.push((Path::new(MAN).join(format!("{name}.1")), page));
    for subcommand in command.get_subcommands() {
        let display_name = format!("{name}-{}", subcommand.get_name());
        man_pages(tool, &subcommand.clone().display_name(display_name), files);
    }
}

fn exit_status(tool: Tool) -> String {
    let mut section = ".SH \"EXIT STATUS\"\n".to_owned();
    for exit in tool.exits() {
        let (codes, meaning) = exit.row();
        section.push_str(&format!(".TP\n\\fB{codes}\\fR\n{meaning}\n"));
    }
    section
}

fn completion(tool: Tool, shell: Shell) -> (PathBuf, Vec<u8>) {
    let mut script = Vec::new();
    generate(shell, &mut tool.command(), tool.name(), &mut script);
    (Path::new(COMPLETIONS).join(shell.file_name(tool.name())), script)
}

/// What is in the two directories.
fn committed() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for dir in [MAN, COMPLETIONS] {
        for entry in fs::read_dir(root().join(dir)).into_iter().flatten() {
            paths.push(Path::new(dir).join(entry.unwrap().file_name()));
        }
    }
    paths
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
