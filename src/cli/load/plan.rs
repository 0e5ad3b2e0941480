//! What the options of a load ask for: the [`Plan`], checked as a whole.

use std::{env, thread::available_parallelism, time::Duration};

use anyhow::{Context, Result, bail};

use super::{roster::Roster, shard};
use crate::{
    cli::{
        opts::{
            LoadOptions,
            load::{LifeOptions, LoadClientOptions, PaceOptions, TargetOptions, TrafficOptions},
        },
        plan::PasswordPlan,
        transport::TransportPlan,
    },
    codec::{QoS, SubscribeOptions, Version},
    load::{Life, Plan, Profile, Publishing, Seed, Subscribing, Target, Template, Traffic},
    net::Endpoint,
    session::{Config, Will},
};

/// What the options ask for. Whatever depends on more than one of them is checked here.
///
/// # Errors
/// The first contradiction.
pub(super) fn plan(options: &LoadOptions) -> Result<Plan> {
    let TargetOptions { url: urls, bind, embedded, secure } = &options.target;
    let session = session(options)?;
    let roster = options.roster.clients.as_deref().map(Roster::read).transpose()?;
    let mut plan = if *embedded {
        if let Some(option) = options.tls.switch().or(options.tls.detail()) {
            bail!("{option} has no effect with --embedded, which is plain TCP");
        }
        if roster.as_ref().is_some_and(Roster::has_certificates) {
            bail!("certificates have no effect with --embedded, which is plain TCP");
        }
        Plan::new(Target::Embedded, session)
    } else {
        brokers(options, urls, *secure, session, roster.as_ref())?
    };
    plan.sources = bind.clone().unwrap_or_default();
    let PaceOptions { in_progress, connect_timeout, seed, parallel, .. } = options.pace;
    plan.clients = options.pace.count;
    plan.profile = profile(&options.pace);
    plan.hold = options.pace.hold;
    plan.in_progress = in_progress;
    plan.connect_timeout = connect_timeout;
    let processors = || available_parallelism().ok()?.try_into().ok();
    plan.workers = parallel.or_else(processors).unwrap_or(plan.workers);
    if let Some(seed) = seed {
        plan.seed = Seed(seed);
    }
    plan.identity.client_id.clone_from(&options.roster.client_id);
    plan.identity.username = options.client.user.clone().filter(Template::differs);
    plan.identity.accounts = roster.map(|roster| roster.accounts.into());
    plan.life = life(options)?;
    plan.traffic = traffic(&options.traffic)?;
    plan.shard = shard::resolve(options.machines.shard.as_ref(), |name| env::var(name).ok())?;
    plan.start_at = options.machines.start_at;
    if options.machines.force && plan.start_at.is_none() && options.machines.barrier.is_none() {
        bail!("--force has no effect without --start-at or --barrier");
    }
    if plan.shard.count > 1 && seed.is_none() {
        bail!("the shards of one plan need the same clients: add --seed NUMBER, the same for all");
    }
    plan.objectives.clone_from(&options.judging.slo);
    plan.abort_after = options.judging.abort_on_slo;
    plan.check()?;
    Ok(plan)
}

