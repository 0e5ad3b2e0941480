//! -w on a terminal: the topics as a tree, with the last payload and the rate of each.
//!
//! It is drawn a few times in a second, however many messages arrive. What does not fit the screen
//! is folded: levels are shown down to a depth at which all of them fit.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    cli::stdio::{Size, escape_for_terminal, single_line},
    codec::Publish,
};

/// Between two pictures.
pub(super) const FRAME: Duration = Duration::from_millis(200);

/// Whoever publishes chooses the topics: there are bounds to what is kept of them.
const MAX_TOPICS: usize = 10_000;
const MAX_NAME_BYTES: usize = 8 << 20;
/// Deeper levels stand in one line.
const MAX_DEPTH: usize = 32;
/// More of a payload is never shown.
const MAX_VALUE_BYTES: usize = 300;
/// A rate is smoothed with what it was before: of a change, half is seen after so many seconds.
const HALF_LIFE_SECONDS: f64 = 2.0;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const MAGENTA: &str = "\x1b[35m";
const END: &str = "\x1b[0m";

/// All topics that messages came on.
#[derive(Debug)]
pub(super) struct Tree {
    title: String,
    colors: bool,
    root: Node,
    topics: usize,
    name_bytes: usize,
    /// Messages on topics that there was no more room for.
    others: u64,
    is_changed: bool,
    /// When the rates were brought up to date.
    rated: Duration,
}

/// A level of topics.
#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<Box<str>, Node>,
    /// The last message on just this topic.
    value: Option<Value>,
    /// Of this topic and all below.
    messages: u64,
    /// What `messages` was when the rate was brought up to date.
    rated_messages: u64,
    rate: f64,
    /// Topics, here and below.
    topics: usize,
}

#[derive(Debug)]
struct Value {
    start: Vec<u8>,
    len: usize,
    retain: bool,
}

impl Tree {
    /// A tree without topics, for the broker of this name.
    pub(super) fn new(host: &str, colors: bool) -> Self {
        Self {
            title: format!("Broker: {}", single_line(host)),
            colors,
            root: Node::default(),
            topics: 0,
            name_bytes: 0,
            others: 0,
            is_changed: true,
            rated: Duration::ZERO,
        }
    }

    /// Takes note of a message.
    pub(super) fn message(&mut self, message: &Publish<'_>) {
        self.is_changed = true;
        let has_room =
            self.topics < MAX_TOPICS && self.name_bytes + message.topic.len() <= MAX_NAME_BYTES;
        if !has_room && !self.root.has(message.topic) {
            self.others += 1;
            self.root.messages += 1;
            return;
        }
        let is_new = self.root.add(message);
        if is_new {
            self.topics += 1;
            self.name_bytes += message.topic.len();
        }
    }

    /// Appends a picture, if there is something new to see at this time since the start.
    pub(super) fn draw(&mut self, now: Duration, size: Size, out: &mut Vec<u8>) {
        let since = now.saturating_sub(self.rated);
        if since >= Duration::from_secs(1) {
            self.rated = now;
            let keep = halved(since.as_secs_f64() / HALF_LIFE_SECONDS);
            self.is_changed |= self.root.update_rate(since.as_secs_f64(), keep);
        }
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let mut picture = Picture { out, size, colors: self.colors, rows: 0 };
        picture.begin();
        picture.title(&self.title, self.topics, &self.root);
        // One row is for the title, one for what does not fit, and one for the cursor.
        let rows = size.rows.saturating_sub(3);
        let depth = self.root.deepest_that_fits(rows);
        for (name, node) in &self.root.children {
            picture.node(name, node, 0, depth, rows);
        }
        picture.rest(self.root.count_to(depth).saturating_sub(rows), self.others);
        picture.end();
    }
}

impl Node {
    fn has(&self, topic: &str) -> bool {
        let mut node = self;
        for level in levels(topic) {
            match node.children.get(level) {
                Some(child) => node = child,
                None => return false,
            }
        }
        node.value.is_some()
    }

