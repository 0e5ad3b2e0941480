//! What midge_sub does.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::ClientPlan;
use crate::{
    cli::opts::SubscribeOptions,
    codec::{SubscribeOptions as FilterOptions, TopicFilter},
};

/// What midge_sub does.
#[derive(Clone, Debug)]
pub struct SubscribePlan {
    /// The filters of the one SUBSCRIBE packet.
    pub filters: Vec<(TopicFilter, FilterOptions)>,
    /// How many messages end the tool.
    pub count: Option<u64>,
    /// How long the tool may take.
    pub timeout: Option<Duration>,
}

impl SubscribePlan {
    /// Checks the options of midge_sub.
    ///
    /// # Errors
    /// No filter, or one that is not a topic filter.
    pub fn new(options: &SubscribeOptions, client: &ClientPlan) -> Result<Self> {
        let url_topic = client.url_topic.as_ref().map(|(topic, _)| ("-L", topic));
        let given = options.topics.iter().map(|topic| ("-t", topic)).chain(url_topic);
        let mut filters = Vec::new();
        for (option, topic) in given {
            let filter = TopicFilter::try_from(topic.as_str())
                .with_context(|| format!("{option} {topic:?} is not a topic filter"))?;
            filters.push((filter, FilterOptions { qos: options.qos, ..FilterOptions::default() }));
        }
        if filters.is_empty() {
            bail!("nothing to subscribe to: add -t FILTER");
        }
        Ok(Self {
            filters,
            count: options.count,
            timeout: options.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::subscribe;

    #[test]
    fn the_topic_of_the_url_is_one_more_filter() {
        let url = "-L mqtt://u:p@url:1/topic";
        let filters = subscribe(&format!("-t a {url} -t b/#")).unwrap().filters;
        let filters: Vec<_> = filters.iter().map(|(filter, _)| &**filter).collect();
        assert_eq!(filters, ["a", "b/#", "topic"]);
    }

    #[test]
    fn a_filter_is_needed() {
        assert!(subscribe("").unwrap_err().to_string().contains("-t"));
        assert!(subscribe("-t a/#/b").is_err());
    }
}
