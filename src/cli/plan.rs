//! From parsed options to what the client is told to do. Whatever depends on more than one option
//! is checked here; each error names the option and the remedy.

use std::{process, time::Duration};

use anyhow::{Context, Result, bail};
use clap::ArgMatches;

use super::{
    opts::{ClientOptions, PublishOptions, Secret, SourceOptions, SubscribeOptions, WillOptions},
    order::Order,
    transport::TransportPlan,
};
use crate::{
    codec::{QoS, SubscribeOptions as FilterOptions, TopicFilter, TopicName, Version},
    net::Endpoint,
};

/// The largest packet that MQTT knows.
pub const MAX_PACKET_BYTES: u32 = 268_435_460;
/// No payload is longer than the body of the largest packet.
pub const MAX_PAYLOAD_BYTES: usize = 268_435_455;

/// How to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// Where the broker is, and how to get there.
    pub transport: TransportPlan,
    /// The protocol version.
    pub version: Version,
    /// The client identifier; empty for one that the broker chooses.
    pub client_id: String,
    /// Whether the session starts anew.
    pub clean_start: bool,
    /// How long the session outlives the connection, in seconds (5.0).
    pub session_expiry: Option<u32>,
    /// The keep-alive interval, and the time allowed for connecting.
    pub keep_alive: Duration,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// The will.
    pub will: Option<WillPlan>,
    /// The topic of `-L`, and whether it came after the last `-t`.
    url_topic: Option<(String, bool)>,
}

/// The will of the client.
#[derive(Clone, Debug)]
pub struct WillPlan {
    /// Its topic.
    pub topic: TopicName,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its quality of service.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
}

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

impl ClientPlan {
    /// Checks the options of every client. `matches` tells the order of those that override each
    /// other.
    ///
    /// # Errors
    /// Options that do not go together, and names that MQTT does not allow.
    pub fn new(options: &ClientOptions, matches: &ArgMatches) -> Result<Self> {
        let ClientOptions { connection, transport, tls, identity, will, .. } = options;
        let version = connection.protocol_version;
        let order = Order(matches);

        let url = connection.url.as_ref();
        let from_url = |id: &str| url.filter(|_| order.is_later("url", id));
        let username = match from_url("username").and_then(Endpoint::username) {
            Some(username) => Some(username.to_owned()),
            None => identity.username.clone(),
        };
        let password = match from_url("pw").and_then(Endpoint::password) {
            Some(password) => Some(Secret::new(password)),
            None => identity.pw.clone(),
        };
        if password.is_some() && username.is_none() && version != Version::V5 {
            bail!("-P needs a user name in MQTT {version}: add -u NAME (or -V 5)");
        }

        let persistent = identity.disable_clean_session;
        if persistent && identity.id.is_none() {
            bail!("-c keeps the session of a client identifier: add -i ID");
        }
        let client_id = match (&identity.id, &identity.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{}", process::id()),
            // MQTT 3.1 does not let the broker choose one.
            (None, None) if version == Version::V31 => random_client_id(),
            (None, None) => String::new(),
        };

        Ok(Self {
            transport: TransportPlan::new(connection, transport, tls, order)?,
            version,
            client_id,
            clean_start: !persistent,
            session_expiry: (persistent && version == Version::V5).then_some(u32::MAX),
            keep_alive: Duration::from_secs(connection.keepalive.into()),
            username,
            password,
            will: will_plan(will)?,
            url_topic: url
                .and_then(Endpoint::path)
                .map(|topic| (topic.to_owned(), order.is_later("url", "topic"))),
        })
    }
}

fn will_plan(options: &WillOptions) -> Result<Option<WillPlan>> {
    let Some(topic) = &options.will_topic else {
        if options.will_payload.is_some() {
            bail!("--will-payload needs a topic: add --will-topic TOPIC");
        }
        if options.will_retain {
            bail!("--will-retain needs a topic: add --will-topic TOPIC");
        }
        return Ok(None);
    };
    Ok(Some(WillPlan {
        topic: topic_name("--will-topic", topic)?,
        payload: options.will_payload.as_ref().map_or(Vec::new(), |p| p.as_bytes().to_vec()),
        qos: options.will_qos,
        retain: options.will_retain,
    }))
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
            max_inflight: match options.max_inflight {
                Some(count) => count.get(),
                // Without a Receive Maximum to tell, mosquitto disconnects who has more than 20
                // messages of QoS 2 under way.
                None if !lines || (options.qos == QoS::ExactlyOnce && before_5) => 20,
                None => 100,
            },
            source,
        })
    }
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

fn topic_name(option: &str, topic: &str) -> Result<TopicName> {
    TopicName::try_from(topic)
        .with_context(|| format!("{option} {topic:?} is not a topic to publish to"))
}

