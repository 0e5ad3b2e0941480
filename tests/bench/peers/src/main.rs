//! How fast midge sends and receives beside rumqttc, in one run and against the same server.
//!
//! `cargo run --release` prints a table; `-- --smoke` only shows that it runs. The server is
//! `sink.c`, which does nothing but answer; it is compiled with `cc`, and writes are counted where
//! strace is installed. Each measurement is a process of its own with one thread, on one processor
//! where there are several. Of the rounds, which take turns, the best counts: other work on the
//! machine only makes them slower. `per CPU second` is what the client's own time allows, wherever
//! the server is the slower one.

mod clients;
mod sink;

use std::env;
use std::process::Command;

use crate::clients::{Job, Library};
use crate::sink::Sink;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", library, job, port, count] => {
            let (library, job) = (Library::named(library), Job::named(job));
            clients::run(library, job, port.parse().unwrap(), count.parse().unwrap());
        }
        [] => compare(5, 1),
        ["--smoke"] => compare(1, 1000),
        _ => panic!("no such option: {arguments:?}"),
    }
}

/// What one process has measured.
#[derive(Clone, Copy, Default)]
struct Measured {
    per_second: f64,
    per_cpu_second: f64,
}

fn compare(rounds: usize, scale: u64) {
    println!(
        "{:<30} {:>10} {:>14} {:>16} {:>18}",
        "64 bytes, MQTT 3.1.1", "", "messages/s", "per CPU second", "writes per message"
    );
    for job in Job::ALL {
        let count = job.count() / scale;
        let mut best = [Measured::default(); 2];
        for _ in 0..rounds {
            for (best, library) in best.iter_mut().zip(Library::ALL) {
                let measured = measure(library, job, count);
                best.per_second = best.per_second.max(measured.per_second);
                best.per_cpu_second = best.per_cpu_second.max(measured.per_cpu_second);
            }
        }
        for (best, library) in best.iter().zip(Library::ALL) {
            let writes = writes(library, job, count.min(200_000));
            println!(
                "{:<30} {:>10} {:>14.0} {:>16.0} {:>18}",
                job.name(),
                library.name(),
                best.per_second,
                best.per_cpu_second,
                writes.map_or_else(|| "no strace".to_owned(), |writes| format!("{writes:.4}")),
            );
        }
        println!(
            "{:<30} {:>10} {:>14.2} {:>16.2}",
            "",
            "ratio",
            best[0].per_second / best[1].per_second,
            best[0].per_cpu_second / best[1].per_cpu_second,
        );
    }
}

fn child(library: Library, job: Job, sink: &Sink, count: u64) -> [String; 5] {
    let (port, count) = (sink.port().to_string(), count.to_string());
    ["child", library.name(), job.name(), &port, &count].map(str::to_owned)
}

fn measure(library: Library, job: Job, count: u64) -> Measured {
    let sink = Sink::start(job.blast(count));
    let output = Command::new(env::current_exe().unwrap())
        .args(child(library, job, &sink, count))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall, cpu] = numbers[..] else { panic!("{} {}: {output:?}", library.name(), job.name()) };
    Measured { per_second: count as f64 / wall, per_cpu_second: count as f64 / cpu }
}

/// Writes to the socket per message, as strace counts them.
fn writes(library: Library, job: Job, count: u64) -> Option<f64> {
    let sink = Sink::start(job.blast(count));
    let output = Command::new("strace")
        .args(["-f", "-c", "-U", "calls,name", "-e", "trace=write,writev,sendto,sendmsg"])
        .arg(env::current_exe().unwrap())
        .args(child(library, job, &sink, count))
        .output()
        .ok()?;
    let table = String::from_utf8_lossy(&output.stderr);
    let calls = table.lines().filter_map(|line| {
        let (calls, name) = line.trim().split_once(char::is_whitespace)?;
        (name.trim() != "total").then(|| calls.parse::<f64>().ok())?
    });
    Some(calls.sum::<f64>() / count as f64)
}
