//! One of several loads that share the clients of one plan.
//!
//! Client `g` belongs to shard `g mod N`, so that each shard's share starts as smoothly as the
//! whole. What client `g` is and when it starts depends on the plan alone, not on `N`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A share of the clients: those whose index leaves the remainder `index` when divided by `count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shard {
    /// Which share, from 0.
    pub index: u32,
    /// How many shares there are; at least 1.
    pub count: u32,
    /// Where the numbers came from, such as `--shard` or `SLURM_ARRAY_TASK_ID`.
    pub source: Option<String>,
}

impl Default for Shard {
    /// All clients.
    fn default() -> Self {
        Self { index: 0, count: 1, source: None }
    }
}

impl Shard {
    /// Share `index` of `count`; `None` when there is no such share.
    pub fn new(index: u32, count: u32) -> Option<Self> {
        (index < count).then_some(Self { index, count, source: None })
    }

    /// How many of `clients` belong to this share.
    pub fn share_of(&self, clients: u32) -> u32 {
        let count = self.count.max(1);
        clients / count + u32::from(self.index < clients % count)
    }

    /// The part `index` of `count` of this share: what a process does when several share the work of
    /// one. `None` when there is no such part, or when there are more than 2³² of them altogether.
    ///
    /// ```
    /// use midge::load::Shard;
    ///
    /// // Clients 1, 3, 5, … in two parts: 1, 5, 9, … and 3, 7, 11, …
    /// let half = Shard::new(1, 2).unwrap();
    /// assert_eq!(half.part(1, 2), Shard::new(3, 4));
    /// ```
    pub fn part(&self, index: u32, count: u32) -> Option<Self> {
        let part = Self::new(
            index.checked_mul(self.count)?.checked_add(self.index)?,
            count.checked_mul(self.count)?,
        )?;
        (index < count).then_some(Self { source: self.source.clone(), ..part })
    }

    /// The smallest share that `parts` cover together, each of its clients once.
    ///
    /// # Errors
    /// The shares that are missing from it.
    pub(crate) fn union(parts: &[Self]) -> Result<Self, Vec<Self>> {
        let parts: Vec<_> = parts.iter().collect();
        let Some(first) = parts.first() else { return Err(vec![Self::default()]) };
        let (index, count) = (first.index, first.count);
        let source = first.source.clone();
        // Shares of one division: the union is the remainder class that all of them are in.
        if parts.iter().any(|part| part.count != count) {
            return Self::union_of_all(&parts, source);
        }
        let step = parts.iter().map(|part| part.index.abs_diff(index)).fold(count, gcd);
        let missing: Vec<_> = (index % step..count)
            .step_by(step as usize)
            .filter(|wanted| !parts.iter().any(|part| part.index == *wanted))
            .map(|index| Self { index, count, source: None })
            .collect();
        if missing.is_empty() {
            Ok(Self { index: index % step, count: step, source })
        } else {
            Err(missing)
        }
    }

    /// Shares of different divisions: only all clients can be covered.
    fn union_of_all(parts: &[&Self], source: Option<String>) -> Result<Self, Vec<Self>> {
        const FINEST: u32 = 1 << 20;
        let finest = parts.iter().try_fold(1u32, |all, part| {
            let count = part.count.max(1);
            (all / gcd(all, count)).checked_mul(count).filter(|all| *all <= FINEST)
        });
        let finest = finest.ok_or_else(|| vec![Self::default()])?;
        let missing: Vec<_> = (0..finest)
            .filter(|g| !parts.iter().any(|part| g % part.count == part.index))
            .map(|index| Self { index, count: finest, source: None })
            .collect();
        if missing.is_empty() { Ok(Self { index: 0, count: 1, source }) } else { Err(missing) }
    }

    /// Whether some client is in both shares.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let common = gcd(self.count.max(1), other.count.max(1));
        self.index % common == other.index % common
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: u32, count: u32) -> Shard {
        Shard::new(index, count).unwrap()
    }

    #[test]
    fn shares_add_up() {
        for clients in [0, 1, 3, 10, 1_000_003, u32::MAX] {
            for count in [1, 2, 3, 7, 16] {
                let sum: u64 =
                    (0..count).map(|i| u64::from(shard(i, count).share_of(clients))).sum();
                assert_eq!(sum, u64::from(clients), "{clients} in {count}");
            }
        }
        assert_eq!(Shard::new(2, 2), None);
        assert_eq!(Shard::new(0, 0), None);
    }

    #[test]
    fn parts_of_a_shard_are_shards() {
        let third = shard(2, 3);
        let parts: Vec<_> = (0..4).map(|part| third.part(part, 4).unwrap()).collect();
        for g in 0..100 {
            let in_parts = parts.iter().filter(|part| g % part.count == part.index).count();
            assert_eq!(in_parts, usize::from(g % 3 == 2), "{g}");
        }
        assert_eq!(Shard::union(&parts), Ok(third.clone()));
        assert_eq!(third.part(4, 4), None);
        assert_eq!(third.part(1, u32::MAX), None);
    }

    #[test]
    fn missing_shards_are_named() {
        assert_eq!(Shard::union(&[shard(0, 1)]), Ok(shard(0, 1)));
        assert_eq!(Shard::union(&[shard(1, 2), shard(0, 2)]), Ok(shard(0, 1)));
        let missing = Shard::union(&[shard(0, 4), shard(3, 4)]).unwrap_err();
        assert_eq!(missing, [shard(1, 4), shard(2, 4)]);
        assert_eq!(Shard::union(&[shard(0, 2), shard(1, 4), shard(3, 4)]), Ok(shard(0, 1)));
        assert_eq!(Shard::union(&[shard(0, 2), shard(1, 4)]), Err(vec![shard(3, 4)]));
        assert!(Shard::union(&[]).is_err());
    }

    #[test]
    fn overlaps_are_seen() {
        assert!(shard(1, 2).overlaps(&shard(3, 4)));
        assert!(!shard(0, 2).overlaps(&shard(3, 4)));
        assert!(shard(1, 2).overlaps(&shard(0, 3)));
        assert!(shard(0, 1).overlaps(&shard(5, 7)));
    }
}