    /// Whether the topic is new.
    fn add(&mut self, message: &Publish<'_>) -> bool {
        let is_new = !self.has(message.topic);
        let mut node = self;
        node.count(is_new);
        for level in levels(message.topic) {
            if !node.children.contains_key(level) {
                node.children.insert(level.into(), Node::default());
            }
            let Some(child) = node.children.get_mut(level) else { return false };
            node = child;
            node.count(is_new);
        }
        let start = message.payload.get(..MAX_VALUE_BYTES).unwrap_or(message.payload);
        let (len, retain) = (message.payload.len(), message.retain);
        node.value = Some(Value { start: start.to_vec(), len, retain });
        is_new
    }

    fn count(&mut self, is_new: bool) {
        self.messages += 1;
        self.topics += usize::from(is_new);
    }

    /// Whether a rate changed so that it can be seen.
    fn update_rate(&mut self, seconds: f64, keep: f64) -> bool {
        let messages = self.messages - self.rated_messages;
        if messages == 0 && self.rate == 0.0 {
            return false;
        }
        self.rated_messages = self.messages;
        let before = self.rate;
        self.rate = before * keep + messages as f64 / seconds * (1.0 - keep);
        if self.rate < 0.05 {
            self.rate = 0.0;
        }
        self.children.values_mut().for_each(|child| {
            child.update_rate(seconds, keep);
        });
        true
    }

    /// How many levels of nodes, from 1 on, can be shown in so many rows.
    fn deepest_that_fits(&self, rows: usize) -> usize {
        let mut depth = 1;
        while depth < MAX_DEPTH {
            let (now, more) = (self.count_to(depth), self.count_to(depth + 1));
            if more > rows || more == now {
                break;
            }
            depth += 1;
        }
        depth
    }

    /// How many nodes there are below this one, in so many levels.
    fn count_to(&self, depth: usize) -> usize {
        match depth {
            0 => 0,
            depth => {
                let rows = |child: &Self| 1 + child.chain("").1.count_to(depth - 1);
                self.children.values().map(rows).sum()
            }
        }
    }

    /// Levels of which each has but the next one below it, as one; the last of them.
    fn chain(&self, name: &str) -> (String, &Self) {
        let shown = |name: &str| if name.is_empty() { "\"\"".to_owned() } else { name.to_owned() };
        let (mut names, mut node) = (shown(name), self);
        while node.value.is_none()
            && node.children.len() == 1
            && let Some((name, child)) = node.children.first_key_value()
        {
            names.push('/');
            names.push_str(&shown(name));
            node = child;
        }
        (names, node)
    }
}

/// The levels of a topic; what is too deep is one.
fn levels(topic: &str) -> impl Iterator<Item = &str> {
    topic.splitn(MAX_DEPTH, '/')
}

/// What is drawn.
struct Picture<'o> {
    out: &'o mut Vec<u8>,
    size: Size,
    colors: bool,
    rows: usize,
}

