//! Serves the state of a load to Prometheus while it runs.
//!
//! A small HTTP/1.1 server that answers `GET /metrics` and nothing else, each connection once. It
//! shares the thread that watches over the load, not those that make it.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::load::{Counts, Phase, Plan, Update};

/// The upper bounds of the buckets, in microseconds.
const BUCKETS_MICROS: [u64; 15] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000,
];
/// The longest request that is read.
const REQUEST_BYTES: usize = 8 * 1024;
/// How long a peer may take for its request and for the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Peers that are served at the same time; others wait.
const PEERS: usize = 16;

/// What is served, shared between the load and the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    planned: u32,
    counts: Counts,
    phases: Vec<(Phase, Buckets)>,
    troubles: Vec<(String, u64)>,
    cpu: Option<f64>,
    rss_bytes: Option<u64>,
}

/// What was measured in one phase: how much in each bucket, the last one without a bound.
#[derive(Clone, Debug, Default)]
struct Buckets {
    counts: [u64; BUCKETS_MICROS.len() + 1],
    sum_micros: f64,
}

impl Buckets {
    fn add(&mut self, durations: &Histogram<u32>) {
        for value in durations.iter_recorded() {
            let micros = durations.lowest_equivalent(value.value_iterated_to());
            let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
            let count = u64::from(value.count_at_value());
            if let Some(sum) = self.counts.get_mut(bucket) {
                *sum += count;
            }
            self.sum_micros += micros as f64 * count as f64;
        }
    }

    fn encode(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds =
            BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.counts).collect();
        (self.sum_micros / 1e6, self.counts.iter().sum(), buckets)
    }
}

impl Metrics {
    /// Metrics of a load that is about to start.
    pub(super) fn new(plan: &Plan) -> Self {
        let metrics = Self::default();
        metrics.state().planned = plan.shard.share_of(plan.clients);
        metrics
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an update.
    pub(super) fn observe(&self, update: &Update) {
        let mut state = self.state();
        match update {
            Update::Progress(progress) => state.counts = progress.counts,
            Update::Trouble(trouble) => {
                let class = trouble.class.name();
                match state.troubles.iter_mut().find(|(known, _)| *known == class) {
                    Some((_, count)) => *count += 1,
                    None => state.troubles.push((class.into_owned(), 1)),
                }
            }
            Update::Second(interval) => {
                state.cpu = interval.second.cpu.or(state.cpu);
                state.rss_bytes = interval.second.rss_bytes;
                for (phase, durations) in &interval.phases {
                    match state.phases.iter_mut().find(|(known, _)| known == phase) {
                        Some((_, buckets)) => buckets.add(durations),
                        None => {
                            let mut buckets = Buckets::default();
                            buckets.add(durations);
                            state.phases.push((*phase, buckets));
                        }
                    }
                }
            }
        }
    }

    /// All metrics in the text format of OpenMetrics.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("midge_conn");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.state();
        let counts = &state.counts;
        for (name, help, value) in [
            ("clients_attempted", "Clients that started to connect", u64::from(counts.attempted)),
            ("clients_connected", "Clients that were accepted", counts.connected.into()),
            ("clients_failed", "Clients that could not connect", counts.failed.into()),
            (
                "clients_dropped",
                "Accepted clients that lost their connections",
                counts.dropped.into(),
            ),
            ("connections_ended", "Connections that the plan ended itself", counts.left.into()),
            ("clients_returned", "Clients that were accepted again", counts.returned.into()),
            ("returns_failed", "Attempts to come back that failed", counts.return_failed.into()),
            ("messages_published", "Messages that were published", counts.published),
            ("messages_received", "Messages that were received", counts.received),
            ("pings_answered", "Answers to pings", counts.pongs),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        for (name, help, value) in [
            ("clients_planned", "Clients that this process is to start", state.planned),
            ("clients_open", "Clients that are connected", counts.open()),
            ("clients_pending", "Clients that are connecting", counts.pending()),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::from(value)).encode(metric)?;
        }
        if let Some(cpu) = state.cpu {
            let help = "Processors that the process kept busy in the last second";
            let metric = encoder.encode_descriptor("processors", help, None, MetricType::Gauge)?;
            ConstGauge::new(cpu).encode(metric)?;
        }
        if let Some(bytes) = state.rss_bytes.and_then(|bytes| i64::try_from(bytes).ok()) {
            let (help, unit) = ("Resident memory of the process", Some(&Unit::Bytes));
            let metric =
                encoder.encode_descriptor("resident_memory", help, unit, MetricType::Gauge)?;
            ConstGauge::new(bytes).encode(metric)?;
        }
        let help = "Failures by class";
        let mut family = encoder.encode_descriptor("errors", help, None, MetricType::Counter)?;
        for (class, count) in &state.troubles {
            let labels = [("class", class.as_str())];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let (help, unit) = ("Durations of the phases of connections", Some(&Unit::Seconds));
        let mut family = encoder.encode_descriptor("phase", help, unit, MetricType::Histogram)?;
        for (phase, buckets) in &state.phases {
            let (sum, count, buckets) = buckets.encode();
            let labels = [("phase", phase.name())];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// Listens at `address`.
///
/// # Errors
/// When that is not possible.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot serve metrics at {address}"))
}

/// Answers whoever connects, for ever.
pub(super) async fn serve(listener: TcpListener, metrics: Metrics) {
    let peers = Arc::new(Semaphore::new(PEERS));
    loop {
        let Ok(permit) = Arc::clone(&peers).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = metrics.clone();
                tokio::spawn(async move {
                    // A peer that breaks off gets no answer, and nothing else follows from it.
                    let _ = tokio::time::timeout(PATIENCE, answer(stream, &metrics)).await;
                    drop(permit);
                });
            }
            // Too many open files, as a rule: the load has the first claim on them.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> io::Result<()> {
    let mut request = Vec::new();
    let (status, body) = loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(&request) {
            Ok(httparse::Status::Complete(_)) => {
                let path = head.path.map(|path| path.split('?').next().unwrap_or(path));
                break match (head.method, path) {
                    (Some("GET" | "HEAD"), Some("/metrics")) => match metrics.text() {
                        Ok(text) if head.method == Some("GET") => ("200 OK", text),
                        Ok(_) => ("200 OK", String::new()),
                        Err(_) => ("500 Internal Server Error", String::new()),
                    },
                    (Some("GET" | "HEAD"), _) => ("404 Not Found", "see /metrics\n".to_owned()),
                    _ => ("405 Method Not Allowed", String::new()),
                };
            }
            Ok(httparse::Status::Partial) if request.len() < REQUEST_BYTES => {}
            _ => break ("400 Bad Request", String::new()),
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_the_bucket_that_their_bound_allows() {
        let mut durations = Histogram::new(3).unwrap();
        for micros in [0, 500, 501, 30_000_000, 31_000_000] {
            durations.record(micros).unwrap();
        }
        let mut buckets = Buckets::default();
        buckets.add(&durations);
        let (sum, count, encoded) = buckets.encode();
        assert_eq!(count, 5);
        assert!((sum - 61.001).abs() < 0.05, "{sum}");
        assert_eq!((encoded[0], encoded[1]), ((0.0005, 2), (0.001, 1)));
        assert_eq!((encoded[14], encoded[15]), ((30.0, 1), (f64::INFINITY, 1)));
    }
}