/// A plan for brokers that are named by URLs.
fn brokers(
    options: &LoadOptions,
    urls: &[Endpoint],
    secure: bool,
    session: Config,
    roster: Option<&Roster>,
) -> Result<Plan> {
    let ways: Vec<_> = urls
        .iter()
        .map(|url| TransportPlan::to_url(url, secure, &options.transport, &options.tls))
        .collect::<Result<_>>()?;
    let Some(first) = ways.first() else { bail!("at least one --url is needed") };
    let scheme = first.endpoint.scheme();
    if let Some(other) = ways.iter().find(|way| way.endpoint.scheme() != scheme) {
        let (first, other) = (&first.endpoint, &other.endpoint);
        bail!("all brokers of a load are reached over one transport: {first} and {other} differ");
    }
    let path = urls.first().and_then(Endpoint::path);
    let user = urls.first().and_then(Endpoint::username);
    if urls
        .iter()
        .any(|url| url.path() != path || url.username().is_some_and(|it| Some(it) != user))
    {
        bail!("all URLs of a load have one path and one user: use --ws-path, -u and --clients");
    }
    let endpoints = ways.iter().map(|way| way.endpoint.clone()).collect();
    let mut plan = Plan::new(Target::Brokers(endpoints), session);
    plan.connect = first.connect_options()?;
    if let Some(sources) = &options.target.bind
        && (options.transport.proxy.is_some() || first.endpoint.socket_path().is_some())
    {
        let Some(address) = sources.get(0).filter(|_| sources.len() == 1) else {
            bail!("--bind can name one address only with --proxy, and none with a Unix socket");
        };
        plan.connect.bind = Some(address.into());
    }
    if let Some(certificates) = roster.and_then(Roster::certificates) {
        #[cfg(feature = "tls")]
        {
            plan.tls = Some(first.client_tls(certificates)?);
        }
        #[cfg(not(feature = "tls"))]
        bail!("{certificates:?}: this build has no TLS");
    }
    Ok(plan)
}

/// When the clients start.
fn profile(pace: &PaceOptions) -> Profile {
    let given = [&pace.rate, &pace.ramp, &pace.steps, &pace.burst];
    let given = given.into_iter().flatten().next().cloned();
    given.unwrap_or_else(|| Profile::interval(Duration::from_millis(pace.interval.into())))
}

/// What happens to the connections.
fn life(options: &LoadOptions) -> Result<Life> {
    let LifeOptions { reconnect, backoff, churn, storm } = &options.life;
    if options.pace.hold == Some(Duration::ZERO) && churn.is_some() {
        bail!("--churn replaces connections that are held: --hold 0 leaves no time for it");
    }
    let (reconnect, comeback, churn) = (*reconnect, *backoff, *churn);
    Ok(Life { reconnect, comeback, churn, storms: storm.clone() })
}

/// What the connections carry.
fn traffic(options: &TrafficOptions) -> Result<Traffic> {
    let TrafficOptions { publish, message, size, every, subscribe, qos, retain } = options;
    if publish.is_none() && *retain {
        bail!("-r retains the messages of --publish TOPIC, which is not given");
    }
    if publish.is_none() && subscribe.is_none() && *qos != QoS::AtMostOnce {
        bail!("-q is about --publish TOPIC and --subscribe FILTER, which are not given");
    }
    let payload = match (message, size) {
        (Some(message), _) => message.as_bytes().to_vec(),
        (None, Some(size)) => vec![b'x'; *size as usize],
        (None, None) => Vec::new(),
    };
    let publish = publish.clone().map(|topic| Publishing {
        topic,
        payload: payload.into(),
        qos: *qos,
        retain: *retain,
        every: *every,
    });
    let options = SubscribeOptions { qos: *qos, ..SubscribeOptions::default() };
    let subscribe = subscribe.clone().map(|filter| Subscribing { filter, options });
    Ok(Traffic { publish, subscribe })
}

/// What each client says in CONNECT.
fn session(options: &LoadOptions) -> Result<Config> {
    let LoadClientOptions { protocol_version: version, user, password, password_from, .. } =
        &options.client;
    let url = options.target.url.first();
    let mut config = Config::new(*version);
    config.keep_alive = options.client.keepalive;
    config.clean_start = options.client.clean_session;
    if !config.clean_start && *version == Version::V5 {
        config.session_expiry = u32::MAX;
    }
    let user = user.as_ref().map(|template| template.of_first(options.pace.seed));
    config.username = user.or(url.and_then(Endpoint::username).map(str::to_owned)).map(Into::into);
    // One of several processes does not ask for what the first one has asked for.
    let asked = options.pace.part.as_ref().and_then(|_| PasswordPlan::of_parent());
    let given = asked.or_else(|| PasswordPlan::of(password.as_ref(), password_from));
    config.password = match (given, url.and_then(Endpoint::password)) {
        (None, Some(password)) => Some(password.into()),
        (given, _) => given
            .or_else(|| config.username.as_ref().and_then(|_| PasswordPlan::of_environment()))
            .map(|password| password.read())
            .transpose()?
            .map(|password| password.as_bytes().into()),
    };
    config.will = will(&options.client)?;
    Ok(config)
}

