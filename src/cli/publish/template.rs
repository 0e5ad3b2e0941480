//! Topics made for each message: `--topic-template`.

use std::{borrow::Cow, fmt::Write as _, str::FromStr};

use anyhow::{Context, Result, anyhow, bail};

use crate::codec::TopicName;

/// A topic with places to fill in: `{n}`, `{topic}`, `{client}`, `{host}`, `{pid}`, `{time}`. `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Has its value for each message.
    Message(Place),
    /// Has one value for the run.
    Run(RunPlace),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The number of the message, from 1.
    Number,
    /// The topic it would have otherwise.
    Topic,
    /// Seconds since 1970.
    Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunPlace {
    Client,
    Host,
    Process,
}

const NAMES: &str = "{n}, {topic}, {time}, {client}, {host} or {pid}";

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(from.get(..1).unwrap_or_default());
                rest = after;
                continue;
            }
            let Some((name, after)) = from.strip_prefix('{').and_then(|from| from.split_once('}'))
            else {
                return Err("a single brace: write {{ or }} for a brace".to_owned());
            };
            let part = match name {
                "n" => Part::Message(Place::Number),
                "topic" => Part::Message(Place::Topic),
                "time" => Part::Message(Place::Time),
                "client" => Part::Run(RunPlace::Client),
                "host" => Part::Run(RunPlace::Host),
                "pid" => Part::Run(RunPlace::Process),
                _ => return Err(format!("{{{name}}} is not a place: use {NAMES}")),
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }
}

impl Template {
    /// Whether it needs a topic to be made from.
    pub fn needs_topic(&self) -> bool {
        self.0.contains(&Part::Message(Place::Topic))
    }

    /// Fills in what does not change from message to message.
    ///
    /// # Errors
    /// When nobody tells the client identifier, or this machine its name.
    pub(super) fn settle(self, client_id: &str) -> Result<Self> {
        if client_id.is_empty() && self.0.contains(&Part::Run(RunPlace::Client)) {
            bail!(
                "{{client}} in --topic-template: before MQTT 5 a broker does not tell the identifier \
                 that it chooses; add -i ID, or -V 5"
            );
        }
        let fill = |part| match part {
            Part::Run(RunPlace::Client) => Ok(Part::Text(client_id.to_owned())),
            Part::Run(RunPlace::Process) => Ok(Part::Text(std::process::id().to_string())),
            Part::Run(RunPlace::Host) => Ok(Part::Text(host_name()?)),
            part => Ok(part),
        };
        Ok(Self(self.0.into_iter().map(fill).collect::<Result<_>>()?))
    }

    /// The topic of message number `number`, which would have been published to `topic`.
    ///
    /// # Errors
    /// What comes out is not a topic name, or there is no `topic` to use.
    pub(super) fn render(&self, number: u64, topic: Option<&TopicName>) -> Result<TopicName> {
        let mut text = String::new();
        for part in &self.0 {
            let part: Cow<'_, str> = match part {
                Part::Text(text) => text.into(),
                Part::Message(Place::Topic) => topic
                    .context("there is no topic for {topic} in --topic-template")?
                    .as_str()
                    .into(),
                Part::Message(Place::Number) => {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "{number}");
                    continue;
                }
                Part::Message(Place::Time) => {
                    let _ = write!(text, "{}", jiff::Timestamp::now().as_second());
                    continue;
                }
                // All of them were filled in.
                Part::Run(_) => continue,
            };
            text.push_str(&part);
        }
        TopicName::try_from(text.as_str()).with_context(|| {
            format!("--topic-template makes {text:?}, which is not a topic to publish to")
        })
    }
}

/// The name of this machine.
#[cfg(unix)]
fn host_name() -> Result<String> {
    let system = rustix::system::uname();
    let name = system.nodename().to_str().map_err(|_| anyhow!("the host name is not UTF-8"))?;
    Ok(name.to_owned())
}

/// The name of this machine.
#[cfg(not(unix))]
fn host_name() -> Result<String> {
    std::env::var("COMPUTERNAME").map_err(|_| anyhow!("this system does not tell its host name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, topic: Option<&str>) -> Result<String> {
        let template: Template = template.parse().map_err(anyhow::Error::msg)?;
        let topic = topic.map(|topic| TopicName::try_from(topic).unwrap());
        let topic = template.settle("me")?.render(7, topic.as_ref())?;
        Ok(topic.as_str().to_owned())
    }

    #[test]
    fn places_are_filled_in() {
        assert_eq!(rendered("a/{n}/{client}/b", None).unwrap(), "a/7/me/b");
        assert_eq!(rendered("{{{n}}}/{{}}", None).unwrap(), "{7}/{}");
        assert_eq!(rendered("copy/{topic}", Some("a/b")).unwrap(), "copy/a/b");
        assert_eq!(rendered("plain", None).unwrap(), "plain");
        let pid = std::process::id();
        assert_eq!(rendered("{pid}", None).unwrap(), pid.to_string());
        assert!(rendered("{time}", None).unwrap().parse::<u64>().unwrap() > 1_700_000_000);
        assert!(!rendered("{host}", None).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_become_a_topic_is_refused() {
        for template in ["{", "}", "a{n", "a}b", "{}", "{N}", "{n }", "{{n}", "{a{n}}"] {
            assert!(template.parse::<Template>().is_err(), "{template}");
        }
        for template in ["", "a/#", "{n}/+"] {
            assert!(rendered(template, None).is_err(), "{template}");
        }
        let error = rendered("x/{topic}", None).unwrap_err().to_string();
        assert!(error.contains("{topic}"), "{error}");
        assert!("x/{topic}".parse::<Template>().unwrap().needs_topic());
    }

    #[test]
    fn an_identifier_that_nobody_tells_is_no_level_of_a_topic() {
        let settled = |text: &str| text.parse::<Template>().unwrap().settle("");
        let error = settled("a/{client}").unwrap_err().to_string();
        assert!(error.contains("{client}") && error.contains("-i ID"), "{error}");
        assert!(settled("a/{pid}").is_ok());
    }
}
