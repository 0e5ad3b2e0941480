//! What midge_pub does.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{ClientPlan, topic_name};
use crate::{
    cli::opts::{PublishOptions, SourceOptions},
    codec::{QoS, TopicName, Version},
};

/// What midge_pub does.
#[derive(Clone, Debug)]
pub struct PublishPlan {
    /// The topic of every message.
    pub topic: TopicName,
    /// Where payloads come from.
    pub source: SourceOptions,
    /// The quality of service.
    pub qos: QoS,
    /// Whether messages are retained.
    pub retain: bool,
    /// How often the one message is published.
    pub repeat: u64,
    /// The time between two of them.
    pub repeat_delay: Duration,
    /// Most acknowledged messages on their way at a time.
    pub max_inflight: u16,
}

impl PublishPlan {
    /// Checks the options of midge_pub.
    ///
    /// # Errors
    /// A missing topic or message, and a topic that cannot be published to.
    pub fn new(options: &PublishOptions, client: &ClientPlan) -> Result<Self> {
        let (option, topic) = match (&options.topic, &client.url_topic) {
            (Some(topic), None | Some((_, false))) => ("-t", topic),
            (_, Some((topic, _))) => ("-L", topic),
            (None, None) => bail!("no topic to publish to: add -t TOPIC"),
        };
        let source = options.source.clone();
        let lines = source.stdin_line;
        let before_5 = client.version != Version::V5;
        let SourceOptions { message, file, stdin_file, null_message, .. } = &source;
        if message.is_none() && file.is_none() && !(*stdin_file || lines || *null_message) {
            bail!("no message to publish: add one of -m TEXT, -f FILE, -s, -l or -n");
        }
        Ok(Self {
            topic: topic_name(option, topic)?,
            qos: options.qos,
            retain: options.retain,
            // As in mosquitto_pub, --repeat means nothing for lines.
            repeat: if lines { 1 } else { options.repeat },
            repeat_delay: options.repeat_delay,
            max_inflight: match client.max_inflight {
                Some(count) => count,
                // Without a Receive Maximum to tell, mosquitto disconnects who has more than 20
                // messages of QoS 2 under way.
                None if !lines || (options.qos == QoS::ExactlyOnce && before_5) => 20,
                None => 100,
            },
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::publish, *};

    #[test]
    fn the_later_of_topic_and_url_counts() {
        let url = "-L mqtt://u:p@url:1/topic";
        assert_eq!(&*publish(&format!("{url} -n")).unwrap().topic, "topic");
        assert_eq!(&*publish(&format!("{url} -n -t last")).unwrap().topic, "last");
        assert_eq!(&*publish(&format!("-n -t first {url}")).unwrap().topic, "topic");
        assert_eq!(&*publish("-n -t first -t last").unwrap().topic, "last");
    }

    #[test]
    fn a_message_needs_a_topic_and_a_source() {
        assert!(publish("-n").unwrap_err().to_string().contains("-t"));
        assert!(publish("-t a").unwrap_err().to_string().contains("-m"));
        assert!(publish("-n -t a/+").is_err());
        assert!(publish("-n -t a").is_ok());
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
        assert_eq!(publish("-t a -l -M 7").unwrap().max_inflight, 7);
    }
}
