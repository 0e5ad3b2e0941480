//! What midge_rr does.

use anyhow::{Context, Result, bail};

use super::{ClientPlan, topic_name};
use crate::{
    cli::opts::{RequestOptions, SourceOptions},
    codec::{
        Properties, PropertiesRef, Property, PropertyValue, QoS, RetainHandling,
        SubscribeOptions as FilterOptions, TopicName, Version,
    },
};

/// What midge_rr does.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// The topic of the request.
    pub topic: TopicName,
    /// The topic of the answers; `None` for one that is to be made.
    pub response_topic: Option<TopicName>,
    /// What the request says.
    pub source: SourceOptions,
    /// The quality of service of the request.
    pub qos: QoS,
    /// The properties of the request but the response topic, the correlation data and the alias.
    pub properties: Properties,
    /// Whether the topic is sent as an alias where the broker takes one.
    pub topic_aliases: bool,
    /// What ties an answer to the request.
    pub correlation: Correlation,
    /// How to subscribe to the answers.
    pub filter_options: FilterOptions,
    /// Whether nothing retained is to be sent, so that none is spoken of.
    pub no_retained: bool,
    /// The properties of SUBSCRIBE.
    pub subscribe_properties: Properties,
    /// How many answers end the tool.
    pub count: u64,
    /// Whether the time to each answer is printed.
    pub latency: bool,
}

/// What ties an answer to its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correlation {
    /// Nothing but the topic.
    None,
    /// Data that are to be made.
    Made,
    /// These data.
    Given(Vec<u8>),
}

impl RequestPlan {
    /// Checks the options of midge_rr.
    ///
    /// # Errors
    /// A missing topic or request, topics with wildcards, and what MQTT 3.x does not have.
    pub fn new(options: &RequestOptions, client: &ClientPlan) -> Result<Self> {
        let (option, topic) = match (&options.topic, &client.url_topic) {
            (Some(topic), None | Some((_, false))) => ("-t", topic),
            (_, Some((topic, _))) => ("-L", topic),
            (None, None) => bail!("no topic to publish the request to: add -t TOPIC"),
        };
        let topic = topic_name(option, topic)?;
        let is_5 = client.version == Version::V5;
        let response_topic = match &options.response_topic {
            Some(topic) => Some(topic_name("-e", topic)?),
            None if is_5 => None,
            None => bail!("no topic for the answer: add -e TOPIC (MQTT 5 needs none)"),
        };
        check_source(&options.source)?;

        let given = client.properties.publish.as_ref();
        if given.response_topic().is_some() {
            bail!("-D publish response-topic: use -e TOPIC");
        }
        let correlation = match (given.correlation_data(), options.no_correlation) {
            (Some(_), true) => bail!(
                "--no-correlation contradicts -D publish correlation-data: leave one of them out"
            ),
            (Some(data), false) => Correlation::Given(data.to_vec()),
            (None, false) if is_5 => Correlation::Made,
            (None, _) => Correlation::None,
        };
        let retain_handling = match options.retain_handling {
            Some(when) => when.into(),
            None if options.no_retained => RetainHandling::DoNotSend,
            None => RetainHandling::default(),
        };
        let filter_options = FilterOptions { qos: options.qos, ..FilterOptions::default() };
        Ok(Self {
            topic,
            response_topic,
            source: options.source.clone(),
            qos: options.qos,
            properties: others(given)?,
            topic_aliases: given.topic_alias().is_some(),
            correlation,
            // The others mean nothing before MQTT 5.
            filter_options: match is_5 {
                true => FilterOptions {
                    retain_as_published: options.retain_as_published,
                    retain_handling,
                    ..filter_options
                },
                false => filter_options,
            },
            no_retained: options.no_retained,
            subscribe_properties: client.properties.subscribe.clone(),
            count: options.count,
            latency: options.latency,
        })
    }
}

fn check_source(source: &SourceOptions) -> Result<()> {
    let SourceOptions { message, file, stdin_file, stdin_line, null_message } = source;
    if *stdin_line {
        bail!("midge_rr sends one request: use -s for all of standard input in place of -l");
    }
    if message.is_none() && file.is_none() && !(*stdin_file || *null_message) {
        bail!("no request to publish: add one of -m TEXT, -f FILE, -s or -n");
    }
    Ok(())
}

/// Those that are sent as they are.
fn others(given: PropertiesRef<'_>) -> Result<Properties> {
    let mut properties = Properties::new();
    for (property, value) in given {
        if !matches!(property, Property::CorrelationData | Property::TopicAlias) {
            properties.push(property, value)?;
        }
    }
    Ok(properties)
}

/// The properties of a request: `given`, and where the answer is to go and what it is to carry.
///
/// # Errors
/// A topic or data that no property can hold.
pub fn request_properties(
    mut given: Properties,
    response_topic: &str,
    correlation: Option<&[u8]>,
) -> Result<Properties> {
    let topic = PropertyValue::Utf8(response_topic);
    given.push(Property::ResponseTopic, topic).context("the response topic")?;
    if let Some(data) = correlation {
        given.push(Property::CorrelationData, PropertyValue::Binary(data))?;
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::request, *};

    #[track_caller]
    fn refused(line: &str, text: &str) {
        let error = request(line).unwrap_err().to_string();
        assert!(error.contains(text), "{line}: {error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        refused("-e a -n", "-t TOPIC");
        refused("-t a -e a", "-m TEXT");
        refused("-V 311 -t a -n", "-e TOPIC");
        refused("-t a/# -e a -n", "-t \"a/#\"");
        refused("-t a -e a/+ -n", "-e \"a/+\"");
        refused("-t a -e b -l", "-s");
        assert!(request("-t a -e b -n").is_ok());
        assert_eq!(request("-t a -n").unwrap().response_topic, None);
        assert_eq!(&*request("-e b -n -L mqtt://h/x/y").unwrap().topic, "x/y");
    }

    #[test]
    fn correlation_data_are_made_where_they_can_be_sent() {
        let correlation = |line: &str| request(line).unwrap().correlation;
        assert_eq!(correlation("-t a -e b -n"), Correlation::Made);
        assert_eq!(correlation("-t a -e b -n -V 311"), Correlation::None);
        assert_eq!(correlation("-t a -e b -n --no-correlation"), Correlation::None);
        let line = "-t a -e b -n -D publish correlation-data x -D publish content-type y";
        let plan = request(line).unwrap();
        assert_eq!(plan.correlation, Correlation::Given(b"x".to_vec()));
        assert_eq!(plan.properties.iter().count(), 1);
        refused(&format!("{line} --no-correlation"), "--no-correlation");
        refused("-t a -e b -n -D publish response-topic c", "-e TOPIC");
    }

    #[test]
    fn retained_messages_are_left_out_as_asked_for() {
        let options = |line: &str| request(&format!("-t a -e b -n {line}")).unwrap().filter_options;
        assert_eq!(options("").retain_handling, RetainHandling::SendAtSubscribe);
        assert_eq!(options("-R").retain_handling, RetainHandling::DoNotSend);
        assert_eq!(options("-R --retain-handling new").retain_handling, RetainHandling::SendIfNew);
        assert!(options("--retain-as-published").retain_as_published);
        assert_eq!(options("-V 311 -R --retain-as-published"), FilterOptions::default());
    }
}