impl Picture<'_> {
    fn begin(&mut self) {
        // To the upper left corner; what is too long for a line is cut by the terminal.
        self.out.extend_from_slice(b"\x1b[H\x1b[?7l");
    }

    fn end(&mut self) {
        // Nothing is left of what was below.
        self.out.extend_from_slice(b"\x1b[J\x1b[?7h");
    }

    fn title(&mut self, title: &str, topics: usize, root: &Node) {
        let topics = amount(topics as u64, "topic");
        let messages = amount(root.messages, "message");
        let (bold, end) = (self.color(BOLD), self.color(END));
        let rate = rate_text(root.rate);
        self.row(&format!("{bold}{title}{end}   {topics}   {messages}   {rate}"));
    }

    fn node(&mut self, name: &str, node: &Node, level: usize, depth: usize, rows: usize) {
        if self.rows > rows {
            return;
        }
        let (names, node) = node.chain(name);
        let label = format!("{:1$}{2}", "", 2 * level, single_line(&names));
        let value = match &node.value {
            Some(value) => value.text(self.colors),
            None => String::new(),
        };
        let hidden = node.topics - usize::from(node.value.is_some());
        let folded = match depth {
            1 if hidden > 0 => {
                let (dim, end) = (self.color(DIM), self.color(END));
                format!("{dim}+{}{end} ", amount(hidden as u64, "topic"))
            }
            _ => String::new(),
        };
        let rate = match node.rate {
            0.0 => String::new(),
            rate => format!("{}{}{}", self.color(GREEN), rate_text(rate), self.color(END)),
        };
        // The rate is a column behind the names, so that it is seen whatever the payload is.
        let name_columns = (self.size.columns / 3).max(20);
        self.row(&format!(
            "{}{} {folded}{value}",
            fit(&label, name_columns),
            right(&rate, RATE_COLUMNS, self.colors)
        ));
        if depth > 1 {
            for (name, child) in &node.children {
                self.node(name, child, level + 1, depth - 1, rows);
            }
        }
    }

    fn rest(&mut self, rows: usize, others: u64) {
        let mut parts = Vec::new();
        if rows > 0 {
            parts.push(amount(rows as u64, "more line"));
        }
        if others > 0 {
            parts.push(amount(others, "message") + " on further topics");
        }
        if !parts.is_empty() {
            let (dim, end) = (self.color(DIM), self.color(END));
            self.row(&format!("{dim}... {}{end}", parts.join(", ")));
        }
    }

    fn row(&mut self, text: &str) {
        self.rows += 1;
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\x1b[K\r\n");
    }

    fn color(&self, color: &'static str) -> &'static str {
        if self.colors { color } else { "" }
    }
}

impl Value {
    /// In one line; retained values are coloured, empty ones and the length of long ones dim.
    fn text(&self, colors: bool) -> String {
        let paint = |color: &str, text: &str| match colors {
            true => format!("{color}{text}{END}"),
            false => text.to_owned(),
        };
        if self.len == 0 {
            return paint(DIM, "(null)");
        }
        let mut bytes = Vec::new();
        escape_for_terminal(&self.start, &mut bytes);
        let text = String::from_utf8_lossy(&bytes).replace('\n', "\\n").replace('\t', " ");
        let text = if self.retain { paint(MAGENTA, &text) } else { text };
        match self.len > self.start.len() {
            true => format!("{} {text}", paint(DIM, &format!("({} bytes)", self.len))),
            false => text,
        }
    }
}

const RATE_COLUMNS: usize = 12;

/// `12.3/s`.
fn rate_text(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

/// `1 topic`, `2 topics`.
fn amount(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// `text` in just so many columns.
fn fit(text: &str, columns: usize) -> String {
    match text.chars().count() {
        len if len <= columns => format!("{text:columns$}"),
        _ => text.chars().take(columns.saturating_sub(1)).chain(['~']).collect(),
    }
}

/// `text` at the right of so many columns; its colours take none.
fn right(text: &str, columns: usize, colors: bool) -> String {
    let colored = if colors && !text.is_empty() { GREEN.len() + END.len() } else { 0 };
    let len = text.len().saturating_sub(colored);
    format!("{:1$}{text}", "", columns.saturating_sub(len))
}

/// What is left of 1 after so many half-lives, to within 0.002. `powf` is exact, and has every run of
/// midge_sub load libm: 350 KB (`Rss` of /proc/PID/smaps, glibc 2.36).
fn halved(half_lives: f64) -> f64 {
    let whole = half_lives as u16;
    let part = half_lives - f64::from(whole);
    // Through the values at 0, 1/2 and 1.
    0.5f64.powi(whole.into()) * (1.0 - part * (0.67157 - 0.17157 * part))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::codec::QoS;

    #[test]
    fn what_is_left_halves_with_each_half_life() {
        for step in 0..400 {
            let half_lives = f64::from(step) / 100.0;
            let exact = 0.5f64.powf(half_lives);
            assert!((halved(half_lives) - exact).abs() < 0.002, "{half_lives}");
        }
        assert!(halved(1e9) < 1e-9, "{}", halved(1e9));
    }

    pub(in crate::cli::subscribe) fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
        Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            properties: Default::default(),
            payload,
        }
    }

    /// The rows of the picture after so many milliseconds.
    fn draw(tree: &mut Tree, millis: u64, rows: usize) -> Vec<String> {
        let mut out = Vec::new();
        let size = Size { rows, columns: 60 };
        tree.draw(Duration::from_millis(millis), size, &mut out);
        let text = String::from_utf8(out).unwrap();
        let Some(text) = text.strip_prefix("\x1b[H\x1b[?7l") else { return Vec::new() };
        let text = text.strip_suffix("\x1b[J\x1b[?7h").unwrap();
        text.split_terminator("\x1b[K\r\n").map(|row| row.trim_end().to_owned()).collect()
    }

    #[test]
    fn topics_are_a_tree_with_values_and_rates() {
        let mut tree = Tree::new("h", false);
        tree.message(&message("b/x", b"1"));
        tree.message(&message("a", b""));
        tree.message(&message("b", b"2\n\x1b[2J"));
        for _ in 0..40 {
            tree.message(&message("b/y", b"3"));
        }
        tree.message(&message("/z", &[b'v'; 1000]));
        let value = format!("(1000 bytes) {}", "v".repeat(MAX_VALUE_BYTES));
        assert_eq!(
            draw(&mut tree, 2000, 20),
            [
                "Broker: h   5 topics   44 messages   11.0/s",
                &format!("\"\"/z                       0.2/s {value}"),
                "a                          0.2/s (null)",
                "b                         10.5/s 2\\n\\x1b[2J",
                "  x                        0.2/s 1",
                "  y                       10.0/s 3",
            ]
        );
        // Nothing has changed, but time goes on and the rates fall.
        assert_eq!(draw(&mut tree, 2200, 20), Vec::<String>::new());
        assert!(draw(&mut tree, 4000, 20)[0].ends_with("5.5/s"));
        draw(&mut tree, 100_000, 20);
        assert!(draw(&mut tree, 200_000, 20).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_folded_or_cut() {
        let mut tree = Tree::new("h", false);
        for number in 0..30 {
            tree.message(&message(&format!("a/{}/{number}", number % 3), b"x"));
        }
        let rows = draw(&mut tree, 0, 9);
        assert_eq!(rows.len(), 5, "{rows:?}");
        assert!(rows[2].starts_with("  0 ") && rows[2].ends_with("+10 topics"), "{rows:?}");
        tree.message(&message("a/0/0", b"y"));
        assert_eq!(draw(&mut tree, 0, 50).len(), 1 + 1 + 3 + 30);
        tree.message(&message("a/0/0", b"y"));
        let rows = draw(&mut tree, 0, 5);
        assert!(rows[1].ends_with("+30 topics") && rows.len() == 2, "{rows:?}");
        for number in 0..30 {
            tree.message(&message(&format!("top{number:02}"), b"x"));
        }
        let rows = draw(&mut tree, 0, 10);
        assert_eq!(rows.len(), 9, "{rows:?}");
        assert_eq!(rows[8], "... 24 more lines");
    }

    #[test]
    fn whoever_publishes_does_not_fill_the_memory() {
        let mut tree = Tree::new("h", false);
        for number in 0..MAX_TOPICS + 7 {
            tree.message(&message(&format!("{number}"), b"x"));
        }
        tree.message(&message("0", b"y"));
        tree.message(&message(&"/".repeat(65_000), b"z"));
        assert_eq!((tree.topics, tree.others, tree.root.messages), (MAX_TOPICS, 8, 10_009));
        let mut tree = Tree::new("h", false);
        for number in 0..1000 {
            tree.message(&message(&format!("{number}{}", "/".repeat(65_000)), b"z"));
        }
        assert!(tree.name_bytes <= MAX_NAME_BYTES && tree.others > 800, "{}", tree.others);
    }
}
