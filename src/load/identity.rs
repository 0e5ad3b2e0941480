//! Who client `g` is: a pure function of the run's seed and of `g`.

use std::{
    fmt::{self, Write},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::template::{Template, Who};
use crate::session::{Config, Secret};

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

/// What the clients are called, and how they say who they are.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The client identifiers. Default: those of [`Seed::client_id`].
    pub client_id: Option<Template>,
    /// The user names. Default: that of the plan's session configuration.
    pub username: Option<Template>,
    /// Client `g` is the one in row `g`; what a row leaves open comes from the settings above.
    /// Default none.
    pub accounts: Option<Arc<[Account]>>,
}

/// What one client says of itself.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Its client identifier.
    pub client_id: Option<Box<str>>,
    /// Its user name.
    pub username: Option<Box<str>>,
    /// Its password.
    pub password: Option<Secret>,
}

impl Identity {
    fn account(&self, g: u32) -> Option<&Account> {
        self.accounts.as_ref()?.get(g as usize)
    }

    /// The client identifier of client `g`.
    pub(crate) fn client_id(&self, seed: Seed, g: u32) -> String {
        let account = self.account(g).and_then(|account| account.client_id.as_deref());
        match (account, &self.client_id) {
            (Some(client_id), _) => client_id.to_owned(),
            (None, Some(template)) => {
                template.fill_in(Who { seed, index: g, client_id: "", username: "" })
            }
            (None, None) => seed.client_id(g),
        }
    }

    /// The user name of client `g`, if it has one of its own.
    fn username(&self, seed: Seed, g: u32) -> Option<String> {
        let account = self.account(g).and_then(|account| account.username.as_deref());
        if let Some(username) = account {
            return Some(username.to_owned());
        }
        let client_id = self.client_id(seed, g);
        let who = Who { seed, index: g, client_id: &client_id, username: "" };
        self.username.as_ref().map(|template| template.fill_in(who))
    }

    /// What client `g` says in CONNECT, where `shared` is what all say.
    pub(crate) fn config(&self, seed: Seed, g: u32, shared: &Arc<Config>) -> Arc<Config> {
        let account = self.account(g);
        let password = account.and_then(|account| account.password.as_ref());
        let username = self.username(seed, g);
        if password.is_none() && username.is_none() {
            return Arc::clone(shared);
        }
        let mut config = (**shared).clone();
        if let Some(username) = username {
            config.username = Some(username.into());
        }
        if let Some(password) = password {
            config.password = Some(password.clone());
        }
        Arc::new(config)
    }

    /// The text of `template` for client `g`.
    pub(crate) fn fill_in(&self, seed: Seed, g: u32, template: &Template) -> String {
        if !template.names_the_client() {
            return template.fill_in(Who { seed, index: g, client_id: "", username: "" });
        }
        let (client_id, username) = (self.client_id(seed, g), self.username(seed, g));
        let username = username.unwrap_or_default();
        template.fill_in(Who { seed, index: g, client_id: &client_id, username: &username })
    }
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
    fn rows_come_before_templates_and_templates_before_the_rest() {
        let mut shared = Config::new(crate::codec::Version::V311);
        shared.username = Some("all".into());
        let shared = Arc::new(shared);
        let plain = Identity::default();
        assert_eq!(plain.client_id(Seed(1), 2), "midge-00000001-00000002");
        assert!(Arc::ptr_eq(&plain.config(Seed(1), 2, &shared), &shared));

        let row = |client_id: &str| Account {
            client_id: (!client_id.is_empty()).then(|| client_id.into()),
            username: None,
            password: Some(b"pw".as_slice().into()),
        };
        let identity = Identity {
            client_id: Some("dev-%i".parse().unwrap()),
            username: Some("user of %c".parse().unwrap()),
            accounts: Some(Arc::new([row("first"), row("")])),
        };
        assert_eq!(identity.client_id(Seed(1), 0), "first");
        assert_eq!(identity.client_id(Seed(1), 1), "dev-1");
        let config = identity.config(Seed(1), 1, &shared);
        assert_eq!(config.username.as_deref(), Some("user of dev-1"));
        assert_eq!(config.password.as_ref().unwrap().as_bytes(), b"pw");
        assert!(identity.config(Seed(1), 2, &shared).password.is_none());
        let topic = "%u/%i".parse().unwrap();
        assert_eq!(identity.fill_in(Seed(1), 0, &topic), "user of first/0");
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
