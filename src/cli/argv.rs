//! Turns a mosquitto command line into one that clap parses to the same meaning.
//!
//! In the grammar of the mosquitto tools the word after an option that takes a value is that
//! value, whatever it looks like: `-m -5`, `-t --help`, `-P --`. clap would take such a word for
//! an option. [`join`] therefore ties each option to its value first (`--message=-5`), asking
//! clap's own [`Command`] which options take one. `-D` has three or four words, which become one
//! value, and `--exec` all that follow, each of which becomes an `--exec` of its own. Bundled flags (`-dv`), attached values (`-q1`, `-q=1`) and `--option=value` keep working
//! on top; after `--`, and after the first operand of a tool that takes operands, nothing is an
//! option any more.

use std::ffi::OsString;

use clap::{Arg, Command};

use super::opts::property;

/// Rewrites `words` (program name first) so that every option carries its value.
///
/// Words that clap will refuse (unknown options, options that lack their value) are handed on as
/// they are, so that the error speaks of what the user typed.
pub fn join(command: &Command, words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    join_built(&built(command.clone()), words)
}

/// Like [`join`], with a command that is [`built`] already.
pub fn join_built(command: &Command, words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    join_until(command, words, Operands::EndOptions)
}

/// The command with all that clap adds to it before it parses.
pub fn built(mut command: Command) -> Command {
    command.build();
    command
}

/// Like [`join`], for a command line whose options may also stand between and behind its operands.
pub fn join_throughout(
    command: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    join_until(&built(command.clone()), words, Operands::LeaveOptions)
}

/// What the first operand means for the words behind it.
#[derive(PartialEq)]
enum Operands {
    EndOptions,
    LeaveOptions,
}

fn join_until(
    mut command: &Command,
    words: impl IntoIterator<Item = OsString>,
    operands: Operands,
) -> Vec<OsString> {
    let mut words = words.into_iter();
    let mut joined: Vec<OsString> = words.next().into_iter().collect();

    while let Some(word) = words.next() {
        // clap reads a word that is not Unicode by itself: it can only be an option with its value
        // attached, or an operand.
        let text = word.to_str().unwrap_or("");
        if text == "--" {
            joined.push(word);
            break;
        } else if let Some(name) = text.strip_prefix("--") {
            let arg = find_long(command, name).filter(|arg| takes_value(arg));
            if arg.is_some_and(takes_the_rest) {
                let first = words.next();
                joined.push(tie(word.clone(), first));
                joined.extend(words.by_ref().map(|value| tie(word.clone(), Some(value))));
                break;
            }
            joined.push(tie(word, arg.and_then(|arg| next_value(arg, &mut words))));
        } else if text.len() > 1 && text.starts_with('-') {
            join_cluster(command, text, &mut words, &mut joined);
        } else if let Some(subcommand) = command.find_subcommand(&word) {
            command = subcommand;
            joined.push(word);
        } else if operands == Operands::EndOptions
            && command.get_positionals().next().is_some()
            && !word_is_option(&word)
        {
            joined.push("--".into());
            joined.push(word);
            break;
        } else {
            joined.push(word);
        }
    }
    joined.extend(words);
    joined
}

/// Takes `-abc` apart: each flag becomes a word of its own, and the first option that takes a
/// value gets the rest of the word, or the next word when nothing is left.
fn join_cluster(
    command: &Command,
    cluster: &str,
    words: &mut impl Iterator<Item = OsString>,
    joined: &mut Vec<OsString>,
) {
    let mut rest = cluster.trim_start_matches('-');
    while let Some(letter) = rest.chars().next() {
        let after = rest.get(letter.len_utf8()..).unwrap_or("");
        let arg = find_short(command, letter);
        match arg {
            Some(arg) if takes_value(arg) => {
                let value = if after.is_empty() {
                    next_value(arg, words)
                } else {
                    Some(after.strip_prefix('=').unwrap_or(after).into())
                };
                let option = match arg.get_long() {
                    Some(long) => format!("--{long}"),
                    None => format!("-{letter}"),
                };
                joined.push(tie(option.into(), value));
                return;
            }
            Some(_) if !after.starts_with('=') => joined.push(format!("-{letter}").into()),
            // Unknown, or a flag with a value: clap says so.
            _ => {
                joined.push(format!("-{rest}").into());
                return;
            }
        }
        rest = after;
    }
}

