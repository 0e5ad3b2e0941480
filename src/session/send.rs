//! What a session puts on the wire.

use std::time::Instant;

use crate::codec::{
    self, Connect, Disconnect, EncodeError, Properties, PropertiesRef, Property, PropertyValue,
};

use super::state::LastWord;
use super::{Secret, Session, Traffic, Transmit};

impl Session {
    pub(super) fn append_connect(
        &self,
        clean_start: bool,
        out: &mut Transmit,
    ) -> Result<(), EncodeError> {
        let config = &*self.config;
        let properties = config.announced();
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
        let max = self.limits.maximum_packet_size as usize;
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
                self.limits.session_expiry = seconds;
            }
        }
    }

    pub(super) fn transmit_traffic(&mut self, now: Instant, out: &mut Transmit) {
        let Some(traffic) = &mut self.traffic else { return };
        let version = self.config.version;
        let Traffic { outgoing, requests, ids, control, .. } = &mut **traffic;
        if !control.is_empty() {
            self.produced += control.len() as u64;
            out.buffer().append(control);
        }
        let (limits, events, produced) = (&self.limits, &mut self.events, &mut self.produced);
        requests.transmit(now, version, limits, ids, events, produced, out);
        outgoing.transmit(version, limits, ids, events, produced, out);
    }
}

/// Appends a PINGREQ and says how many bytes it has.
pub(super) fn append_ping(out: &mut Transmit) -> u64 {
    out.buffer().extend_from_slice(&[0xC0, 0x00]);
    2
}
