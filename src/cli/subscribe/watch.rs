//! -w: one line of the screen for each topic, as mosquitto_sub has it.

use std::{collections::HashMap, io::Write};

use crate::{
    cli::format::{Format, PayloadError, Renderer},
    codec::Publish,
};

/// The line of the first topic; the line above has the name of the broker.
const FIRST_LINE: usize = 2;
/// Whoever publishes chooses the topics: behind so many, or names of so many bytes together, they
/// share the last line.
const MAX_LINES: usize = 100_000;
const MAX_NAME_BYTES: usize = 16 << 20;

/// Clears the screen and names the broker.
pub(super) fn begin(host: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = writeln!(out, "\x1b[2J\x1b[1;1HBroker: {host}");
}

/// Writes each message over the one before it on the same topic.
pub(super) struct TopicLines {
    renderer: Renderer,
    lines: HashMap<Box<str>, usize>,
    name_bytes: usize,
}

impl TopicLines {
    pub(super) fn new(format: Format) -> Self {
        // Where it goes, control characters are obeyed sooner or later.
        let renderer = Renderer::new(format.newline(false)).for_terminal(true);
        Self { renderer, lines: HashMap::new(), name_bytes: 0 }
    }

    /// Appends what shows the message and leaves the cursor below all lines.
    pub(super) fn message(
        &mut self,
        message: &Publish<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), PayloadError> {
        let last = FIRST_LINE + self.lines.len();
        let line = match self.lines.get(message.topic) {
            Some(line) => *line,
            None if !self.has_room_for(message.topic) => last,
            None => {
                self.name_bytes += message.topic.len();
                self.lines.insert(message.topic.into(), last);
                last
            }
        };
        let mut text = Vec::new();
        let rendered = self.renderer.render(message, &mut text);
        let _ = write!(out, "\x1b[{line};1H");
        for part in text.split_inclusive(|&byte| byte == b'\n') {
            match part.split_last() {
                Some((b'\n', rest)) => {
                    out.extend_from_slice(rest);
                    out.extend_from_slice(b"\\n");
                }
                _ => out.extend_from_slice(part),
            }
        }
        // A shorter text leaves nothing of a longer one.
        let _ = writeln!(out, "\x1b[K\x1b[{};1H", FIRST_LINE + self.lines.len() - 1);
        rendered
    }

    fn has_room_for(&self, topic: &str) -> bool {
        self.lines.len() < MAX_LINES && self.name_bytes + topic.len() <= MAX_NAME_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::subscribe::tree::tests::message;

    #[test]
    fn whoever_publishes_does_not_fill_the_memory() {
        let mut lines = TopicLines::new(Format::plain());
        let mut out = Vec::new();
        for number in 0..1000 {
            out.clear();
            let topic = format!("{number}{}", "/".repeat(65_000));
            lines.message(&message(&topic, b"x"), &mut out).unwrap();
        }
        assert!(lines.name_bytes <= MAX_NAME_BYTES && lines.lines.len() < 300);
        // What came too late stands in the last line, below those that have one.
        let last = FIRST_LINE + lines.lines.len();
        assert!(out.starts_with(format!("\x1b[{last};1Hx").as_bytes()));
    }

    #[test]
    fn each_topic_keeps_its_line() {
        let mut lines = TopicLines::new(Format::verbose());
        let mut out = Vec::new();
        begin("h", &mut out);
        for (topic, payload) in [("a", &b"1"[..]), ("b", b"2\n\x1b[2J"), ("a", b"3")] {
            lines.message(&message(topic, payload), &mut out).unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\x1b[2J\x1b[1;1HBroker: h\n\
             \x1b[2;1Ha 1\x1b[K\x1b[2;1H\n\
             \x1b[3;1Hb 2\\n\\x1b[2J\x1b[K\x1b[3;1H\n\
             \x1b[2;1Ha 3\x1b[K\x1b[3;1H\n"
        );
    }
}
