//! `midge_conn`: opens very many connections to a broker, holds them, and reports how they fared.

mod progress;
mod screen;

use std::{
    fs::{File, OpenOptions},
    io::Write,
    num::NonZeroU32,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use tokio::{runtime, sync::oneshot};

use self::progress::Display;
use super::{
    Tool,
    exit::{Exit, Failure},
    opts::{
        GeneralOptions, LoadOptions,
        load::{LoadClientOptions, PaceOptions, TargetOptions},
    },
    signals::Signals,
    stdio::Stdout,
    transport::TransportPlan,
};
use crate::{
    codec::Version,
    load::{self, Outcome, Plan, Report, Seed, StartError, Target},
    session::{Config, Will},
};

/// The exit codes of midge_conn.
pub(super) const EXITS: [Exit; 7] = [
    Exit::Success,
    Exit::SomeFailed,
    Exit::Usage,
    Exit::NotStarted,
    Exit::Unreachable,
    Exit::Signal(2),
    Exit::Signal(15),
];

/// The options of midge_conn.
pub(super) fn command() -> Command {
    // The groups of options bring their own descriptions, which these replace.
    let start = LoadOptions::augment_args(Command::new("start"))
        // The names that NanoMQ has for them.
        .mut_arg("cafile", |arg| arg.visible_alias("cacert"))
        .mut_arg("cert", |arg| arg.short('E'))
        .about("Connect, hold the connections, and report how they fared")
        .long_about(
            "Connects COUNT clients to a broker, one every MS milliseconds, holds the connections, \
             and prints how long each phase took: the schedule lag, the TCP connection, the CONNACK, \
             the whole, and the answers to pings. The whole counts from the intended start of a \
             client, so that a broker that stalls cannot hide it. Ctrl-C ends the load and prints \
             the report; a second Ctrl-C ends the program at once.",
        )
        .after_help(
            "Examples:\n  \
             midge_conn start --embedded -C 1000 --hold 5s\n  \
             midge_conn start --url mqtt-tcp://broker:1883 -C 10000 -i 10 -k 60",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true);
    GeneralOptions::augment_args(Command::new("midge_conn"))
        .about("Open very many connections to an MQTT broker and report how they fare")
        .long_about(None)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(start)
}

/// Runs what was asked for.
///
/// # Errors
/// Whatever keeps the load from starting, from being reported, or from succeeding.
pub(super) fn run(matches: &ArgMatches) -> Result<Exit, Failure> {
    match matches.subcommand() {
        Some(("start", matches)) => start(&LoadOptions::from_arg_matches(matches)?),
        // clap has required one of the subcommands above.
        _ => Err(Failure::silent(Exit::Usage)),
    }
}

fn start(options: &LoadOptions) -> Result<Exit, Failure> {
    let usage = |error| Failure::new(Exit::Usage, error);
    let plan = plan(options).map_err(usage)?;
    let mut json = options.report.json.as_deref().map(Output::open).transpose().map_err(usage)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(|error| Failure::new(Exit::NotStarted, error))?;
    let (report, signal) = runtime.block_on(attend(plan, options))?;
    // A host name may still be looked up: that cannot be stopped, and is not waited for.
    runtime.shutdown_background();
    let printed = Stdout::new().write(screen::render(&report).as_bytes());
    // A reader who has seen enough of the one report still gets the other.
    if let Some(json) = &mut json {
        json.write(&report).map_err(usage)?;
    }
    printed?;
    verdict(&report, signal)
}

/// Runs the load until its end or a signal. The second signal ends the program without a report.
async fn attend(plan: Plan, options: &LoadOptions) -> Result<(Report, Option<Exit>), Failure> {
    let not_started = |error| Failure::new(Exit::NotStarted, error);
    let mut signals =
        Signals::new().context("cannot take over the signals").map_err(not_started)?;
    let (interrupt, interrupted) = oneshot::channel::<()>();
    let mut display = Display::new(Tool::Conn.name(), &plan, &options.report);
    let running = load::run(
        plan,
        async move {
            // The sender lives as long as the load.
            let _ = interrupted.await;
        },
        |update| display.show(update),
    );
    tokio::pin!(running);
    let (outcome, signal) = tokio::select! {
        outcome = &mut running => (outcome, None),
        signal = signals.next() => {
            let _ = interrupt.send(());
            tokio::select! {
                outcome = &mut running => (outcome, Some(signal)),
                second = signals.next() => return Err(Failure::silent(second)),
            }
        }
    };
    match (outcome, signal) {
        (Err(StartError::Interrupted), Some(signal)) => Err(Failure::silent(signal)),
        (outcome, signal) => Ok((outcome.map_err(start_failure)?, signal)),
    }
}

fn start_failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Plan(_) => Exit::Usage,
        StartError::Resolve(_) | StartError::Unreachable { .. } => Exit::Unreachable,
        _ => Exit::NotStarted,
    };
    Failure::new(exit, error)
}

/// The exit code that tells how the load went.
fn verdict(report: &Report, signal: Option<Exit>) -> Result<Exit, Failure> {
    let worst = report.errors.first();
    let why = worst.map_or(String::new(), |row| {
        format!(": {} ({}); {}", row.class, row.sample_error, row.remedy)
    });
    let totals = report.totals;
    match report.outcome {
        Outcome::Complete => Ok(Exit::Success),
        Outcome::Interrupted => Ok(signal.unwrap_or(Exit::Signal(2))),
        Outcome::Unreachable => {
            let error = anyhow!("cannot reach {}{why}", report.target.url);
            Err(Failure::new(Exit::Unreachable, error))
        }
        _ => {
            let (failed, dropped, attempted) = (totals.failed, totals.dropped, totals.attempted);
            let error = anyhow!(
                "of {attempted} clients {failed} failed and {dropped} lost their connections, most \
                 by {}",
                why.trim_start_matches(": ")
            );
            Err(Failure::new(Exit::SomeFailed, error))
        }
    }
}

/// What the options ask for. Whatever depends on more than one of them is checked here.
fn plan(options: &LoadOptions) -> Result<Plan> {
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

/// The file that the report goes to. It is opened before the load, which would otherwise be lost on
/// a file that cannot be written, and changed only after it.
struct Output<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Output<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn write(&mut self, report: &Report) -> Result<()> {
        let mut text =
            serde_json::to_vec_pretty(report).context("cannot put the report in JSON")?;
        text.push(b'\n');
        let mut write = || {
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
            }
            self.file.write_all(&text)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

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
