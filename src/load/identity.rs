//! Who client `g` is: a pure function of the run's seed and of `g`.

use std::{
    fmt::{self, Write},
    hash::{BuildHasher, RandomState},
};

const CLIENT_ID_BYTES: usize = 23;

/// The number that tells the clients of one run from those of another.
///
/// Runs with the same seed have the same clients: a run can be repeated, or one of its clients
/// looked at alone. Two runs against one broker at the same time need different seeds, or they take
/// over each other's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(pub u32);

impl Seed {
    /// A seed that differs from run to run.
    pub fn random() -> Self {
        let random = RandomState::new().hash_one(std::process::id());
        Self((random ^ (random >> 32)) as u32)
    }

    /// The client identifier of client `g`: `midge-SSSSSSSS-GGGGGGGG`, seed and index in
    /// hexadecimal.
    ///
    /// No two clients of a run share one. It has 23 characters, the most that an MQTT 3.1 server
    /// has to accept, all of them letters, digits and `-`.
    ///
    /// ```
    /// use midge::load::Seed;
    ///
    /// assert_eq!(Seed(42).client_id(255), "midge-0000002a-000000ff");
    /// ```
    pub fn client_id(self, g: u32) -> String {
        let mut id = String::with_capacity(CLIENT_ID_BYTES);
        // Writing to a String cannot fail.
        let _ = write!(id, "midge-{:08x}-{g:08x}", self.0);
        id
    }

    /// The seed of client `g`'s session (its ping phase), well spread over all 64 bits.
    pub(crate) fn session_seed(self, g: u32) -> u64 {
        // The finalizer of SplitMix64: a bijection, so that neighbours share nothing.
        let mut z = (u64::from(self.0) << 32) | u64::from(g);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// An identifier that differs from call to call, on all machines: 16 hexadecimal digits.
pub(crate) fn random_id() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_a_function_of_seed_and_index() {
        assert_eq!(Seed(7).client_id(3), Seed(7).client_id(3));
        assert_ne!(Seed(7).client_id(3), Seed(8).client_id(3));
        assert_eq!(Seed(u32::MAX).client_id(u32::MAX), "midge-ffffffff-ffffffff");
    }

    #[test]
    fn ids_never_collide_and_fit_mqtt_3_1() {
        let ids: HashSet<_> = (0..100_000).map(|g| Seed(1).client_id(g)).collect();
        assert_eq!(ids.len(), 100_000);
        assert!(ids.iter().all(|id| id.len() == 23));
    }

    #[test]
    fn session_seeds_spread_over_the_whole_range() {
        let mut buckets = [0u32; 16];
        for g in 0..16_000 {
            buckets[(Seed(5).session_seed(g) >> 60) as usize] += 1;
        }
        assert!(buckets.iter().all(|&n| (800..1200).contains(&n)), "{buckets:?}");
    }
}
