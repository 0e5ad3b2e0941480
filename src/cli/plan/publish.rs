//! What midge_pub does.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};

use super::{ClientPlan, topic_name};
use crate::{
    cli::{
        opts::{LineOptions, PublishOptions, SourceOptions},
        publish::{Encoding, Speed, Template},
    },
    codec::{Properties, Property, QoS, TopicName, Version},
};

/// What midge_pub does.
#[derive(Clone, Debug)]
pub struct PublishPlan {
    /// The topics of every message that has none of its own.
    pub topics: Vec<TopicName>,
    /// What becomes of each topic, or is made without one.
    pub template: Option<Template>,
    /// Where payloads come from.
    pub source: SourceOptions,
    /// What the lines of standard input are, if they are to be published.
    pub lines: Option<Lines>,
    /// What payloads are written in.
    pub decode: Option<Encoding>,
    /// The quality of service, if one was chosen.
    pub qos: Option<QoS>,
    /// Whether messages are retained.
    pub retain: bool,
    /// The properties of every message that has none of its own.
    pub properties: Properties,
    /// Whether a topic that was sent is named by a number afterwards.
    pub topic_aliases: bool,
    /// How often the one message is published.
    pub repeat: u64,
    /// The time between two of them.
    pub repeat_delay: Duration,
    /// Most acknowledged messages on their way at a time.
    pub max_inflight: u16,
    /// Where messages wait, if the program may end before they are confirmed.
    pub spool: Option<SpoolPlan>,
}

/// Where messages wait that are not confirmed.
#[derive(Clone, Debug)]
pub struct SpoolPlan {
    /// The directory.
    pub dir: PathBuf,
    /// How many bytes may wait.
    pub limit: usize,
    /// Whether they are to survive a power failure.
    pub sync: bool,
}

/// What a line of standard input is.
#[derive(Clone, Debug, PartialEq)]
pub enum Lines {
    /// A payload.
    Payloads,
    /// A topic, this text, and a payload.
    Topics(String),
    /// A message as `midge_sub -F %j` prints it.
    Records(Speed),
}

impl PublishPlan {
    /// Checks the options of midge_pub.
    ///
    /// # Errors
    /// A missing topic or message, a topic that cannot be published to, and options that do not go
    /// together.
    pub fn new(options: &PublishOptions, client: &ClientPlan) -> Result<Self> {
        let source = options.source.clone();
        let lines = lines(options)?;
        let topics = topics(options, client, lines.as_ref())?;
        let template = options.topic_template.clone();
        if let Some(template) = &template
            && template.needs_topic()
            && topics.is_empty()
            && matches!(lines, None | Some(Lines::Payloads))
        {
            bail!("{{topic}} in --topic-template needs a topic: add -t TOPIC");
        }
        let jsonl = options.lines.jsonl;
        if options.decode.is_some() && (source.null_message || jsonl) {
            let option = if jsonl { "--jsonl" } else { "-n" };
            bail!("--decode has nothing to decode with {option}: leave it out");
        }
        // Records have theirs, which may be 2.
        let qos = options.qos.or(jsonl.then_some(QoS::ExactlyOnce)).unwrap_or_default();
        let before_5 = client.version != Version::V5;
        Ok(Self {
            topics,
            template,
            decode: options.decode,
            qos: options.qos,
            retain: options.retain,
            properties: without_alias(&client.properties.publish),
            topic_aliases: client.properties.publish.as_ref().topic_alias().is_some(),
            // As in mosquitto_pub, --repeat means nothing for lines.
            repeat: if lines.is_some() { 1 } else { options.repeat },
            repeat_delay: options.repeat_delay,
            max_inflight: match client.max_inflight {
                Some(count) => count,
                // Without a Receive Maximum to tell, mosquitto disconnects who has more than 20
                // messages of QoS 2 under way.
                None if lines.is_none() || (qos == QoS::ExactlyOnce && before_5) => 20,
                None => 100,
            },
            spool: spool(options, lines.is_some())?,
            source,
            lines,
        })
    }

    /// Whether a line is the payload of the messages as it stands, and the topics theirs.
    pub fn is_plain(&self) -> bool {
        self.lines == Some(Lines::Payloads) && self.template.is_none() && self.decode.is_none()
    }
}

/// The session gives out the aliases: a number of one's own would stand for several topics.
fn without_alias(given: &Properties) -> Properties {
    let mut kept = Properties::default();
    for (property, value) in given.iter().filter(|(name, _)| *name != Property::TopicAlias) {
        // It was in a list before.
        let _ = kept.push(property, value);
    }
    kept
}

fn lines(options: &PublishOptions) -> Result<Option<Lines>> {
    let SourceOptions { message, file, stdin_file, null_message, stdin_line } = &options.source;
    let LineOptions { jsonl, topic_separator, speed, .. } = &options.lines;
    if message.is_none()
        && file.is_none()
        && !(*stdin_file || *null_message || *stdin_line || *jsonl)
    {
        bail!("no message to publish: add one of -m TEXT, -f FILE, -s, -l, --jsonl or -n");
    }
    if topic_separator.is_some() && !stdin_line {
        bail!("--topic-separator is for the lines of -l: add -l");
    }
    if speed.is_some() && !jsonl {
        bail!("--speed is for recorded messages: add --jsonl");
    }
    Ok(match topic_separator {
        Some(separator) => Some(Lines::Topics(separator.clone())),
        None if *stdin_line => Some(Lines::Payloads),
        None if *jsonl => Some(Lines::Records(speed.unwrap_or(Speed::Max))),
        None => None,
    })
}

