//! How to connect, and as whom.

use std::{process, time::Duration};

use anyhow::{Result, bail};
use clap::ArgMatches;

use super::topic_name;
use crate::{
    cli::{
        opts::{ClientOptions, Secret, WillOptions},
        order::Order,
        transport::TransportPlan,
    },
    codec::{QoS, TopicName, Version},
    net::Endpoint,
};

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
    pub(super) url_topic: Option<(String, bool)>,
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
    use super::{super::testing::client, *};

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
}
