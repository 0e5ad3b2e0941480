//! The distribution of the durations of one phase.

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Counter, Histogram,
    serialization::{DeserializeError, Deserializer, Serializer, V2DeflateSerializer},
};
use serde::{Deserialize, Serialize};

/// A whole distribution of durations in microseconds, with three significant digits.
pub type Distribution = Histogram<u64>;

/// The distribution of the durations of one phase, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latencies {
    /// How many were measured.
    pub n: u64,
    /// The shortest.
    pub min_us: u64,
    /// The longest.
    pub max_us: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50: u64,
    /// 90 % are not longer.
    pub p90: u64,
    /// 99 % are not longer.
    pub p99: u64,
    /// 99.9 % are not longer.
    pub p999: u64,
    /// 99.99 % are not longer.
    pub p9999: u64,
    /// The whole distribution: HdrHistogram V2, compressed, in base 64.
    pub hdr_v2_b64: String,
}

/// Why a distribution cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistributionError {
    /// It is not base 64.
    #[error("not base 64")]
    Base64(#[source] base64::DecodeError),
    /// It is not an HdrHistogram.
    #[error("not an HdrHistogram (V2, compressed)")]
    Histogram(#[source] DeserializeError),
    /// It does not hold as many durations as it should.
    #[error("it holds {found} durations and not {expected}")]
    Count {
        /// How many it holds.
        found: u64,
        /// How many it should hold.
        expected: u64,
    },
}

impl Latencies {
    /// Describes a distribution.
    pub fn new<C: Counter>(durations: &Histogram<C>) -> Self {
        let mut encoded = Vec::new();
        V2DeflateSerializer::new()
            .serialize(durations, &mut encoded)
            .expect("a histogram of three digits always fits into memory");
        Self {
            n: durations.len(),
            min_us: durations.min(),
            max_us: durations.max(),
            mean_us: durations.mean(),
            p50: quantile(durations, 0.5),
            p90: quantile(durations, 0.9),
            p99: quantile(durations, 0.99),
            p999: quantile(durations, 0.999),
            p9999: quantile(durations, 0.9999),
            hdr_v2_b64: STANDARD.encode(encoded),
        }
    }

    /// The whole distribution.
    ///
    /// # Errors
    /// [`DistributionError`] when it was damaged on its way here.
    pub fn distribution(&self) -> Result<Distribution, DistributionError> {
        let bytes = STANDARD.decode(&self.hdr_v2_b64).map_err(DistributionError::Base64)?;
        let mut distribution: Distribution = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(DistributionError::Histogram)?;
        if distribution.len() != self.n {
            let (found, expected) = (distribution.len(), self.n);
            return Err(DistributionError::Count { found, expected });
        }
        distribution.auto(true);
        Ok(distribution)
    }

    /// Whether enough was measured for the value that the share `1 - quantile` exceeds: at least ten
    /// measurements lie beyond it.
    ///
    /// ```
    /// # let mut durations = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    /// # (0..500).for_each(|n| durations.record(n).unwrap());
    /// let latencies = midge::load::Latencies::new(&durations);
    /// assert_eq!(latencies.n, 500);
    /// assert!(latencies.is_enough_for(0.9));
    /// assert!(!latencies.is_enough_for(0.99));
    /// ```
    pub fn is_enough_for(&self, quantile: f64) -> bool {
        const BEYOND: f64 = 10.0;
        // A quantile such as 0.9 is not exact in binary.
        const ROUNDING: f64 = 1e-6;
        self.n as f64 * (1.0 - quantile) >= BEYOND - ROUNDING
    }
}

/// The duration that the share `quantile` does not exceed.
pub(crate) fn quantile<C: Counter>(durations: &Histogram<C>, quantile: f64) -> u64 {
    // The bucket that holds the longest duration ends beyond it.
    durations.value_at_quantile(quantile).min(durations.max())
}

/// Latencies as a map by the names of their phases. A phase of an unknown name is left out.
pub(super) mod by_name {
    use std::fmt;

    use serde::{
        Deserializer, Serializer,
        de::{IgnoredAny, MapAccess, Visitor},
        ser::SerializeMap,
    };

    use super::Latencies;
    use crate::load::Phase;

    pub(in crate::load) fn serialize<S: Serializer>(
        phases: &[(Phase, Latencies)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(phases.len()))?;
        for (phase, latencies) in phases {
            map.serialize_entry(phase.name(), latencies)?;
        }
        map.end()
    }

    pub(in crate::load) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(Phase, Latencies)>, D::Error> {
        deserializer.deserialize_map(ByName)
    }

    struct ByName;

    impl<'de> Visitor<'de> for ByName {
        type Value = Vec<(Phase, Latencies)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of latencies by phase")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut phases = Vec::new();
            while let Some(name) = map.next_key::<String>()? {
                match Phase::from_name(&name) {
                    Some(phase) => phases.push((phase, map.next_value()?)),
                    None => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(phases)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(values: impl IntoIterator<Item = u64>) -> Histogram<u32> {
        let mut durations = Histogram::new(3).unwrap();
        for value in values {
            durations.record(value).unwrap();
        }
        durations
    }

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let written = Latencies::new(&durations([0, 1, 17, 1_234_567, 3_600_000_000]));
        let read = written.distribution().unwrap();
        assert_eq!(read.len(), 5);
        assert_eq!(Latencies::new(&read), written);
    }

    #[test]
    fn damage_is_noticed() {
        let whole = Latencies::new(&durations([5, 6]));
        let with = |text: &str, n| Latencies { hdr_v2_b64: text.into(), n, ..whole.clone() };
        let error = |latencies: Latencies| latencies.distribution().unwrap_err();
        assert!(matches!(error(with("*", 2)), DistributionError::Base64(_)));
        assert!(matches!(error(with("AAAA", 2)), DistributionError::Histogram(_)));
        let fewer = error(with(&whole.hdr_v2_b64, 3));
        assert!(matches!(fewer, DistributionError::Count { found: 2, expected: 3 }));
    }
}
