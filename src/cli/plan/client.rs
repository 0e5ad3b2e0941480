//! How to connect, and as whom.

use std::{process, time::Duration};

use anyhow::{Result, bail};
use clap::ArgMatches;

use super::{ConnectSettings, PasswordPlan, PropertiesPlan, topic_name};
use crate::{
    cli::{
        Tool,
        opts::{ClientOptions, IdentityOptions, Secret, WillOptions},
        order::Order,
        transport::TransportPlan,
    },
    codec::{Properties, QoS, TopicName, Version},
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
    /// Where the password is.
    pub password: Option<PasswordPlan>,
    /// The will.
    pub will: Option<WillPlan>,
    /// Properties of packets.
    pub properties: PropertiesPlan,
    /// Properties of CONNECT that are settings.
    pub settings: ConnectSettings,
    /// How long the tool may take in all.
    pub time_limit: Option<Duration>,
    /// Whether a first attempt to connect that fails is repeated.
    pub retry: bool,
    /// Most acknowledged messages on their way to the broker.
    pub max_inflight: Option<u16>,
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
    /// Its properties.
    pub properties: Properties,
}

impl ClientPlan {
    /// Checks the options of every client. `matches` tells the order of those that override each
    /// other.
    ///
    /// # Errors
    /// Options that do not go together, and names that MQTT does not allow.
    pub fn new(tool: Tool, options: &ClientOptions, matches: &ArgMatches) -> Result<Self> {
        let ClientOptions { connection, transport, tls, identity, .. } = options;
        let order = Order(matches);
        let version = version(options, order)?;
        let (mut properties, settings) = PropertiesPlan::new(tool, &options.properties)?;

        let url = connection.url.as_ref();
        let from_url = |id: &str| url.filter(|_| order.is_later("url", id));
        let username = match from_url("username").and_then(Endpoint::username) {
            Some(username) => Some(username.to_owned()),
            None => identity.username.clone(),
        };
        let last_password = order.last(&["url", "pw", "pw_file", "pw_prompt"]);
        let of_url = url.filter(|_| last_password == Some("url")).and_then(Endpoint::password);
        let password = match (of_url, PasswordPlan::of(identity.pw.as_ref(), &identity.password)) {
            (Some(password), _) => Some(PasswordPlan::Given(Secret::new(password))),
            (None, Some(password)) => {
                if username.is_none() && version != Version::V5 {
                    let option = password.option();
                    bail!("{option} needs a user name in MQTT {version}: add -u NAME (or -V 5)");
                }
                Some(password)
            }
            (None, None) => username.as_ref().and_then(|_| PasswordPlan::of_environment()),
        };

        let session_expiry = session_expiry(identity, &settings, version)?;
        if session_expiry.unwrap_or(0) == 0
            && properties.disconnect.as_ref().session_expiry_interval().unwrap_or(0) > 0
        {
            // §3.14.2.2.2
            bail!(
                "-D disconnect session-expiry-interval is for a session that outlives its \
                 connection: add -x SECONDS"
            );
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
            clean_start: !identity.disable_clean_session,
            session_expiry,
            keep_alive: Duration::from_secs(connection.keepalive.into()),
            username,
            password,
            will: will_plan(&options.will, std::mem::take(&mut properties.will))?,
            properties,
            settings,
            time_limit: connection.time_limit.map(|seconds| Duration::from_secs(seconds.into())),
            retry: connection.retry,
            max_inflight: connection.max_inflight,
            url_topic: url
                .and_then(Endpoint::path)
                .map(|topic| (topic.to_owned(), order.is_later("url", "topic"))),
        })
    }
}

/// `-D` and `-x` mean 5 where they stand, and a later `-V` counts.
fn version(options: &ClientOptions, order: Order<'_>) -> Result<Version> {
    let given = options.connection.protocol_version;
    match order.last(&["protocol_version", "properties", "session_expiry"]) {
        Some("properties" | "session_expiry") => return Ok(Version::V5),
        _ if given == Version::V5 => return Ok(given),
        _ => {}
    }
    for (option, is_given) in [
        ("-D", !options.properties.properties.is_empty()),
        ("-x", options.identity.session_expiry.is_some()),
    ] {
        if is_given {
            bail!("{option} is for MQTT 5, and -V asks for {given} behind it: leave -V out");
        }
    }
    Ok(given)
}

