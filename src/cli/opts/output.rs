//! What is printed.

use clap::Args;

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
    #[arg(short = 'F', long, value_parser = Format::parse)]
    pub format: Option<Format>,

    /// Lay the JSON of %j and %J out on several lines.
    #[arg(long)]
    pub pretty: bool,
}

impl OutputOptions {
    /// The format that they ask for together.
    pub fn into_format(self) -> Format {
        let preset = if self.verbose { Format::verbose() } else { Format::plain() };
        self.format.unwrap_or(preset).newline(!self.no_newline).pretty(self.pretty)
    }
}
