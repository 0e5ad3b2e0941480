//! What midge_sub does.

use anyhow::{Context, Result, bail};
use clap::ArgMatches;

use super::ClientPlan;
use crate::{
    cli::{opts::SubscribeOptions, order::Order},
    codec::{Properties, RetainHandling, SubscribeOptions as FilterOptions, TopicFilter, Version},
};

/// What midge_sub does.
#[derive(Clone, Debug)]
pub struct SubscribePlan {
    /// The filters of the one SUBSCRIBE packet; none if there is to be none.
    pub filters: Vec<(TopicFilter, FilterOptions)>,
    /// The filters of the UNSUBSCRIBE packets, one for each.
    pub unsubscribe: Vec<TopicFilter>,
    /// The properties of SUBSCRIBE.
    pub subscribe_properties: Properties,
    /// The properties of each UNSUBSCRIBE.
    pub unsubscribe_properties: Properties,
    /// Whether the answers of the broker end the tool.
    pub exit_when_subscribed: bool,
    /// Which messages count.
    pub selection: SelectionPlan,
}

/// Which of the received messages count, and what they bring about.
#[derive(Clone, Debug, Default)]
pub struct SelectionPlan {
    /// Messages that one of these matches are left out.
    pub filter_out: Vec<TopicFilter>,
    /// Retained messages are left out.
    pub no_retained: bool,
    /// Only retained messages count, and another one ends the tool.
    pub retained_only: bool,
    /// Retained messages that count are removed from the broker.
    pub remove_retained: bool,
    /// The share of the messages that is printed, if it is not all of them.
    pub random_share: Option<f64>,
    /// How many messages end the tool.
    pub count: Option<u64>,
}

impl SubscribePlan {
    /// Checks the options of midge_sub.
    ///
    /// # Errors
    /// No filter, one that is not a topic filter, and options that contradict each other.
    pub fn new(
        options: &SubscribeOptions,
        client: &ClientPlan,
        matches: &ArgMatches,
    ) -> Result<Self> {
        let selection = &options.selection;
        if selection.no_retained && selection.retained_only {
            bail!("-R and --retained-only leave no message: choose one of them");
        }
        let retain_handling = match options.retain_handling {
            Some(when) => when.into(),
            None if selection.no_retained => RetainHandling::DoNotSend,
            None => RetainHandling::default(),
        };
        let filter_options = match client.version {
            Version::V5 => FilterOptions {
                qos: options.qos,
                retain_as_published: options.retain_as_published,
                retain_handling,
                no_local: false,
            },
            // As in mosquitto_sub, the others mean nothing there.
            _ => FilterOptions { qos: options.qos, ..FilterOptions::default() },
        };
        let mut given: Vec<_> = options.topics.iter().map(|topic| ("-t", topic)).collect();
        if let Some((topic, _)) = &client.url_topic {
            let place = Order(matches).count_before("topics", "url");
            given.insert(place.min(given.len()), ("-L", topic));
        }
        let filters: Vec<_> = given
            .into_iter()
            .map(|(option, topic)| Ok((topic_filter(option, topic)?, filter_options)))
            .collect::<Result<_>>()?;
        let unsubscribe = topic_filters("-U", &options.unsubscribe)?;
        if filters.is_empty() && unsubscribe.is_empty() {
            bail!("nothing to subscribe to: add -t FILTER");
        }
        Ok(Self {
            filters,
            unsubscribe,
            subscribe_properties: client.properties.subscribe.clone(),
            unsubscribe_properties: client.properties.unsubscribe.clone(),
            exit_when_subscribed: options.exit_when_subscribed,
            selection: SelectionPlan {
                filter_out: topic_filters("-T", &selection.filter_out)?,
                no_retained: selection.no_retained,
                retained_only: selection.retained_only,
                remove_retained: selection.remove_retained,
                random_share: selection.random_filter.map(|percent| percent / 100.0),
                count: options.count,
            },
        })
    }
}

fn topic_filters(option: &str, filters: &[String]) -> Result<Vec<TopicFilter>> {
    filters.iter().map(|filter| topic_filter(option, filter)).collect()
}

fn topic_filter(option: &str, filter: &str) -> Result<TopicFilter> {
    TopicFilter::try_from(filter)
        .with_context(|| format!("{option} {filter:?} is not a topic filter"))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::subscribe, *};

    #[test]
    fn the_topic_of_the_url_is_one_more_filter() {
        let url = "-L mqtt://u:p@url:1/topic";
        let filters = subscribe(&format!("-t a {url} -t b/#")).unwrap().filters;
        let filters: Vec<_> = filters.iter().map(|(filter, _)| &**filter).collect();
        assert_eq!(filters, ["a", "topic", "b/#"]);
    }

    #[test]
    fn a_filter_is_needed() {
        assert!(subscribe("").unwrap_err().to_string().contains("-t"));
        let only_unsubscribe = subscribe("-U a -U b/+").unwrap();
        assert!(only_unsubscribe.filters.is_empty());
        assert_eq!(only_unsubscribe.unsubscribe.len(), 2);
        for line in ["-t a/#/b", "-t a -T a/#/b", "-t a -U a/#/b"] {
            let error = subscribe(line).unwrap_err().to_string();
            assert!(error.contains("\"a/#/b\" is not a topic filter"), "{line}: {error}");
        }
    }

    #[test]
    fn retained_messages_are_not_asked_for_where_they_are_left_out() {
        let handling = |line: &str| {
            let filters = subscribe(&format!("-V 5 -t a {line}")).unwrap().filters;
            filters.first().unwrap().1.retain_handling
        };
        assert_eq!(handling(""), RetainHandling::SendAtSubscribe);
        assert_eq!(handling("-R"), RetainHandling::DoNotSend);
        assert_eq!(handling("-R --retain-handling always"), RetainHandling::SendAtSubscribe);
        assert_eq!(handling("--retain-handling new"), RetainHandling::SendIfNew);
        assert_eq!(handling("--retain-handling never"), RetainHandling::DoNotSend);
        assert!(subscribe("-t a -R --retained-only").is_err());
        let before_5 = subscribe("-t a -R --retain-as-published").unwrap().filters;
        assert_eq!(before_5.first().unwrap().1, FilterOptions::default());
    }
}
