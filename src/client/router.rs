//! Which streams a message goes to.
//!
//! A filter without wildcards is found by its text, one with wildcards in a tree of topic levels,
//! and where a message carries subscription identifiers, the subscriptions that have one are found
//! by that: the effort depends on the message's topic, not on the number of subscriptions.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::TopicFilter;

use super::message::MessageRef;
use super::stream::Queue;

/// Leads messages of one filter to one stream.
pub(super) struct Route {
    pub(super) number: u64,
    pub(super) filter: TopicFilter,
    pub(super) identifier: Option<u32>,
    pub(super) queue: Arc<Queue>,
}

/// Holds the routes of a client.
#[derive(Default)]
pub(super) struct Router {
    routes: HashMap<u64, Route>,
    /// By filters without wildcards.
    exact: HashMap<Box<str>, Vec<u64>>,
    wildcards: Tree,
    identified: HashMap<u32, Vec<u64>>,
    /// Reused from message to message.
    found: Vec<u64>,
}

impl Router {
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub(super) fn insert(&mut self, route: Route) {
        let number = route.number;
        let pattern = pattern(&route.filter);
        if has_wildcard(pattern) {
            self.wildcards.insert(pattern, number);
        } else {
            self.exact.entry(pattern.into()).or_default().push(number);
        }
        if let Some(identifier) = route.identifier {
            self.identified.entry(identifier).or_default().push(number);
        }
        self.routes.insert(number, route);
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Route> {
        let route = self.routes.remove(&number)?;
        let pattern = pattern(&route.filter);
        if has_wildcard(pattern) {
            self.wildcards.remove(pattern, number);
        } else if let Some(numbers) = self.exact.get_mut(pattern) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.exact.remove(pattern);
            }
        }
        if let Some(identifier) = route.identifier
            && let Some(numbers) = self.identified.get_mut(&identifier)
        {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.identified.remove(&identifier);
            }
        }
        Some(route)
    }

    /// Takes out the routes with exactly this filter.
    pub(super) fn remove_filter(&mut self, filter: &TopicFilter) -> Vec<Route> {
        let numbers: Vec<u64> = self.with_filter(filter).collect();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Whether a route has exactly this filter.
    pub(super) fn has_filter(&self, filter: &TopicFilter) -> bool {
        self.with_filter(filter).next().is_some()
    }

    pub(super) fn into_routes(self) -> impl Iterator<Item = Route> {
        self.routes.into_values()
    }

    /// Calls `take` with the queue of each route that claims the message, oldest first. Where a
    /// subscription has an identifier and the message carries any, the identifier decides.
    pub(super) fn find(&mut self, message: &MessageRef<'_>, mut take: impl FnMut(&Arc<Queue>)) {
        let Router { routes, exact, wildcards, identified, found } = self;
        let topic = message.topic();
        found.clear();
        found.extend(exact.get(topic).into_iter().flatten());
        wildcards.find(topic, found);
        let mut carried = message.properties().subscription_identifiers().peekable();
        if carried.peek().is_some() {
            let unidentified =
                |number: &u64| routes.get(number).is_some_and(|route| route.identifier.is_none());
            found.retain(unidentified);
            found.extend(carried.filter_map(|carried| identified.get(&carried)).flatten());
        }
        found.sort_unstable();
        found.dedup();
        for route in found.iter().filter_map(|number| routes.get(number)) {
            take(&route.queue);
        }
    }

    fn with_filter(&self, filter: &TopicFilter) -> impl Iterator<Item = u64> {
        let pattern = pattern(filter);
        let numbers = if has_wildcard(pattern) {
            self.wildcards.numbers(pattern)
        } else {
            self.exact.get(pattern).map(Vec::as_slice).unwrap_or_default()
        };
        let has_filter = move |number: &u64| {
            self.routes.get(number).is_some_and(|route| route.filter == *filter)
        };
        numbers.iter().copied().filter(has_filter)
    }
}

/// What topics are compared with: of a shared subscription, what follows its name.
fn pattern(filter: &TopicFilter) -> &str {
    filter.shared().map_or(filter.as_str(), |(_, pattern)| pattern)
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['+', '#'])
}

/// Finds filters with wildcards level by level. Its nodes are in one list, so that no filter is too
/// deep for the stack.
struct Tree {
    nodes: Vec<Node>,
    /// Indices of nodes that are not in use.
    free: Vec<usize>,
    /// Where to look next: a node, and where the rest of the topic begins. Reused.
    open: Vec<(usize, Option<usize>)>,
}

#[derive(Default)]
struct Node {
    /// By level; `+` and `#` are levels like others here.
    children: HashMap<Box<str>, usize>,
    /// The routes whose filter ends here.
    numbers: Vec<u64>,
}

const ROOT: usize = 0;

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: vec![Node::default()], free: Vec::new(), open: Vec::new() }
    }
}

