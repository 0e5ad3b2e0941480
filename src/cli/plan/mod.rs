//! From parsed options to what the client is told to do. Whatever depends on more than one option
//! is checked here; each error names the option and the remedy.

use anyhow::{Context, Result};

use crate::codec::TopicName;

mod authentication;
mod client;
mod delivery;
mod password;
mod properties;
mod publish;
mod request;
mod subscribe;

pub use authentication::AuthenticationPlan;
pub use client::{ClientPlan, WillPlan, random_client_id};
pub use delivery::{DeliveryPlan, ExecPlan, FilesPlan};
pub use password::{ASKED, PasswordPlan};
pub use properties::{ConnectSettings, PropertiesPlan};
pub use publish::{Lines, PublishPlan, SpoolPlan};
pub use request::{Correlation, RequestPlan, request_properties};
pub use subscribe::{SelectionPlan, SubscribePlan};

/// The largest packet that MQTT knows.
pub const MAX_PACKET_BYTES: u32 = 268_435_460;
/// No payload is longer than the body of the largest packet.
pub const MAX_PAYLOAD_BYTES: usize = 268_435_455;

fn topic_name(option: &str, topic: &str) -> Result<TopicName> {
    TopicName::try_from(topic)
        .with_context(|| format!("{option} {topic:?} is not a topic to publish to"))
}

#[cfg(test)]
mod testing {
    use std::ffi::OsString;

    use clap::{ArgMatches, FromArgMatches, Parser};

    use super::*;
    use crate::cli::{
        Tool, argv,
        opts::{ClientOptions, PublishOptions, RequestOptions, SubscribeOptions},
    };

    #[derive(Parser)]
    #[command(disable_help_flag = true, args_override_self = true)]
    struct Publish {
        #[command(flatten)]
        client: ClientOptions,
        #[command(flatten)]
        publish: PublishOptions,
    }

    #[derive(Parser)]
    #[command(disable_help_flag = true, args_override_self = true)]
    struct Subscribe {
        #[command(flatten)]
        client: ClientOptions,
        #[command(flatten)]
        subscribe: SubscribeOptions,
    }

    fn parse<T: Parser>(line: &str) -> (T, ArgMatches) {
        let words = format!("tool {line}");
        let words = words.split(' ').map(OsString::from).filter(|word| !word.is_empty());
        let command = T::command();
        let matches = command.clone().get_matches_from(argv::join(&command, words));
        (T::from_arg_matches(&matches).unwrap(), matches)
    }

    pub(super) fn client(line: &str) -> Result<ClientPlan> {
        let (options, matches) = parse::<Publish>(line);
        ClientPlan::new(Tool::Pub, &options.client, &matches)
    }

    pub(super) fn publish(line: &str) -> Result<PublishPlan> {
        let (options, matches) = parse::<Publish>(line);
        PublishPlan::new(&options.publish, &ClientPlan::new(Tool::Pub, &options.client, &matches)?)
    }

    pub(super) fn request(line: &str) -> Result<RequestPlan> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let words = ["midge_rr"].into_iter().chain(words).map(OsString::from);
        let command = Tool::Rr.command();
        let matches = command.clone().get_matches_from(argv::join(&command, words));
        let client = ClientOptions::from_arg_matches(&matches)?;
        let request = RequestOptions::from_arg_matches(&matches)?;
        RequestPlan::new(&request, &ClientPlan::new(Tool::Rr, &client, &matches)?)
    }

    pub(super) fn subscribe(line: &str) -> Result<SubscribePlan> {
        let (options, matches) = parse::<Subscribe>(line);
        SubscribePlan::new(
            &options.subscribe,
            &ClientPlan::new(Tool::Sub, &options.client, &matches)?,
            &matches,
        )
    }
}