/// The words that follow an option as one value; `None` when there is none.
fn next_value(arg: &Arg, words: &mut impl Iterator<Item = OsString>) -> Option<OsString> {
    let mut value = words.next()?;
    if arg.get_id() == property::ID {
        let mut count = 3;
        let mut at = 1;
        while at < count
            && let Some(word) = words.next()
        {
            if at == 1 {
                count = property::word_count(word.as_encoded_bytes());
            }
            value.push(property::WORD_SEPARATOR);
            value.push(word);
            at += 1;
        }
    }
    Some(value)
}

/// `option=value`, or the option alone when the command line ended before its value.
fn tie(mut option: OsString, value: Option<OsString>) -> OsString {
    if let Some(value) = value {
        option.push("=");
        option.push(value);
    }
    option
}

/// Whether a word of any encoding begins like an option.
fn word_is_option(word: &OsString) -> bool {
    word.len() > 1 && word.as_encoded_bytes().starts_with(b"-")
}

/// Whether the option always has a value. One whose value may be left out takes only an attached
/// value.
fn takes_value(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.min_values() > 0)
}

/// Whether all the words that follow are its values, each of which gets a word of its own.
fn takes_the_rest(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.max_values() == usize::MAX)
}

fn find_long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(aliases).any(|long| long == name)
    })
}

fn find_short(command: &Command, letter: char) -> Option<&Arg> {
    command.get_arguments().find(|arg| {
        let aliases = arg.get_all_short_aliases().unwrap_or_default();
        arg.get_short().into_iter().chain(aliases).any(|short| short == letter)
    })
}

#[cfg(test)]
mod tests {
    use std::iter;

    use clap::{ArgAction, value_parser};
    use proptest::prelude::*;

    use super::*;

    fn command() -> Command {
        Command::new("tool")
            .disable_help_flag(true)
            .args_override_self(true)
            .arg(
                Arg::new("message")
                    .short('m')
                    .long("message")
                    .value_parser(value_parser!(OsString)),
            )
            .arg(Arg::new("count").short('C').value_parser(value_parser!(OsString)))
            .arg(
                Arg::new("topic")
                    .short('t')
                    .long("topic")
                    .alias("subject")
                    .action(ArgAction::Append),
            )
            .arg(Arg::new("debug").short('d').long("debug").action(ArgAction::SetTrue))
            .arg(Arg::new("verbose").short('v').action(ArgAction::SetTrue))
            .arg(Arg::new("json").long("json").num_args(0..=1).require_equals(true))
    }

    #[test]
    fn a_property_has_three_words_or_four() {
        let command = command()
            .arg(Arg::new(property::ID).short('D').long("property").action(ArgAction::Append));
        for (words, expected) in [
            (&["-D", "a", "b", "-c", "-d"][..], &["--property=a\0b\0-c", "-d"][..]),
            (
                &["-D", "a", "User-Property", "b", "-c", "-d"],
                &["--property=a\0User-Property\0b\0-c", "-d"],
            ),
            (&["-dD", "a", "b", "", "x"], &["-d", "--property=a\0b\0", "x"]),
            (&["--property", "a", "b"], &["--property=a\0b"]),
            (&["-D"], &["--property"]),
        ] {
            let words = iter::once("tool").chain(words.iter().copied()).map(OsString::from);
            let joined = join(&command, words);
            assert_eq!(joined[1..], expected.iter().map(OsString::from).collect::<Vec<_>>());
            assert_eq!(join(&command, joined.clone()), joined);
        }
    }

    fn joined(words: &[&str]) -> Vec<String> {
        let words = iter::once("tool").chain(words.iter().copied()).map(OsString::from);
        join(&command(), words).into_iter().skip(1).map(|w| w.into_string().unwrap()).collect()
    }

    #[test]
    fn a_value_may_look_like_an_option() {
        assert_eq!(joined(&["-m", "-5"]), ["--message=-5"]);
        assert_eq!(joined(&["-m", "--help", "-d"]), ["--message=--help", "-d"]);
        assert_eq!(joined(&["--message", "-d"]), ["--message=-d"]);
        assert_eq!(joined(&["-m", "--", "-d"]), ["--message=--", "-d"]);
        assert_eq!(joined(&["-m", ""]), ["--message="]);
        assert_eq!(joined(&["-C", "-5"]), ["-C=-5"]);
        assert_eq!(joined(&["-C", "=5"]), ["-C==5"]);
    }

    #[test]
    fn aliases_have_the_arity_of_their_option() {
        assert_eq!(joined(&["--subject", "-d"]), ["--subject=-d"]);
    }