impl Tree {
    fn insert(&mut self, pattern: &str, number: u64) {
        let mut at = ROOT;
        for level in pattern.split('/') {
            at = match self.child(at, level) {
                Some(child) => child,
                None => {
                    let child = self.free.pop().unwrap_or(self.nodes.len());
                    if child == self.nodes.len() {
                        self.nodes.push(Node::default());
                    }
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.children.insert(level.into(), child);
                    }
                    child
                }
            };
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.numbers.push(number);
        }
    }

    fn remove(&mut self, pattern: &str, number: u64) {
        let mut path = Vec::new();
        let mut at = ROOT;
        for level in pattern.split('/') {
            let Some(child) = self.child(at, level) else { return };
            path.push((at, level));
            at = child;
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.numbers.retain(|other| *other != number);
        }
        while let Some(node) = self.nodes.get_mut(at)
            && node.numbers.is_empty()
            && node.children.is_empty()
            && let Some((parent, level)) = path.pop()
        {
            *node = Node::default();
            self.free.push(at);
            at = parent;
            if let Some(node) = self.nodes.get_mut(at) {
                node.children.remove(level);
            }
        }
    }

    /// The routes with exactly this pattern.
    fn numbers(&self, pattern: &str) -> &[u64] {
        let mut levels = pattern.split('/');
        let node = levels.try_fold(ROOT, |at, level| self.child(at, level));
        node.and_then(|at| self.nodes.get(at)).map(|node| &*node.numbers).unwrap_or_default()
    }

    /// Appends the routes that match `topic`, and returns how many nodes were looked at.
    fn find(&mut self, topic: &str, found: &mut Vec<u64>) -> usize {
        let Tree { nodes, open, .. } = self;
        let mut steps = 0;
        open.clear();
        open.push((ROOT, Some(0)));
        while let Some((at, rest)) = open.pop() {
            let Some(node) = nodes.get(at) else { continue };
            steps += 1;
            // No wildcard in the first level matches a topic that begins with $ [MQTT-4.7.2-1].
            let wild = !(at == ROOT && topic.starts_with('$'));
            if wild && let Some(all) = node.children.get("#").and_then(|all| nodes.get(*all)) {
                found.extend(&all.numbers); // It matches the level before it too.
            }
            let Some(begin) = rest else {
                found.extend(&node.numbers);
                continue;
            };
            let rest = topic.get(begin..).unwrap_or_default();
            let (level, next) = match rest.split_once('/') {
                Some((level, _)) => (level, Some(begin + level.len() + 1)),
                None => (rest, None),
            };
            if let Some(child) = node.children.get(level) {
                open.push((*child, next));
            }
            if wild && let Some(child) = node.children.get("+") {
                open.push((*child, next));
            }
        }
        steps
    }

    fn child(&self, at: usize, level: &str) -> Option<usize> {
        self.nodes.get(at)?.children.get(level).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::topic_matches;

    fn found(tree: &mut Tree, topic: &str) -> Vec<u64> {
        let mut found = Vec::new();
        tree.find(topic, &mut found);
        found.sort_unstable();
        found
    }

    #[test]
    fn the_effort_does_not_grow_with_the_subscriptions() {
        let mut tree = Tree::default();
        for number in 0..10_000 {
            tree.insert(&format!("site/{number}/+/temperature/#"), number);
        }
        let mut matches = Vec::new();
        assert!(tree.find("site/17/kitchen/temperature/1", &mut matches) <= 6);
        assert_eq!(matches, [17]);
        for number in 0..10_000 {
            tree.remove(&format!("site/{number}/+/temperature/#"), number);
        }
        assert!(tree.nodes.iter().all(|node| node.children.is_empty() && node.numbers.is_empty()));
        assert_eq!(tree.free.len() + 1, tree.nodes.len());
    }

    #[test]
    fn a_filter_of_very_many_levels_is_no_danger() {
        let mut tree = Tree::default();
        let deep = "+/".repeat(32_000) + "#";
        tree.insert(&deep, 1);
        assert_eq!(found(&mut tree, &"/".repeat(32_000)), [1]);
        assert_eq!(found(&mut tree, &"/".repeat(31_000)), [0u64; 0]);
        tree.remove(&deep, 1);
        assert_eq!(tree.free.len() + 1, tree.nodes.len());
    }

    fn level(wild: bool) -> impl Strategy<Value = String> {
        let plain = prop::sample::select(vec!["a", "b", "", "$x"]);
        let any = prop::sample::select(vec!["a", "b", "", "$x", "+"]);
        if wild { any.prop_map(String::from).boxed() } else { plain.prop_map(String::from).boxed() }
    }

    fn filter() -> impl Strategy<Value = String> {
        (prop::collection::vec(level(true), 1..5), any::<bool>()).prop_map(|(levels, all)| {
            let filter = levels.join("/");
            if all || filter.is_empty() { filter + "/#" } else { filter }
        })
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_matches(
            filters in prop::collection::vec(filter(), 0..20),
            removed in prop::collection::vec(any::<bool>(), 20),
            topics in prop::collection::vec(prop::collection::vec(level(false), 1..5), 1..10),
        ) {
            let mut tree = Tree::default();
            for (number, filter) in filters.iter().enumerate() {
                tree.insert(filter, number as u64);
            }
            let kept = |number: &usize| !removed[*number];
            for number in (0..filters.len()).filter(|number| !kept(number)) {
                tree.remove(&filters[number], number as u64);
            }
            for topic in topics {
                let topic = topic.join("/");
                let expected: Vec<u64> = (0..filters.len())
                    .filter(|number| kept(number) && topic_matches(&filters[*number], &topic))
                    .map(|number| number as u64)
                    .collect();
                prop_assert_eq!(found(&mut tree, &topic), expected, "{}", topic);
            }
        }
    }
}
