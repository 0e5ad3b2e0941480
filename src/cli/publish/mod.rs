//! midge_pub.

use clap::{ArgMatches, FromArgMatches, Parser, parser::ValueSource};

use super::{
    Tool,
    connect::{self, Session},
    exit::{Exit, Failure},
    opts::{ClientOptions, GeneralOptions, LogOptions, PublishOptions},
    plan::{ClientPlan, PublishPlan},
    printer::Printer,
};
use crate::codec::Version;

mod decode;
mod draft;
mod losses;
mod pace;
mod progress;
mod record;
mod single;
mod spool;
mod stream;
mod tally;
mod template;

pub use decode::Encoding;
pub use pace::Speed;
pub(super) use single::payload;
use spool::Spool;
pub use template::Template;

/// Publishes messages to an MQTT broker.
///
/// The message is the text of -m, the contents of a file (-f) or of standard input (-s), or
/// nothing (-n); -l publishes each line of standard input, and --jsonl each message that such a line
/// describes. The program ends when the broker has confirmed every message, or the network has taken
/// it where the quality of service is 0.
#[derive(Debug, Parser)]
pub struct PublishCommand {
    #[command(flatten)]
    publish: PublishOptions,
    #[command(flatten)]
    client: ClientOptions,
    #[command(flatten)]
    general: GeneralOptions,
}

/// Runs midge_pub.
///
/// # Errors
/// What ended it before all was published.
pub fn run(matches: &ArgMatches) -> Result<Exit, Failure> {
    let mut command = PublishCommand::from_arg_matches(matches)?;
    if command.publish.lines.jsonl
        && matches.value_source("protocol_version") == Some(ValueSource::DefaultValue)
    {
        // Records can have properties.
        command.client.connection.protocol_version = Version::V5;
    }
    let mut client = ClientPlan::new(Tool::Pub, &command.client, matches)?;
    let plan = PublishPlan::new(&command.publish, &client)?;
    let log = command.client.log;
    if plan.lines.is_some() {
        let identity = &command.client.identity;
        let spool = plan.spool.as_ref().map(|spool| Spool::open(spool, identity, &mut client));
        connect::run(log, stream::publish(&client, &plan, spool.transpose()?, log))
    } else {
        let source = plan.source.clone();
        connect::run(log, async {
            let read = move || single::payload(&source);
            let payload = connect::read_first(&mut client, read).await?;
            single::publish(&client, &plan, payload, log).await
        })
    }
}

/// The tool around the client. Only `-d` prints anything.
fn session(client: &ClientPlan, log: LogOptions) -> Result<Session, Failure> {
    Session::new(Tool::Pub, log, client, log.debug.then(Printer::start))
}