    #[test]
    fn flags_bundle_and_values_attach() {
        assert_eq!(joined(&["-dv"]), ["-d", "-v"]);
        assert_eq!(joined(&["-dvm", "x"]), ["-d", "-v", "--message=x"]);
        assert_eq!(joined(&["-dmvx"]), ["-d", "--message=vx"]);
        assert_eq!(joined(&["-m=5"]), ["--message=5"]);
        assert_eq!(joined(&["-C5"]), ["-C=5"]);
        assert_eq!(joined(&["--message=a=b"]), ["--message=a=b"]);
    }

    #[test]
    fn an_optional_value_is_only_taken_when_attached() {
        assert_eq!(joined(&["--json", "-d"]), ["--json", "-d"]);
        assert_eq!(joined(&["--json=a", "-d"]), ["--json=a", "-d"]);
    }

    #[test]
    fn what_clap_refuses_is_left_as_typed() {
        assert_eq!(joined(&["-dZx", "-v"]), ["-d", "-Zx", "-v"]);
        assert_eq!(joined(&["--nope", "-v"]), ["--nope", "-v"]);
        assert_eq!(joined(&["-m"]), ["--message"]);
        assert_eq!(joined(&["-C"]), ["-C"]);
        assert_eq!(joined(&["-d=1"]), ["-d=1"]);
        assert_eq!(joined(&["-"]), ["-"]);
    }

    #[test]
    fn nothing_after_two_dashes_is_an_option() {
        assert_eq!(joined(&["-d", "--", "-m", "-5"]), ["-d", "--", "-m", "-5"]);
    }

    #[test]
    fn operands_end_the_options_of_a_tool_that_has_them() {
        let command = Command::new("tool")
            .arg(Arg::new("batch").short('b').action(ArgAction::SetTrue))
            .arg(Arg::new("file"))
            .arg(Arg::new("password"));
        let words = ["tool", "-b", "file", "-secret"].map(OsString::from);
        assert_eq!(join(&command, words), ["tool", "-b", "--", "file", "-secret"]);
    }

    #[test]
    fn operands_can_leave_the_options_alone() {
        let command =
            Command::new("tool").arg(Arg::new("hash").short('H').num_args(1)).arg(Arg::new("file"));
        let words = ["tool", "file", "-H", "-x", "--", "-H", "y"].map(OsString::from);
        let joined = join_throughout(&command, words);
        assert_eq!(joined, ["tool", "file", "-H=-x", "--", "-H", "y"]);
    }

    #[test]
    fn a_subcommand_brings_its_own_options() {
        let command = Command::new("tool").subcommand(
            Command::new("start").arg(Arg::new("url").long("url").short('u').num_args(1)),
        );
        let words = ["tool", "start", "-u", "-x"].map(OsString::from);
        assert_eq!(join(&command, words), ["tool", "start", "--url=-x"]);
    }

    #[cfg(unix)]
    #[test]
    fn values_need_not_be_unicode() {
        use std::os::unix::ffi::OsStringExt;
        let raw = OsString::from_vec(b"\xff\0\xfe".to_vec());
        let words = ["tool".into(), "-m".into(), raw.clone()];
        let matches = command().get_matches_from(join(&command(), words));
        assert_eq!(matches.get_one::<OsString>("message"), Some(&raw));
    }

    proptest! {
        /// Whatever the words are, an option's value is the word behind it, unchanged.
        #[test]
        fn every_value_arrives_unchanged(messages in prop::collection::vec(".*", 1..5), count: String) {
            let mut words: Vec<OsString> = vec!["tool".into()];
            for message in &messages {
                words.extend(["-d".into(), "-t".into(), message.into()]);
            }
            words.extend(["-C".into(), OsString::from(&count), "-v".into()]);
            let matches = command().try_get_matches_from(join(&command(), words)).unwrap();
            let topics: Vec<_> = matches.get_many::<String>("topic").unwrap().collect();
            prop_assert_eq!(topics, messages.iter().collect::<Vec<_>>());
            prop_assert_eq!(matches.get_one::<OsString>("count"), Some(&OsString::from(count)));
            prop_assert!(matches.get_flag("verbose"));
        }

        /// No command line makes the joiner panic, lose a word after `--`, or join twice.
        #[test]
        fn joining_is_stable(words in prop::collection::vec("(-{0,2}[a-zA-Z=]{0,4}|.*)", 0..8)) {
            let words = iter::once("tool".to_owned()).chain(words).map(OsString::from);
            let once = join(&command(), words);
            prop_assert_eq!(join(&command(), once.clone()), once);
        }
    }
}
