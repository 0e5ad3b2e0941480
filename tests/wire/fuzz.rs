//! A mutational fuzzer for stable Rust: the same seed gives the same inputs. `MIDGE_FUZZ_ROUNDS`
//! changes how many there are, `MIDGE_FUZZ_SEED` which.

use std::{env, fs, path::Path};

use crate::accept::vectors;
use crate::support::*;

#[path = "../fuzz/law.rs"]
pub mod law;

const ROUNDS: u64 = 60_000;

#[test]
fn the_corpus_breaks_no_law() {
    let corpus = corpus();
    assert!(corpus.len() >= 20, "only {} files of the corpus found", corpus.len());
    for input in corpus {
        law::chosen(&input);
        law::round_trip(&input);
    }
}

#[test]
fn any_packet_is_refused_or_survives() {
    let (rounds, seed) = settings();
    let mut random = Random(seed);
    for _ in 0..rounds {
        // Small numbers make small fields, and so more of them.
        let input: Vec<_> = (0..random.below(80))
            .map(|_| random.next() as u8 >> if random.below(3) == 0 { 0 } else { 5 })
            .collect();
        law::round_trip(&input);
    }
}

#[test]
fn mutated_packets_break_no_law() {
    let (rounds, seed) = settings();
    let mut random = Random(seed);
    let mut seeds = corpus();
    for vector in vectors() {
        let receiver = if vector.receiver == Server { 0x80 } else { 0 };
        for version in vector.versions {
            seeds.push([&[receiver | (version.level() - 3)], &vector.bytes()[..]].concat());
        }
    }
    for _ in 0..rounds {
        let mut input = random.pick(&seeds).clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &seeds, &mut random);
        }
        if random.below(2) == 0 {
            mend_length(&mut input);
        }
        law::chosen(&input);
        law::round_trip(&input);
    }
}

fn settings() -> (u64, u64) {
    let setting = |name| env::var(name).ok().and_then(|text| text.parse().ok());
    (setting("MIDGE_FUZZ_ROUNDS").unwrap_or(ROUNDS), setting("MIDGE_FUZZ_SEED").unwrap_or(1))
}

fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/decode");
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

const INTERESTING: &[u8] = &[0, 1, 2, 3, 4, 0x0B, 0x1F, 0x23, 0x26, 0x7F, 0x80, 0x81, 0xC0, 0xFF];

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    if input.is_empty() {
        input.push(0);
    }
    let at = random.below(input.len());
    match random.below(8) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = *random.pick(INTERESTING),
        2 => input[at] = random.next() as u8,
        3 => input.insert(at, *random.pick(INTERESTING)),
        4 if input.len() > 1 => {
            input.remove(at);
        }
        5 => input.truncate(at.max(1)),
        6 => {
            let end = (at + 1 + random.below(16)).min(input.len());
            let part = input[at..end].to_vec();
            input.splice(at..at, part);
        }
        _ => {
            let other = random.pick(seeds);
            input.extend_from_slice(&other[random.below(other.len())..]);
        }
    }
}

/// Makes the Remaining Length say what there is, so that a change of length gets past the cut.
fn mend_length(input: &mut [u8]) {
    if input.len() >= 3 && input[2] < 0x80 && input.len() - 3 < 0x80 {
        input[2] = (input.len() - 3) as u8;
    }
}

/// The generator splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
