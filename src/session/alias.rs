//! Topic aliases (§3.3.2.3.4). They live and die with a network connection \[MQTT-3.3.2-7\].

use std::collections::BTreeMap;

use crate::codec::{PacketType, Publish, ReasonCode, TopicName};

use super::ProtocolError;

/// Gives out aliases for outgoing topics: first come, first served, and none is ever taken away,
/// so that a client with more topics than aliases does not spend its bytes on new assignments.
#[derive(Debug)]
pub(super) struct AliasSender {
    maximum: u16,
    aliases: BTreeMap<TopicName, u16>,
}

/// The length of the alias property: a topic must be longer to be worth one.
const PROPERTY: usize = 3;

/// How the topic of an outgoing PUBLISH is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aliased {
    /// In full, without an alias.
    Full,
    /// In full, and the broker is to remember it under this alias.
    Introduce(u16),
    /// As this alias alone.
    Known(u16),
}

impl AliasSender {
    pub(super) fn new(maximum: u16) -> AliasSender {
        AliasSender { maximum, aliases: BTreeMap::new() }
    }

    /// How to write `topic`. Nothing is noted until [`AliasSender::introduce`].
    pub(super) fn lookup(&self, topic: &TopicName) -> Aliased {
        if self.maximum == 0 || topic.len() <= PROPERTY {
            return Aliased::Full;
        }
        if let Some(&alias) = self.aliases.get(topic) {
            return Aliased::Known(alias);
        }
        match u16::try_from(self.aliases.len() + 1) {
            Ok(alias) if alias <= self.maximum => Aliased::Introduce(alias),
            _ => Aliased::Full,
        }
    }

    /// Notes that the broker was sent `topic` together with `alias`.
    pub(super) fn introduce(&mut self, topic: TopicName, alias: u16) {
        self.aliases.insert(topic, alias);
    }
}

/// Remembers the aliases of incoming topics.
#[derive(Debug, Default)]
pub(super) struct AliasReceiver {
    topics: Vec<Option<Box<str>>>,
    /// Bytes of all topics.
    bytes: usize,
}

/// The most bytes of topics that are kept: 65,535 topics of 65,535 bytes would be 4 GiB.
const LARGEST_TABLE: usize = 16 << 20;

impl AliasReceiver {
    /// Notes the alias of a PUBLISH, where this side allowed `maximum` of them.
    pub(super) fn learn(
        &mut self,
        publish: &Publish<'_>,
        maximum: u16,
    ) -> Result<(), ProtocolError> {
        let Some(alias) = publish.properties.topic_alias() else { return Ok(()) };
        if alias == 0 || alias > maximum {
            return Err(ProtocolError::new(
                PacketType::Publish,
                ReasonCode::TOPIC_ALIAS_INVALID,
                "MQTT-3.1.2-26",
                "topic alias above the announced maximum",
            ));
        }
        if publish.topic.is_empty() {
            return Ok(());
        }
        let index = usize::from(alias) - 1;
        if index >= self.topics.len() {
            self.topics.resize(index + 1, None);
        }
        let Some(known) = self.topics.get_mut(index) else { return Ok(()) };
        if known.as_deref() == Some(publish.topic) {
            return Ok(());
        }
        self.bytes += publish.topic.len();
        self.bytes -= known.as_ref().map_or(0, |topic| topic.len());
        if self.bytes > LARGEST_TABLE {
            return Err(ProtocolError::new(
                PacketType::Publish,
                ReasonCode::QUOTA_EXCEEDED,
                "§3.3.2.3.4",
                "more bytes of aliased topics than this client keeps",
            ));
        }
        *known = Some(publish.topic.into());
        Ok(())
    }

    /// The topic of a PUBLISH whose alias was noted.
    pub(super) fn topic<'a>(&'a self, publish: &Publish<'a>) -> Result<&'a str, ProtocolError> {
        if !publish.topic.is_empty() {
            return Ok(publish.topic);
        }
        let alias = publish.properties.topic_alias().unwrap_or(0);
        let topic = usize::from(alias).checked_sub(1).and_then(|index| self.topics.get(index));
        topic.and_then(Option::as_deref).ok_or_else(|| {
            ProtocolError::new(
                PacketType::Publish,
                ReasonCode::PROTOCOL_ERROR,
                "MQTT-3.3.2-7",
                "topic alias that was not introduced on this connection",
            )
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_given_out_once_and_only_as_many_as_the_broker_takes() {
        let mut sender = AliasSender::new(2);
        let topics: Vec<TopicName> = ["one/a", "one/b", "one/c"]
            .into_iter()
            .map(|t| TopicName::try_from(t).unwrap())
            .collect();
        for (n, topic) in topics.iter().take(2).enumerate() {
            let alias = n as u16 + 1;
            assert_eq!(sender.lookup(topic), Aliased::Introduce(alias));
            assert_eq!(sender.lookup(topic), Aliased::Introduce(alias), "not noted yet");
            sender.introduce(topic.clone(), alias);
            assert_eq!(sender.lookup(topic), Aliased::Known(alias));
        }
        assert_eq!(sender.lookup(&topics[2]), Aliased::Full);
        assert_eq!(AliasSender::new(0).lookup(&topics[0]), Aliased::Full);
    }
}
