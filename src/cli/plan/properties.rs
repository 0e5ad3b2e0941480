//! The properties of `-D`, sorted by the packets they go into.

use anyhow::{Result, bail};

use super::AuthenticationPlan;
use crate::{
    cli::{
        Tool,
        opts::{
            PropertyOption,
            property::{self, PropertyOptions},
        },
    },
    codec::{PacketType, Properties, Property, PropertyError, PropertyOwner},
};

/// Properties to be sent, by packet. All are empty before MQTT 5.
#[derive(Clone, Debug, Default)]
pub struct PropertiesPlan {
    /// Those of CONNECT that have no setting of their own.
    pub connect: Properties,
    /// Those of every PUBLISH.
    pub publish: Properties,
    /// Those of SUBSCRIBE.
    pub subscribe: Properties,
    /// Those of UNSUBSCRIBE.
    pub unsubscribe: Properties,
    /// Those of DISCONNECT.
    pub disconnect: Properties,
    /// Those of the will.
    pub(super) will: Properties,
    /// What is said in an enhanced authentication.
    pub authentication: Option<AuthenticationPlan>,
    /// Those of AUTH, until they are in `authentication`.
    auth: Properties,
}

/// Properties of CONNECT that are settings of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectSettings {
    /// How many messages the broker may have under way.
    pub receive_maximum: Option<u16>,
    /// The largest packet to be received.
    pub maximum_packet_size: Option<u32>,
    /// How many topic aliases the broker may use.
    pub topic_alias_maximum: Option<u16>,
    /// How long the session outlives the connection.
    pub(super) session_expiry: Option<u32>,
}

impl PropertiesPlan {
    /// Sorts them and checks each list.
    ///
    /// # Errors
    /// Properties that stand twice, and packets that the tool does not send.
    pub(super) fn new(tool: Tool, options: &PropertyOptions) -> Result<(Self, ConnectSettings)> {
        let mut plan = Self::default();
        for PropertyOption { owner, property, list } in &options.properties {
            if !sends(tool, *owner) {
                let (name, packet) = (tool.name(), property::place(*owner));
                bail!("-D {packet} {property}: {name} sends no {owner} packet: leave it out");
            }
            let target = plan.list(*owner);
            target.extend(list.as_ref());
            // Each was found to be allowed there.
            if let Err(PropertyError::Repeated { property }) = target.check(*owner) {
                let packet = property::place(*owner);
                bail!("-D {packet} {property} stands more than once: leave one of them out")
            }
        }
        let answer = std::mem::take(&mut plan.auth);
        plan.authentication = AuthenticationPlan::new(plan.connect.as_ref(), answer)?;
        let settings = plan.take_settings();
        Ok((plan, settings))
    }

    fn list(&mut self, owner: PropertyOwner) -> &mut Properties {
        match owner {
            PropertyOwner::Packet(PacketType::Connect) => &mut self.connect,
            PropertyOwner::Packet(PacketType::Subscribe) => &mut self.subscribe,
            PropertyOwner::Packet(PacketType::Unsubscribe) => &mut self.unsubscribe,
            PropertyOwner::Packet(PacketType::Disconnect) => &mut self.disconnect,
            PropertyOwner::Packet(PacketType::Auth) => &mut self.auth,
            PropertyOwner::Packet(_) => &mut self.publish,
            PropertyOwner::Will => &mut self.will,
        }
    }

    /// Leaves those of CONNECT that the client does not know as settings.
    fn take_settings(&mut self) -> ConnectSettings {
        let given = std::mem::take(&mut self.connect);
        let list = given.as_ref();
        for (property, value) in list {
            let is_setting = matches!(
                property,
                Property::ReceiveMaximum
                    | Property::MaximumPacketSize
                    | Property::TopicAliasMaximum
                    | Property::SessionExpiryInterval
                    | Property::AuthenticationMethod
                    | Property::AuthenticationData
            );
            if !is_setting {
                // It was in a list before.
                let _ = self.connect.push(property, value);
            }
        }
        ConnectSettings {
            receive_maximum: list.receive_maximum(),
            maximum_packet_size: list.maximum_packet_size(),
            topic_alias_maximum: list.topic_alias_maximum(),
            session_expiry: list.session_expiry_interval(),
        }
    }
}

/// Whether the tool ever sends such a packet.
fn sends(tool: Tool, owner: PropertyOwner) -> bool {
    match owner {
        PropertyOwner::Packet(PacketType::Publish) => tool != Tool::Sub,
        PropertyOwner::Packet(PacketType::Subscribe) => tool != Tool::Pub,
        PropertyOwner::Packet(PacketType::Unsubscribe) => tool == Tool::Sub,
        _ => true,
    }
}
