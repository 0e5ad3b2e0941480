//! What a session puts on the wire.

use std::time::Instant;

use crate::codec::{
    self, Connect, Disconnect, EncodeError, Properties, PropertiesRef, Property, PropertyValue,
    Version,
};

use super::authenticate::Authentication;
use super::event::Events;
use super::ids::PacketIds;
use super::state::LastWord;
use super::traffic::{IdUse, Traffic};
use super::{Limits, Secret, Session, Transmit};

impl Session {
    pub(super) fn append_connect(
        &self,
        clean_start: bool,
        out: &mut Transmit,
    ) -> Result<(), EncodeError> {
        let config = &*self.config;
        let mut properties = config.announced();
        properties.extend(self.announced_authentication());
        let connect = Connect {
            version: config.version,
            clean_start,
            keep_alive: config.keep_alive,
            client_id: &self.client_id,
            will: config.will.as_ref().map(|will| codec::Will {
                topic: &will.topic,
                payload: &will.payload,
                qos: will.qos,
                retain: will.retain,
                properties: will.properties.as_ref(),
            }),
            username: config.username.as_deref(),
            password: config.password.as_ref().map(Secret::as_bytes),
            properties: properties.as_ref(),
        };
        connect.encode(out.buffer())
    }

    pub(super) fn append_last_word(&mut self, last_word: &LastWord, out: &mut Transmit) {
        let control = self.traffic.as_mut().map(|traffic| &mut traffic.control);
        if let Some(control) = control {
            out.buffer().append(control);
        }
        let version = self.config.version;
        let limits = self.limits();
        let max = limits.maximum_packet_size as usize;
        let full =
            Disconnect { reason: last_word.reason, properties: last_word.properties.as_ref() };
        // [MQTT-3.14.2-3]: what only explains is left out where it makes the packet too large.
        let expiry = full.properties.session_expiry_interval();
        let only_expiry = expiry
            .and_then(|seconds| {
                let value = PropertyValue::FourByte(seconds);
                Properties::default().with(Property::SessionExpiryInterval, value).ok()
            })
            .unwrap_or_default();
        let without_text = Disconnect { properties: only_expiry.as_ref(), ..full };
        let bare = Disconnect { properties: PropertiesRef::default(), ..full };
        let fits =
            |packet: &Disconnect<'_>| packet.encoded_len(version).is_ok_and(|length| length <= max);
        if let Some(packet) = [full, without_text, bare].into_iter().find(fits) {
            let encoded = packet.encode(version, out.buffer());
            debug_assert!(encoded.is_ok(), "its length was computed");
            if let Some(seconds) = packet.properties.session_expiry_interval() {
                let limits = Limits { session_expiry: seconds, ..limits };
                self.granted = Some(Box::new(limits));
            }
        }
    }

    pub(super) fn transmit_traffic(&mut self, now: Instant, out: &mut Transmit) {
        let limits = self.limits();
        let Some(traffic) = &mut self.traffic else { return };
        let Traffic { outgoing, requests, ids, control, .. } = &mut **traffic;
        let mut output = Output {
            now,
            version: self.config.version,
            limits: &limits,
            ids,
            events: &mut self.events,
            produced: &mut self.produced,
            out,
        };
        if !control.is_empty() {
            output.append(|out| out.buffer().append(control));
        }
        requests.transmit(now, &mut output);
        outgoing.transmit(&mut output);
    }
}

/// Where packets go on a connection that the broker has accepted, and what they have to respect.
pub(super) struct Output<'a> {
    pub(super) now: Instant,
    pub(super) version: Version,
    pub(super) limits: &'a Limits,
    pub(super) ids: &'a mut PacketIds<IdUse>,
    pub(super) events: &'a mut Events,
    /// Bytes made on this link so far.
    pub(super) produced: &'a mut u64,
    pub(super) out: &'a mut Transmit,
}

impl Output<'_> {
    /// Appends and counts what is appended.
    pub(super) fn append<R>(&mut self, encode: impl FnOnce(&mut Transmit) -> R) -> R {
        let before = self.out.len();
        let result = encode(self.out);
        *self.produced += (self.out.len() - before) as u64;
        result
    }
}

/// Appends the AUTH packets that wait, and says how many bytes they have.
pub(super) fn append_auth(
    authentication: &mut Option<Box<Authentication>>,
    out: &mut Transmit,
) -> u64 {
    let Some(authentication) = authentication else { return 0 };
    let output = std::mem::take(&mut authentication.output);
    out.buffer().extend_from_slice(&output);
    output.len() as u64
}

/// Appends a PINGREQ and says how many bytes it has.
pub(super) fn append_ping(out: &mut Transmit) -> u64 {
    out.buffer().extend_from_slice(&[0xC0, 0x00]);
    2
}
