//! What is printed.

use std::{env, io::IsTerminal};

use clap::{Args, ValueEnum};

use crate::cli::format::Format;

/// Options about what every networked tool prints.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct LogOptions {
    /// Print each packet sent and received, on standard output.
    #[arg(short, long)]
    pub debug: bool,

    /// Print no errors; the exit code still tells.
    #[arg(long)]
    pub quiet: bool,
}

/// Options about how messages are printed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Print the topic before each payload.
    #[arg(short, long)]
    pub verbose: bool,

    /// Print no newline after each message.
    #[arg(short = 'N')]
    pub no_newline: bool,

    /// Print each message in this format, such as '%t: %p' or, for JSON, '%j'; the manual page
    /// describes the language. -v does nothing then.
    #[arg(short = 'F', long, value_parser = Format::parse, overrides_with_all = ["json", "csv"])]
    pub format: Option<Format>,

    /// Print each message as a JSON object on a line of its own, as '%j' does.
    #[arg(long, overrides_with_all = ["format", "csv"])]
    pub json: bool,

    /// Print comma-separated values, with a line of column names first. Topics and payloads stay as
    /// received: a spreadsheet can take one that begins with '=' for a formula.
    #[arg(long, overrides_with_all = ["format", "json"])]
    pub csv: bool,

    /// Lay the JSON of %j and %J out on several lines.
    #[arg(long)]
    pub pretty: bool,

    /// When to colour topics (-v) and the names in JSON. 'auto' is on a terminal, unless NO_COLOR is
    /// set.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal that can show them.
    Auto,
    /// Also in files and pipes.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether standard output is to have colours.
    pub fn for_stdout(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
                let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
                !is_set("NO_COLOR") && !is_dumb && std::io::stdout().is_terminal()
            }
        }
    }
}

impl OutputOptions {
    /// Whether a format is asked for, beside the usual ones.
    pub fn has_format(&self) -> bool {
        self.format.is_some() || self.json || self.csv
    }

    /// The format that they ask for together.
    pub fn into_format(self) -> Format {
        let colors = self.color.for_stdout();
        let preset = match (self.verbose, self.json, self.csv) {
            (_, true, _) => Format::json(),
            (_, _, true) => Format::csv(),
            (true, ..) => Format::verbose(),
            (false, ..) => Format::plain(),
        };
        let format = self.format.unwrap_or(preset);
        format.newline(!self.no_newline).pretty(self.pretty).colors(colors)
    }
}
