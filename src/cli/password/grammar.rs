//! The two grammars of the command line.
//!
//! mosquitto_passwd ends its options at FILE, so that USER and PASSWORD may look like anything:
//! `-b FILE USER -c` sets the password `-c`. Here options may stand anywhere. Words that are a
//! complete command line of mosquitto_passwd keep that meaning, except that a USER without `-b` is
//! no option of this tool; in all others a word that looks like an option is one, and the first
//! operand may be the word `verify`, `list` or `check`.

use std::ffi::OsString;

use clap::{Args, Command, Subcommand};

use crate::cli::argv;
use crate::cli::opts::{PasswdCommand, PasswdOptions};

/// Rewrites `words` (program name first) so that clap parses them to the meaning above.
pub(in crate::cli) fn join(words: Vec<OsString>) -> Vec<OsString> {
    // The words have no options of their own: one description serves all forms.
    let command = PasswdOptions::augment_args(Command::new("midge_passwd"));
    let strict = argv::join(&command, words.iter().cloned());
    if is_complete(&command, &strict, &words) {
        return strict;
    }
    let mut joined = argv::join_throughout(&command, words);
    // clap looks for the word in front of the options.
    let first_operand = joined.iter().skip(1).position(|word| !is_option(word) || word == "--");
    if let Some(at) = first_operand.map(|at| at + 1)
        && joined.get(at).is_some_and(is_subcommand)
        && !has_original_option(joined.get(..at).unwrap_or_default())
    {
        joined.get_mut(1..=at).unwrap_or_default().rotate_right(1);
    }
    joined
}

/// Whether `strict`, which is `words` joined with the options ending at FILE, has exactly the
/// operands that its options ask for.
fn is_complete(command: &Command, strict: &[OsString], words: &[OsString]) -> bool {
    let Some(end) = strict.iter().position(|word| word == "--") else { return false };
    let (options, operands) = strict.split_at(end);
    let operands = operands.get(1..).unwrap_or_default();
    let dashes = |words: &[OsString]| words.iter().filter(|word| *word == "--").count();
    let is_explicit = dashes(strict) == dashes(words);
    let means_otherwise = |operands: &[OsString]| {
        let is_word = operands.first().is_some_and(is_subcommand) && !has_original_option(options);
        !is_explicit && (is_word || operands.iter().any(|word| is_known_option(command, word)))
    };
    match operands.len() {
        1 => has_option(options, "-U"),
        2 => !has_option(options, "-b") && !means_otherwise(operands),
        3 => has_option(options, "-b"),
        _ => false,
    }
}

/// Whether every letter of `-abc`, or the name of `--name`, is an option.
fn is_known_option(command: &Command, word: &OsString) -> bool {
    let text = word.to_str().unwrap_or_default();
    if let Some(name) = text.strip_prefix("--") {
        let name = name.split('=').next().unwrap_or(name);
        return matches!(name, "help" | "version")
            || command.get_arguments().any(|arg| arg.get_long() == Some(name));
    }
    let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
        return false;
    };
    for letter in letters.chars() {
        match command.get_arguments().find(|arg| arg.get_short() == Some(letter)) {
            Some(arg) if arg.get_action().takes_values() => return true,
            Some(_) => {}
            None => return false,
        }
    }
    true
}

/// Whether an option of mosquitto_passwd is among the joined words.
fn has_original_option(words: &[OsString]) -> bool {
    ["-b", "-c", "-D", "-H", "-I", "-U"].into_iter().any(|option| has_option(words, option))
}

fn has_option(words: &[OsString], option: &str) -> bool {
    words.iter().any(|word| word.as_encoded_bytes().starts_with(option.as_bytes()))
}

fn is_option(word: &OsString) -> bool {
    word.len() > 1 && word.as_encoded_bytes().starts_with(b"-")
}

fn is_subcommand(word: &OsString) -> bool {
    word.to_str().is_some_and(PasswdCommand::has_subcommand)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(line: &str) -> String {
        let words = ["tool"].into_iter().chain(line.split(' ')).map(OsString::from);
        let joined: Vec<_> =
            join(words.collect()).into_iter().map(|word| word.into_string().unwrap()).collect();
        joined[1..].join(" ")
    }

    #[test]
    fn words_behind_file_are_operands_as_in_mosquitto_passwd() {
        for (line, expected) in [
            ("f u", "-- f u"),
            ("f -u", "-- f -u"),
            ("-b f u p", "-b -- f u p"),
            ("-b f u -c", "-b -- f u -c"),
            ("-b f -D --help", "-b -- f -D --help"),
            ("-cb -H sha512 f u p", "-c -b -H=sha512 -- f u p"),
            ("-I 5 -b f u -I", "-I=5 -b -- f u -I"),
            ("-D f -u", "-D -- f -u"),
            ("f -bob", "-- f -bob"),
            ("-- f -U", "-- f -U"),
            ("-U f", "-U -- f"),
            ("-b -- f u -p", "-b -- f u -p"),
            ("-c -b - u p", "-c -b -- - u p"),
        ] {
            assert_eq!(joined(line), expected, "{line}");
        }
    }

    #[test]
    fn options_stand_anywhere_in_other_lines() {
        for (line, expected) in [
            ("f -b u p", "f -b u p"),
            ("f u p -b", "f u p -b"),
            ("-b f u p -H sha512", "-b f u p -H=sha512"),
            ("-c f -b u p", "-c f -b u p"),
            ("f u -D", "f u -D"),
            ("f -U", "f -U"),
            ("-c f -bD", "-c f -b -D"),
            ("f --version", "f --version"),
            ("f -U -H sha512", "f -U -H=sha512"),
            ("f u --stdin", "f u --stdin"),
            ("f -b -- -u -p", "f -b -- -u -p"),
            ("f --help", "f --help"),
            ("f u --reload -x", "f u --reload=-x"),
        ] {
            assert_eq!(joined(line), expected, "{line}");
        }
    }

    #[test]
    fn the_words_come_first_unless_an_option_of_the_original_does() {
        for (line, expected) in [
            ("list f", "list f"),
            ("verify f u", "verify f u"),
            ("verify --stdin f u", "verify --stdin f u"),
            ("--stdin verify f u", "verify --stdin f u"),
            ("--password-file x verify f u", "verify --password-file=x f u"),
            ("verify f u --password-file x", "verify f u --password-file=x"),
            ("-c verify u", "-c -- verify u"),
            ("-b check u p", "-b -- check u p"),
            ("-- list u", "-- list u"),
            ("./list u", "-- ./list u"),
        ] {
            assert_eq!(joined(line), expected, "{line}");
        }
    }
}
