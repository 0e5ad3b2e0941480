//! What is in force on the current connection: the broker's CONNACK over this side's wishes, or
//! the constants of 3.x, so that the code above never asks for the version.

use std::time::Duration;

use crate::codec::{PropertiesRef, QoS, Version};

use super::Config;

/// Holds what the broker of the current connection takes and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many QoS 1 and 2 messages may be in flight to the broker, this side's own window
    /// included.
    pub receive_maximum: u16,
    /// How many of them may be of QoS 2.
    pub exactly_once_maximum: u16,
    /// Highest quality of service for publishing.
    pub maximum_qos: QoS,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// Whether filters may have wildcards.
    pub wildcard_subscription_available: bool,
    /// Whether subscription identifiers may be used.
    pub subscription_identifier_available: bool,
    /// Whether shared subscriptions may be used.
    pub shared_subscription_available: bool,
    /// Largest packet the broker takes, in bytes.
    pub maximum_packet_size: u32,
    /// Number of topic aliases the broker takes.
    pub topic_alias_maximum: u16,
    /// Longest time without a packet from this side; zero means that keep alive is off.
    pub keep_alive: Duration,
    /// How long in seconds the session outlives the connection; `u32::MAX` means for ever.
    pub session_expiry: u32,
}

/// The largest packet there is: a fixed header of 5 bytes and 268,435,455 more (§2.1.4).
pub(super) const LARGEST_PACKET: u32 = 268_435_460;

impl Limits {
    /// What holds before a CONNACK, and in 3.x.
    pub(super) fn new(config: &Config) -> Limits {
        Limits {
            receive_maximum: config.max_inflight,
            exactly_once_maximum: match config.version {
                Version::V5 => u16::MAX,
                Version::V31 | Version::V311 => config.max_inflight_exactly_once,
            },
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_identifier_available: true,
            shared_subscription_available: true,
            maximum_packet_size: LARGEST_PACKET,
            topic_alias_maximum: 0,
            keep_alive: Duration::from_secs(config.keep_alive.into()),
            session_expiry: config.session_expiry,
        }
    }

    /// What is in force where the broker has granted something, or nothing in particular.
    pub(super) fn in_force(granted: Option<&Limits>, config: &Config) -> Limits {
        granted.copied().unwrap_or_else(|| Limits::new(config))
    }

    /// What a CONNACK with these properties puts in force (§3.2.2.3). The codec has refused the
    /// values that are out of range.
    pub(super) fn granted(config: &Config, properties: PropertiesRef<'_>) -> Limits {
        let wish = Limits::new(config);
        Limits {
            receive_maximum: properties
                .receive_maximum()
                .map_or(wish.receive_maximum, |granted| granted.min(wish.receive_maximum)),
            exactly_once_maximum: wish.exactly_once_maximum,
            maximum_qos: properties.maximum_qos().unwrap_or(QoS::ExactlyOnce),
            retain_available: properties.retain_available() != Some(false),
            wildcard_subscription_available: properties.wildcard_subscription_available()
                != Some(false),
            subscription_identifier_available: properties.subscription_identifier_available()
                != Some(false),
            shared_subscription_available: properties.shared_subscription_available()
                != Some(false),
            maximum_packet_size: properties
                .maximum_packet_size()
                .map_or(LARGEST_PACKET, |granted| granted.min(LARGEST_PACKET)),
            topic_alias_maximum: if config.topic_aliases {
                properties.topic_alias_maximum().unwrap_or(0)
            } else {
                0
            },
            // [MQTT-3.1.2-21]
            keep_alive: properties
                .server_keep_alive()
                .map_or(wish.keep_alive, |seconds| Duration::from_secs(seconds.into())),
            session_expiry: properties.session_expiry_interval().unwrap_or(wish.session_expiry),
        }
    }
}
