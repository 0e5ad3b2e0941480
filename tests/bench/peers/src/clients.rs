//! What each library does in its process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;

const TOPIC: &str = "bench/t";
const PAYLOAD: &[u8] = &[b'x'; 64];
/// How many QoS 1 messages may be in flight.
const WINDOW: u16 = 100;

#[derive(Clone, Copy)]
pub enum Library {
    Midge,
    Rumqttc,
}

#[derive(Clone, Copy)]
pub enum Job {
    SendQos0,
    SendQos1,
    /// Receives QoS 0 and throws it away.
    Receive,
}

impl Library {
    pub const ALL: [Library; 2] = [Library::Midge, Library::Rumqttc];

    pub fn name(self) -> &'static str {
        match self {
            Library::Midge => "midge",
            Library::Rumqttc => "rumqttc",
        }
    }

    pub fn named(name: &str) -> Library {
        Library::ALL.into_iter().find(|library| library.name() == name).unwrap()
    }
}

impl Job {
    pub const ALL: [Job; 3] = [Job::SendQos0, Job::SendQos1, Job::Receive];

    pub fn name(self) -> &'static str {
        match self {
            Job::SendQos0 => "send QoS 0",
            Job::SendQos1 => "send QoS 1, window 100",
            Job::Receive => "receive QoS 0, discard",
        }
    }

    pub fn named(name: &str) -> Job {
        Job::ALL.into_iter().find(|job| job.name() == name).unwrap()
    }

    pub fn count(self) -> u64 {
        match self {
            Job::SendQos0 => 3_000_000,
            Job::SendQos1 => 1_000_000,
            Job::Receive => 8_000_000,
        }
    }

    /// How many messages the server sends.
    pub fn blast(self, count: u64) -> u64 {
        if matches!(self, Job::Receive) { count } else { 0 }
    }
}

/// Does a job and prints the seconds that it took, and those of this process's time.
pub fn run(library: Library, job: Job, port: u16, count: u64) {
    let mut one = CpuSet::new();
    one.set(0);
    // Without it, where the system has other ideas, only the wall clock suffers.
    let _ = rustix::thread::sched_setaffinity(None, &one);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (wall, cpu) = runtime.block_on(async {
        match library {
            Library::Midge => midge_client(job, port, count).await,
            Library::Rumqttc => rumqttc_client(job, port, count).await,
        }
    });
    println!("{} {}", wall.as_secs_f64(), cpu.as_secs_f64());
}

/// Both clocks.
struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock { wall: Instant::now(), cpu: cpu() }
    }

    fn stop(&self) -> (Duration, Duration) {
        (self.wall.elapsed(), cpu() - self.cpu)
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

async fn midge_client(job: Job, port: u16, count: u64) -> (Duration, Duration) {
    use midge::client::OutgoingQueue;
    use midge::{Client, Flow, QoS, TopicName};

    let received = Arc::new(tokio::sync::Notify::new());
    let mut builder = Client::builder(&format!("mqtt://127.0.0.1:{port}"))
        .unwrap()
        .max_inflight(WINDOW)
        .outgoing(OutgoingQueue { messages: 10_000, bytes: 8 << 20, ..OutgoingQueue::default() });
    if let Job::Receive = job {
        let received = Arc::clone(&received);
        let mut left = count;
        builder = builder.on_message(move |message, _| {
            assert_eq!(message.payload().len(), PAYLOAD.len());
            left -= 1;
            if left == 0 {
                received.notify_one();
            }
            Flow::Taken
        });
    }
    let (client, _inbox) = builder.start().unwrap();
    client.connected().await.unwrap();
    let clock = Clock::start();
    if let Job::Receive = job {
        let filters = vec![(TOPIC.try_into().unwrap(), Default::default())];
        client.subscribe_many(filters, Default::default()).await.unwrap();
        received.notified().await;
        return clock.stop();
    }
    let qos = if let Job::SendQos1 = job { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let topic = TopicName::try_from(TOPIC).unwrap();
    for _ in 0..count {
        drop(client.publish(&topic, PAYLOAD).qos(qos).enqueue().await.unwrap());
    }
    client.flush().await.unwrap();
    clock.stop()
}

async fn rumqttc_client(job: Job, port: u16, count: u64) -> (Duration, Duration) {
    use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};

    let mut options = MqttOptions::new("bench", "127.0.0.1", port);
    options.set_inflight(WINDOW);
    let (client, mut events) = AsyncClient::new(options, 10_000);
    loop {
        if let Event::Incoming(Packet::ConnAck(_)) = events.poll().await.unwrap() {
            break;
        }
    }
    let clock = Clock::start();
    let qos = if let Job::SendQos1 = job { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    if let Job::Receive = job {
        client.subscribe(TOPIC, QoS::AtMostOnce).await.unwrap();
    } else {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..count {
                client.publish(TOPIC, qos, false, PAYLOAD).await.unwrap();
            }
        });
    }
    let mut done = 0;
    while done < count {
        let counts = match (job, events.poll().await.unwrap()) {
            (Job::SendQos0, Event::Outgoing(Outgoing::Publish(_))) => true,
            (Job::SendQos1, Event::Incoming(Packet::PubAck(_))) => true,
            (Job::Receive, Event::Incoming(Packet::Publish(publish))) => {
                assert_eq!(publish.payload.len(), PAYLOAD.len());
                true
            }
            _ => false,
        };
        done += u64::from(counts);
    }
    clock.stop()
}