/// How long the session outlives the connection. One that lasts for ever needs a name to come back
/// to, and so does one of 3.x that is kept.
fn session_expiry(
    identity: &IdentityOptions,
    settings: &ConnectSettings,
    version: Version,
) -> Result<Option<u32>> {
    let kept = identity.disable_clean_session;
    let expiry = match (identity.session_expiry, settings.session_expiry) {
        (Some(_), Some(_)) => {
            bail!("-x and -D connect session-expiry-interval say the same: leave one of them out")
        }
        (Some(seconds), None) | (None, Some(seconds)) => Some(seconds),
        (None, None) => (kept && version == Version::V5).then_some(u32::MAX),
    };
    if identity.id.is_some() {
        return Ok(expiry);
    }
    if kept
        && (version != Version::V5 || identity.session_expiry.or(settings.session_expiry).is_none())
    {
        bail!("-c keeps the session of a client identifier: add -i ID");
    }
    if expiry == Some(u32::MAX) {
        bail!("a session that never expires is that of a client identifier: add -i ID");
    }
    Ok(expiry)
}

fn will_plan(options: &WillOptions, properties: Properties) -> Result<Option<WillPlan>> {
    let Some(topic) = &options.will_topic else {
        if !properties.is_empty() {
            bail!("-D will needs a topic: add --will-topic TOPIC");
        }
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
        properties,
    }))
}