/// A client identifier of 23 characters, the most that MQTT 3.1 allows.
fn random_client_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let mut id = "midge-".to_owned();
    let mut random = 0;
    while id.len() < 23 {
        if random == 0 {
            random = RandomState::new().hash_one(id.len());
        }
        id.extend(char::from_digit((random % 36) as u32, 36));
        random /= 36;
    }
    id
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::*;
    use crate::cli::argv;

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

    fn client(line: &str) -> Result<ClientPlan> {
        let (options, matches) = parse::<Publish>(line);
        ClientPlan::new(&options.client, &matches)
    }

    fn publish(line: &str) -> Result<PublishPlan> {
        let (options, matches) = parse::<Publish>(line);
        PublishPlan::new(&options.publish, &ClientPlan::new(&options.client, &matches)?)
    }

    fn subscribe(line: &str) -> Result<SubscribePlan> {
        let (options, matches) = parse::<Subscribe>(line);
        SubscribePlan::new(&options.subscribe, &ClientPlan::new(&options.client, &matches)?)
    }

    #[test]
    fn nothing_given_is_a_clean_session_with_the_local_broker() {
        let plan = client("").unwrap();
        assert_eq!(
            (plan.transport.endpoint.host(), plan.transport.endpoint.port()),
            ("localhost", 1883)
        );
        assert_eq!((plan.version, plan.client_id.as_str()), (Version::V311, ""));
        assert!(plan.clean_start && plan.session_expiry.is_none() && plan.will.is_none());
        assert_eq!(plan.keep_alive, Duration::from_secs(60));
    }

    #[test]
    fn what_stands_behind_the_url_overrides_it_and_the_other_way_round() {
        let url = "-L mqtt://u:p@url:1/topic";
        let plan = client(&format!("-h other -p 2 -u x -P y {url}")).unwrap();
        assert_eq!((plan.transport.endpoint.host(), plan.transport.endpoint.port()), ("url", 1));
        assert_eq!(plan.username.as_deref(), Some("u"));
        assert_eq!(plan.password.unwrap().as_bytes(), b"p");
        let plan = client(&format!("{url} -h other -p 2 -u x -P y")).unwrap();
        assert_eq!((plan.transport.endpoint.host(), plan.transport.endpoint.port()), ("other", 2));
        assert_eq!(plan.username.as_deref(), Some("x"));
        assert_eq!(plan.password.unwrap().as_bytes(), b"y");
        let plan = client("-u x -L mqtt://url/topic").unwrap();
        assert_eq!((plan.transport.endpoint.port(), plan.username.as_deref()), (1883, Some("x")));

        assert_eq!(&*publish(&format!("{url} -n")).unwrap().topic, "topic");
        assert_eq!(&*publish(&format!("{url} -n -t last")).unwrap().topic, "last");
        assert_eq!(&*publish(&format!("-n -t first {url}")).unwrap().topic, "topic");
        assert_eq!(&*publish("-n -t first -t last").unwrap().topic, "last");
        let filters = subscribe(&format!("-t a {url} -t b/#")).unwrap().filters;
        let filters: Vec<_> = filters.iter().map(|(filter, _)| &**filter).collect();
        assert_eq!(filters, ["a", "b/#", "topic"]);
    }

    #[test]
    fn a_kept_session_needs_an_identifier_and_never_expires() {
        assert!(client("-c").unwrap_err().to_string().contains("-i"));
        assert!(client("-c -I x").unwrap_err().to_string().contains("-i"));
        let plan = client("-c -i x").unwrap();
        assert_eq!((plan.clean_start, plan.session_expiry), (false, None));
        let plan = client("-c -i x -V 5").unwrap();
        assert_eq!((plan.clean_start, plan.session_expiry), (false, Some(u32::MAX)));
    }

    #[test]
    fn the_identifier_is_made_where_the_broker_cannot() {
        assert_eq!(client("-I x-").unwrap().client_id, format!("x-{}", process::id()));
        let (a, b) = (client("-V 31").unwrap().client_id, client("-V 31").unwrap().client_id);
        assert_eq!((a.len(), b.len()), (23, 23));
        assert_ne!(a, b);
    }

    #[test]
    fn a_password_alone_is_for_5_only() {
        assert!(client("-P x").unwrap_err().to_string().contains("-u"));
        assert!(client("-P x -V 5").is_ok());
        assert!(client("-P x -u y").is_ok());
    }

    #[test]
    fn a_will_needs_a_topic() {
        for line in ["--will-payload x", "--will-retain"] {
            assert!(client(line).unwrap_err().to_string().contains("--will-topic"), "{line}");
        }
        assert!(client("--will-topic a/#").is_err());
        let will = "--will-topic a --will-payload -x --will-qos 2 --will-retain";
        let will = client(will).unwrap().will.unwrap();
        assert_eq!((&*will.topic, &*will.payload), ("a", b"-x".as_slice()));
        assert_eq!((will.qos, will.retain), (QoS::ExactlyOnce, true));
    }

    #[test]
    fn a_message_needs_a_topic_and_a_source() {
        assert!(publish("-n").unwrap_err().to_string().contains("-t"));
        assert!(publish("-t a").unwrap_err().to_string().contains("-m"));
        assert!(publish("-n -t a/+").is_err());
        assert!(publish("-n -t a").is_ok());
        assert!(subscribe("").unwrap_err().to_string().contains("-t"));
        assert!(subscribe("-t a/#/b").is_err());
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