fn spool(options: &PublishOptions, has_lines: bool) -> Result<Option<SpoolPlan>> {
    let LineOptions { spool, spool_limit, spool_sync, .. } = &options.lines;
    let Some(dir) = spool.clone() else { return Ok(None) };
    if !has_lines {
        bail!("--spool is for lines: add -l or --jsonl");
    }
    if options.qos.is_none_or(|qos| qos == QoS::AtMostOnce) {
        bail!("--spool keeps messages until they are confirmed: add -q 1 or -q 2");
    }
    let limit = usize::try_from(*spool_limit).unwrap_or(usize::MAX);
    Ok(Some(SpoolPlan { dir, limit, sync: *spool_sync }))
}

/// The topics of all messages. There may be none where each line can have its own.
fn topics(
    options: &PublishOptions,
    client: &ClientPlan,
    lines: Option<&Lines>,
) -> Result<Vec<TopicName>> {
    match &client.url_topic {
        Some((topic, is_last)) if *is_last || options.topic.is_empty() => {
            Ok(vec![topic_name("-L", topic)?])
        }
        _ if !options.topic.is_empty() => {
            options.topic.iter().map(|topic| topic_name("-t", topic)).collect()
        }
        _ if options.topic_template.is_some()
            || matches!(lines, Some(Lines::Topics(_) | Lines::Records(_))) =>
        {
            Ok(Vec::new())
        }
        _ => bail!("no topic to publish to: add -t TOPIC"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::publish, *};

    fn topics(line: &str) -> Vec<String> {
        let plan = publish(line).unwrap();
        plan.topics.iter().map(|topic| topic.as_str().to_owned()).collect()
    }

    fn refused(line: &str) -> String {
        publish(line).unwrap_err().to_string()
    }

    #[test]
    fn the_later_of_topic_and_url_counts() {
        let url = "-L mqtt://u:p@url:1/topic";
        assert_eq!(topics(&format!("{url} -n")), ["topic"]);
        assert_eq!(topics(&format!("{url} -n -t last")), ["last"]);
        assert_eq!(topics(&format!("-n -t first {url}")), ["topic"]);
        assert_eq!(topics("-n -t first -t second"), ["first", "second"]);
    }

    #[test]
    fn a_message_needs_a_topic_and_a_source() {
        assert!(refused("-n").contains("-t"));
        assert!(refused("-t a").contains("-m"));
        assert!(publish("-n -t a/+").is_err());
        assert!(publish("-n -t a -t #").is_err());
        assert!(publish("-n -t a").is_ok());
    }

    #[test]
    fn lines_may_bring_their_topics() {
        assert!(refused("-l").contains("-t"));
        assert_eq!(topics("-l --topic-separator ;"), [""; 0]);
        assert_eq!(topics("--jsonl"), [""; 0]);
        assert_eq!(topics("--jsonl -t a"), ["a"]);
        assert_eq!(topics("-n --topic-template a/{n}"), [""; 0]);
        assert!(refused("-n --topic-template a/{topic}").contains("-t"));
        assert!(publish("--jsonl --topic-template a/{topic}").is_ok());
        assert!(publish("-l --topic-separator ; --topic-template a/{topic}").is_ok());
    }

    #[test]
    fn options_of_lines_are_for_lines() {
        assert!(refused("-t a -m x --topic-separator ;").contains("-l"));
        assert!(refused("-t a --jsonl --topic-separator ;").contains("-l"));
        assert!(refused("-t a -l --speed 1").contains("--jsonl"));
        assert!(refused("-t a -n --decode hex").contains("-n"));
        assert!(refused("--jsonl --decode hex").contains("--jsonl"));
        assert!(refused("-t a -m x -q 1 --spool d").contains("-l"));
        assert!(refused("-t a -l --spool d").contains("-q 1"));
        assert!(refused("-t a -l -q 0 --spool d").contains("-q 1"));
        let spool = publish("-t a -l -q 2 --spool d --spool-limit 1k").unwrap().spool.unwrap();
        assert_eq!((spool.dir.to_str(), spool.limit, spool.sync), (Some("d"), 1024, false));
        let plan = publish("--jsonl --speed 10").unwrap();
        assert_eq!(plan.lines, Some(Lines::Records(Speed::Times(10.0))));
        assert_eq!(publish("--jsonl").unwrap().lines, Some(Lines::Records(Speed::Max)));
    }

    #[test]
    fn lines_may_have_more_in_flight_and_are_not_repeated() {
        let plan = publish("-t a -l --repeat 5").unwrap();
        assert_eq!((plan.max_inflight, plan.repeat), (100, 1));
        let plan = publish("-t a -m x --repeat 5 --repeat-delay 0.5").unwrap();
        assert_eq!((plan.max_inflight, plan.repeat), (20, 5));
        assert_eq!(plan.repeat_delay, Duration::from_millis(500));
        assert_eq!(publish("-t a -l -q 2").unwrap().max_inflight, 20);
        assert_eq!(publish("-t a -l -q 2 -V 5").unwrap().max_inflight, 100);
        assert_eq!(publish("--jsonl -V 311").unwrap().max_inflight, 20);
        assert_eq!(publish("--jsonl -V 311 -q 1").unwrap().max_inflight, 100);
        assert_eq!(publish("-t a -l -M 7").unwrap().max_inflight, 7);
    }
}