/// A client identifier of 23 characters, the most that MQTT 3.1 allows.
pub fn random_client_id() -> String {
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
    use crate::client::Authenticator;

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

    fn password(plan: &ClientPlan) -> Vec<u8> {
        plan.password.as_ref().unwrap().read().unwrap().as_bytes().to_vec()
    }

    #[track_caller]
    fn refused(line: &str, text: &str) {
        let error = client(line).unwrap_err().to_string();
        assert!(error.contains(text), "{line}: {error}");
    }

    #[test]
    fn what_stands_behind_the_url_overrides_it_and_the_other_way_round() {
        let url = "-L mqtt://u:p@url:1/topic";
        let plan = client(&format!("-h other -p 2 -u x -P y {url}")).unwrap();
        assert_eq!((plan.transport.endpoint.host(), plan.transport.endpoint.port()), ("url", 1));
        assert_eq!(plan.username.as_deref(), Some("u"));
        assert_eq!(password(&plan), b"p");
        let plan = client(&format!("{url} -h other -p 2 -u x -P y")).unwrap();
        assert_eq!((plan.transport.endpoint.host(), plan.transport.endpoint.port()), ("other", 2));
        assert_eq!(plan.username.as_deref(), Some("x"));
        assert_eq!(password(&plan), b"y");
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
    fn a_session_lasts_as_long_as_it_is_told() {
        for (line, clean_start, expiry) in [
            ("-x 60", true, Some(60)),
            ("-x 0", true, Some(0)),
            ("-c -x 60", false, Some(60)),
            ("-c -i x -x -1", false, Some(u32::MAX)),
            ("-i x -x ∞", true, Some(u32::MAX)),
            ("-D connect session-expiry-interval 9", true, Some(9)),
        ] {
            let plan = client(line).unwrap();
            assert_eq!(plan.version, Version::V5, "{line}");
            assert_eq!((plan.clean_start, plan.session_expiry), (clean_start, expiry), "{line}");
        }
        refused("-x -1", "never expires");
        refused("-x -1 -I x", "never expires");
        refused("-D connect session-expiry-interval 4294967295", "-i ID");
        refused("-x 1 -D connect session-expiry-interval 1", "leave one of them out");
        refused("-D disconnect session-expiry-interval 1", "add -x SECONDS");
        assert!(client("-x 1 -D disconnect session-expiry-interval 1").is_ok());
        assert!(client("-D disconnect session-expiry-interval 0").is_ok());
    }

    #[test]
    fn of_the_version_and_what_means_5_the_later_counts() {
        for line in ["-x 1", "-V 311 -x 1", "-V 31 -D publish content-type a", "-x 1 -V 5"] {
            assert_eq!(client(line).unwrap().version, Version::V5, "{line}");
        }
        refused("-x 1 -V 311", "-x is for MQTT 5");
        refused("-D publish content-type a -V 31", "-D is for MQTT 5");
    }

    #[test]
    fn properties_go_to_their_packets() {
        let plan = client(
            "--will-topic w -D connect receive-maximum 5 -D connect user-property a b \
             -D publish content-type c -D will will-delay-interval 6 -D disconnect reason-string r \
             -D connect maximum-packet-size 100 -D connect topic-alias-maximum 3",
        )
        .unwrap();
        assert!(plan.properties.connect.as_ref().user_properties().eq([("a", "b")]));
        assert_eq!(plan.properties.connect.iter().count(), 1);
        assert_eq!(plan.properties.publish.as_ref().content_type(), Some("c"));
        assert_eq!(plan.properties.disconnect.as_ref().reason_string(), Some("r"));
        assert_eq!(plan.will.unwrap().properties.as_ref().will_delay_interval(), Some(6));
        assert_eq!(plan.settings.receive_maximum, Some(5));
        assert_eq!(plan.settings.maximum_packet_size, Some(100));
        assert_eq!(plan.settings.topic_alias_maximum, Some(3));

        let content_type = "-D publish content-type a";
        refused(&format!("{content_type} {content_type}"), "stands more than once");
        refused("-D will content-type a", "--will-topic");
        refused("-D subscribe user-property a b", "midge_pub sends no SUBSCRIBE packet");
    }

    #[test]
    fn an_authentication_is_begun_and_answered_as_given() {
        let plan = client(
            "-D connect authentication-data begin -D connect authentication-method M \
             -D auth authentication-data answer -D auth reason-string why -D auth user-property a b",
        )
        .unwrap();
        assert!(plan.properties.connect.is_empty());
        let debug = format!("{plan:?}");
        assert!(!debug.contains("begin\"") && !debug.contains("answer\""), "{debug}");
        let mut authentication = plan.properties.authentication.unwrap();
        assert_eq!(authentication.method(), "M");
        let begin = authentication.start().unwrap();
        assert_eq!(begin.data.as_deref(), Some(&b"begin"[..]));
        assert!(begin.properties.is_empty());
        for _ in 0..2 {
            let answer = authentication.step(Properties::new().as_ref()).unwrap();
            assert_eq!(answer.data.as_deref(), Some(&b"answer"[..]));
            assert_eq!(answer.properties.as_ref().reason_string(), Some("why"));
            assert!(answer.properties.as_ref().user_properties().eq([("a", "b")]));
            assert_eq!(answer.properties.iter().count(), 2);
        }
        refused("-D connect authentication-data a", "add -D connect authentication-method METHOD");
        refused("-D auth reason-string a", "add -D connect authentication-method METHOD");
    }

    #[test]
    fn of_url_and_option_the_later_password_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "filed\n").unwrap();
        let file = file.to_str().unwrap();
        let url = "-L mqtt://u:p@h/t";
        assert_eq!(password(&client(&format!("{url} --pw-file {file}")).unwrap()), b"filed");
        assert_eq!(password(&client(&format!("--pw-file {file} {url}")).unwrap()), b"p");
        let without = client(&format!("--pw-file {file} -L mqtt://u@h/t")).unwrap();
        assert_eq!(password(&without), b"filed");
        let plan = client("-u u --pw-file /no/such/file").unwrap();
        let error = plan.password.unwrap().read().unwrap_err().to_string();
        assert_eq!(error, "--pw-file: cannot read /no/such/file");
        refused("--pw-file f", "--pw-file needs a user name");
        refused("--pw-prompt", "--pw-prompt needs a user name");
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
