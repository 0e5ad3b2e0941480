//! What the options of a load ask for: the [`Plan`], checked as a whole.

use std::{num::NonZeroU32, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    cli::{
        opts::{
            LoadOptions,
            load::{LoadClientOptions, PaceOptions, TargetOptions},
        },
        transport::TransportPlan,
    },
    codec::Version,
    load::{Plan, Seed, Target},
    session::{Config, Will},
};

/// What the options ask for. Whatever depends on more than one of them is checked here.
///
/// # Errors
/// The first contradiction.
pub(super) fn plan(options: &LoadOptions) -> Result<Plan> {
    let TargetOptions { url, bind, embedded, secure } = &options.target;
    let PaceOptions { count, interval, hold, in_progress, connect_timeout, seed } = options.pace;
    let mut plan = if *embedded {
        if let Some(option) = options.tls.switch().or(options.tls.detail()) {
            bail!("{option} has no effect with --embedded, which is plain TCP");
        }
        Plan::new(Target::Embedded, session(options)?)
    } else {
        let transport = TransportPlan::to_url(url, *secure, &options.transport, &options.tls)?;
        let mut plan = Plan::new(Target::Broker(transport.endpoint.clone()), session(options)?);
        plan.connect = transport.connect_options()?;
        plan.connect.bind.clone_from(bind);
        plan
    };
    plan.clients = count;
    plan.interval = Duration::from_millis(interval.into());
    plan.hold = hold;
    plan.in_progress = in_progress;
    plan.connect_timeout = connect_timeout;
    plan.workers = NonZeroU32::MIN;
    if let Some(seed) = seed {
        plan.seed = Seed(seed);
    }
    plan.check()?;
    Ok(plan)
}

/// What each client says in CONNECT.
fn session(options: &LoadOptions) -> Result<Config> {
    let LoadClientOptions { protocol_version: version, user, password, .. } = &options.client;
    let url = &options.target.url;
    let mut config = Config::new(*version);
    config.keep_alive = options.client.keepalive;
    config.clean_start = options.client.clean_session;
    if !config.clean_start && *version == Version::V5 {
        config.session_expiry = u32::MAX;
    }
    config.username = user.as_deref().or(url.username()).map(Into::into);
    let password = password.as_ref().map(|password| password.as_bytes()).or(url.password());
    config.password = password.map(Into::into);
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
        assert_eq!((plan.clients, plan.interval), (1, Duration::from_millis(10)));
        assert_eq!((plan.session.keep_alive, plan.session.clean_start), (60, true));
        assert_eq!(plan.session.version, Version::V311);
        assert_eq!(plan.in_progress.get(), 64);
        assert_eq!(plan.hold, None);
        let Target::Broker(endpoint) = &plan.target else { panic!() };
        assert_eq!(endpoint.to_string(), "mqtt://127.0.0.1:1883");
    }

    #[test]
    fn every_option_reaches_the_plan() {
        let plan = planned(&[
            "--url=mqtt://ann:pw@h:1",
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
        assert_eq!((plan.clients, plan.interval), (7, Duration::ZERO));
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
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn words_of_nanomq_that_mean_nothing_here_are_unknown() {
        for words in [&["-n", "2"][..], &["-q", "1"], &["-r"], &["-L", "x"]] {
            let error = parse(words).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{words:?}");
        }
        let words = ["midge_conn", "stop"];
        let error = Tool::Conn.command().try_get_matches_from(words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
    }
}