fn will(options: &LoadClientOptions) -> Result<Option<Will>> {
    let Some(topic) = &options.will_topic else {
        if options.will_msg.is_some() {
            bail!("--will-msg needs a topic: add --will-topic TOPIC");
        }
        if options.will_retain {
            bail!("--will-retain needs a topic: add --will-topic TOPIC");
        }
        return Ok(None);
    };
    let payload = options.will_msg.as_ref().map_or(Vec::new(), |text| text.as_bytes().to_vec());
    let mut will = Will::new(topic.as_str(), payload)
        .with_context(|| format!("--will-topic {topic:?} is not a topic to publish to"))?;
    will.qos = options.will_qos;
    will.retain = options.will_retain;
    Ok(Some(will))
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, error::ErrorKind};

    use super::*;
    use crate::cli::Tool;

    fn parse(words: &[&str]) -> Result<LoadOptions, clap::Error> {
        let words = ["midge_conn", "start"].into_iter().chain(words.iter().copied());
        let matches = Tool::Conn.command().try_get_matches_from(words)?;
        let (_, matches) = matches.subcommand().unwrap();
        LoadOptions::from_arg_matches(matches)
    }

    fn planned(words: &[&str]) -> Result<Plan> {
        plan(&parse(words)?)
    }

    #[test]
    fn the_defaults_are_those_of_nanomq() {
        let plan = planned(&[]).unwrap();
        assert_eq!(plan.clients, 1);
        assert_eq!(plan.profile.constant_interval(), Some(Duration::from_millis(10)));
        assert_eq!((plan.session.keep_alive, plan.session.clean_start), (60, true));
        assert_eq!(plan.session.version, Version::V311);
        assert_eq!(plan.in_progress.get(), 64);
        assert_eq!(plan.hold, None);
        assert_eq!(plan.target.to_string(), "mqtt://127.0.0.1:1883");
        assert_eq!(plan.workers.get(), available_parallelism().unwrap().get() as u32);
        assert_eq!((plan.life, plan.traffic), (Life::default(), Traffic::default()));
    }

    #[test]
    fn every_option_reaches_the_plan() {
        let plan = planned(&[
            "--url=mqtt://ann:pw@h:1",
            "--url=mqtt://h:2",
            "--bind=10.0.0.1,10.0.0.2",
            "-n=3",
            "-I=d%i",
            "--publish=t/%c",
            "--message=hi",
            "--every=20ms",
            "--subscribe=t/+",
            "-q=1",
            "-r",
            "--reconnect",
            "--backoff=1s..9s",
            "--churn=30/m",
            "--storm=drop=1%@1s",
            "--storm=drop=2%@2s",
            "-V=5",
            "-C=7",
            "-i=0",
            "-k=0",
            "-c=false",
            "--hold=5s",
            "--will-topic=a/b",
            "--will-msg=gone",
            "--will-qos=2",
            "--will-retain",
            "--in-progress=9",
            "--connect-timeout=1500ms",
            "--seed=3",
        ])
        .unwrap();
        let session = &*plan.session;
        assert_eq!((session.version, session.keep_alive), (Version::V5, 0));
        assert_eq!((session.clean_start, session.session_expiry), (false, u32::MAX));
        assert_eq!(session.username.as_deref(), Some("ann"));
        assert_eq!(session.password.as_ref().unwrap().as_bytes(), b"pw");
        let will = session.will.as_ref().unwrap();
        assert_eq!((&*will.topic, &will.payload[..]), ("a/b", &b"gone"[..]));
        assert_eq!((u8::from(will.qos), will.retain), (2, true));
        assert_eq!(plan.clients, 7);
        assert_eq!(plan.profile.constant_interval(), Some(Duration::ZERO));
        assert_eq!(plan.target.to_string(), "mqtt://h:1 mqtt://h:2");
        assert_eq!((plan.workers.get(), plan.sources.len()), (3, 2));
        let identity = &plan.identity;
        assert_eq!(identity.client_id, Some("d%i".parse().unwrap()));
        let publish = plan.traffic.publish.as_ref().unwrap();
        assert_eq!(
            (publish.topic.clone(), &publish.payload[..]),
            ("t/%c".parse().unwrap(), &b"hi"[..])
        );
        assert_eq!((u8::from(publish.qos), publish.retain), (1, true));
        assert_eq!(publish.every, Duration::from_millis(20));
        assert!(plan.traffic.subscribe.is_some() && plan.life.reconnect);
        assert_eq!((plan.life.churn, plan.life.storms.len()), (Some(0.5), 2));
        assert_eq!(plan.life.comeback.max, Duration::from_secs(9));
        assert_eq!((plan.in_progress.get(), plan.seed), (9, Seed(3)));
        assert_eq!(plan.hold, Some(Duration::from_secs(5)));
        assert_eq!(plan.connect_timeout, Duration::from_millis(1500));
    }

    #[test]
    fn credentials_of_the_command_line_come_before_those_of_the_url() {
        let plan = planned(&["--url=mqtt://ann:pw@h", "-u=bob", "-p=other"]).unwrap();
        assert_eq!(plan.session.username.as_deref(), Some("bob"));
        assert_eq!(plan.session.password.as_ref().unwrap().as_bytes(), b"other");
    }

    #[test]
    fn contradictions_are_refused() {
        for words in [
            &["--will-msg=x"][..],
            &["--will-retain"],
            &["--will-topic=a/#"],
            &["-p=secret"],
            &["--connect-timeout=0"],
            &["--url=mqtt://h/path"],
            &["--url=mqtts://h", "--no-tls"],
            &["--url=unix:///s", "-s"],
            &["--insecure"],
            &["--embedded", "--cacert=f"],
            &["--cacert=/no/such/file"],
            &["--url=mqtt://h", "--url=ws://h"],
            &["-q=1"],
            &["-r"],
            &["--subscribe=a", "-r"],
            &["--publish=a/#"],
            &["--subscribe=a#"],
            &["--id=same", "-C=2"],
            &["--churn=1", "--hold=0"],
            &["--clients=/no/such/file"],
        ] {
            let error = planned(words).unwrap_err();
            assert!(error.downcast_ref::<clap::Error>().is_none(), "{words:?}: {error}");
        }
        for words in [
            &["--embedded", "--url=mqtt://h"][..],
            &["-V=6"],
            &["-C=0"],
            &["-C=-1"],
            &["-i=x"],
            &["-k=70000"],
            &["-c=yes"],
            &["--will-qos=3"],
            &["--hold=soon"],
            &["--in-progress=0"],
            &["--url=h:1883"],
            &["-n=0"],
            &["--bind=localhost"],
            &["--bind=10.0.0.0/33"],
            &["-i=5", "--rate=5"],
            &["--rate=5", "--ramp=1..2/3s"],
            &["--steps=1:1s,2", "--burst=5/1s"],
            &["--rate=0"],
            &["--message=x"],
            &["--size=5"],
            &["--publish=t", "--message=x", "--size=5"],
            &["--publish=t/%x"],
            &["--every=0"],
            &["--churn=0"],
            &["--storm=drop=101%@1s"],
            &["--backoff=2s..1s"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn words_of_nanomq_that_mean_nothing_here_are_unknown() {
        let error = parse(&["-L", "x"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument);
        let words = ["midge_conn", "restart"];
        let error = Tool::Conn.command().try_get_matches_from(words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
    }
}
