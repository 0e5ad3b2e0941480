//! From what was read to what is published: topic, payload and the rest of each message.

use std::{borrow::Cow, slice};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use jiff::Timestamp;

use super::{Template, record::Record};
use crate::{
    cli::plan::{Lines, PublishPlan},
    codec::{Properties, QoS, TopicName},
};

/// Makes drafts by the plan.
#[derive(Debug)]
pub(super) struct Drafter<'p> {
    plan: &'p PublishPlan,
    template: Option<Template>,
}

/// A message, but for its topics.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Draft {
    /// The topic of its own.
    pub(super) topic: Option<TopicName>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) properties: Properties,
    /// When it was recorded.
    pub(super) at: Option<Timestamp>,
}

impl<'p> Drafter<'p> {
    /// For the client of this identifier.
    ///
    /// # Errors
    /// A template that asks for what there is not.
    pub(super) fn new(plan: &'p PublishPlan, client_id: &str) -> Result<Self> {
        let template = plan.template.clone().map(|template| template.settle(client_id));
        Ok(Self { plan, template: template.transpose()? })
    }

    /// The message of this payload.
    pub(super) fn payload(&self, payload: Bytes) -> Result<Draft> {
        self.with_topic(None, payload)
    }

    /// The message of a line; `None` for a line that stands for none.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(super) fn line(&self, line: Bytes) -> Result<Option<Draft>> {
        match &self.plan.lines {
            Some(Lines::Topics(separator)) => self.topic_line(separator.as_bytes(), line).map(Some),
            Some(Lines::Records(_)) => self.record(&line),
            Some(Lines::Payloads) | None => self.payload(line).map(Some),
        }
    }

    fn topic_line(&self, separator: &[u8], line: Bytes) -> Result<Draft> {
        let Some(at) = memchr::memmem::find(&line, separator) else {
            if self.plan.topics.is_empty() {
                bail!("the line has no separator, so no topic: add -t TOPIC for such lines");
            }
            return self.payload(line);
        };
        let topic = std::str::from_utf8(line.get(..at).unwrap_or_default())
            .context("the topic is not UTF-8")?;
        let topic = TopicName::try_from(topic)
            .with_context(|| format!("{topic:?} is not a topic to publish to"))?;
        self.with_topic(Some(topic), line.slice(at + separator.len()..))
    }

    fn with_topic(&self, topic: Option<TopicName>, payload: Bytes) -> Result<Draft> {
        let plan = self.plan;
        let payload = match plan.decode {
            Some(encoding) => encoding
                .decode(&payload)
                .with_context(|| format!("the payload is not {encoding}"))?,
            None => payload,
        };
        Ok(Draft {
            topic,
            payload,
            qos: plan.qos.unwrap_or_default(),
            retain: plan.retain,
            properties: plan.properties.clone(),
            at: None,
        })
    }

    fn record(&self, line: &[u8]) -> Result<Option<Draft>> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let plan = self.plan;
        let record = Record::parse(line)?;
        if record.topic.is_none() && plan.topics.is_empty() && self.template.is_none() {
            bail!("the record has no topic: add -t TOPIC for such records");
        }
        let mut properties = record.properties;
        if properties.is_empty() {
            properties = plan.properties.clone();
        }
        Ok(Some(Draft {
            topic: record.topic,
            payload: record.payload,
            qos: plan.qos.or(record.qos).unwrap_or_default(),
            retain: plan.retain || record.retain,
            properties,
            at: record.at,
        }))
    }

    /// The topics that message number `number` goes to, given that of its own.
    ///
    /// # Errors
    /// A template that does not make a topic name.
    pub(super) fn topics<'t>(
        &'t self,
        number: u64,
        own: &'t Option<TopicName>,
    ) -> Result<Cow<'t, [TopicName]>> {
        let topics = own.as_ref().map_or(&*self.plan.topics, slice::from_ref);
        let Some(template) = &self.template else { return Ok(topics.into()) };
        if topics.is_empty() {
            return Ok(vec![template.render(number, None)?].into());
        }
        topics.iter().map(|topic| template.render(number, Some(topic))).collect()
    }
}
