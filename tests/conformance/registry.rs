//! Which statement is tested where: the numbers of the standards, the tests that name them, and the
//! report that brings both together.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::{env, fs};

use midge::Version;

/// One test and the statements that it stands for.
pub struct Test {
    pub name: &'static str,
    /// Numbers of 3.1.1, or sections (`§3.3.5`) where a rule has no number. The test runs in 3.1
    /// and 3.1.1 for them.
    pub of_311: &'static [&'static str],
    /// Numbers of 5.0, likewise.
    pub of_5: &'static [&'static str],
    pub run: fn(Version),
}

/// Lists tests: the numbers of 3.1.1, those of 5.0, and the function, which takes a version.
macro_rules! tests {
    ($([$($of_311:literal),*] [$($of_5:literal),*] $name:ident,)*) => {
        pub const TESTS: &[crate::registry::Test] = &[
            $(crate::registry::Test {
                name: stringify!($name),
                of_311: &[$($of_311),*],
                of_5: &[$($of_5),*],
                run: $name,
            },)*
        ];
    };
}
pub(crate) use tests;

/// Why there is nothing to test for a number; `None` where there is.
type Statements = BTreeMap<Number, Option<&'static str>>;

/// A statement's number, in the order of the document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number {
    section: Vec<u32>,
    index: u32,
}

impl Number {
    fn parse(text: &str) -> Number {
        let (section, index) = text.split_once('-').unwrap_or_else(|| panic!("{text}"));
        let part = |part: &str| part.parse().unwrap_or_else(|_| panic!("{text}"));
        Number { section: section.split('.').map(part).collect(), index: part(index) }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let section: Vec<_> = self.section.iter().map(u32::to_string).collect();
        write!(f, "{}-{}", section.join("."), self.index)
    }
}

/// The two standards: the heading in the list, and what a test's name begins with.
const STANDARDS: [(&str, &str); 2] = [("3.1.1", "mqtt311"), ("5.0", "mqtt5")];

fn statements(standard: &str) -> Statements {
    let mut statements = BTreeMap::new();
    let mut heading = "";
    for line in include_str!("statements.txt").lines() {
        if let Some(text) = line.strip_prefix('[') {
            heading = text.trim_end_matches(']');
        } else if heading == standard && !line.is_empty() && !line.starts_with('#') {
            let (range, reason) = line.split_once(' ').unwrap_or((line, ""));
            let (first, last) = range.split_once("..").unwrap_or((range, ""));
            let first = Number::parse(first);
            let last = if last.is_empty() { first.index } else { last.parse().unwrap() };
            for index in first.index..=last {
                let number = Number { section: first.section.clone(), index };
                let known = statements.insert(number, Some(reason).filter(|r| !r.is_empty()));
                assert!(known.is_none(), "{line}: there twice");
            }
        }
    }
    statements
}

fn numbers(test: &Test, standard: &str) -> &'static [&'static str] {
    if standard == "5.0" { test.of_5 } else { test.of_311 }
}

/// Every number with the function that tests it, under the name `mqtt5_3_3_2_2_` and so on.
pub fn trials(tests: &[&'static Test]) -> Vec<(String, &'static Test, &'static [Version])> {
    let mut trials = Vec::new();
    for test in tests {
        for (standard, prefix) in STANDARDS {
            let versions: &[Version] =
                if standard == "5.0" { &[Version::V5] } else { &[Version::V31, Version::V311] };
            for number in numbers(test, standard) {
                let number = number.trim_start_matches('§').replace(['.', '-'], "_");
                trials.push((format!("{prefix}_{number}_{}", test.name), *test, versions));
            }
        }
    }
    trials
}

/// Asserts that each number of the standards has a test or a reason, and none has both.
pub fn every_number_is_accounted_for(tests: &[&'static Test]) {
    let mut problems = Vec::new();
    for (standard, _) in STANDARDS {
        let statements = statements(standard);
        let tested = tested(tests, standard);
        for (number, reason) in &statements {
            match (reason, tested.contains_key(number)) {
                (None, false) => problems.push(format!("{standard} {number}: no test")),
                (Some(_), true) => problems.push(format!("{standard} {number}: a test after all")),
                _ => {}
            }
        }
        for number in tested.keys().filter(|number| !statements.contains_key(number)) {
            problems.push(format!("{standard} {number}: not in the list"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn tested(tests: &[&'static Test], standard: &str) -> BTreeMap<Number, Vec<&'static str>> {
    let mut tested: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for test in tests {
        for number in numbers(test, standard).iter().filter(|number| !number.starts_with('§')) {
            tested.entry(Number::parse(number)).or_default().push(test.name);
        }
    }
    tested
}

/// Asserts that docs/conformance.md is what the tests make it; `MIDGE_BLESS=1` writes it anew.
pub fn the_report_is_current(tests: &[&'static Test]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md");
    let report = report(tests);
    if env::var_os("MIDGE_BLESS").is_some() {
        fs::write(path, report).unwrap();
    } else if fs::read_to_string(path).ok().as_ref() != Some(&report) {
        panic!("out of date: `MIDGE_BLESS=1 cargo test --test conformance` writes it anew");
    }
}

fn report(tests: &[&'static Test]) -> String {
    let mut report = String::from(
        "# Conformance\n\nEvery numbered statement of the MQTT standards, and the test of \
         `tests/conformance` that stands for it. `cargo test --test conformance` runs them and fails \
         when a number has neither a test nor a reason to have none, or when this file is not what \
         the tests make it. The test of a number is named after both: \
         `mqtt5_3_3_2_2_NAME`.\n",
    );
    for (standard, _) in STANDARDS {
        let statements = statements(standard);
        let tested = tested(tests, standard);
        let passed = statements.values().filter(|reason| reason.is_none()).count();
        write!(
            report,
            "\n## MQTT {standard}\n\n{} statements: {passed} pass, {} not applicable to a client.\n\n\
             | statement | result | test, or reason |\n|---|---|---|\n",
            statements.len(),
            statements.len() - passed,
        )
        .unwrap();
        for (number, reason) in &statements {
            match reason {
                Some(reason) => writeln!(report, "| {number} | not applicable | {reason} |"),
                None => {
                    let names = tested.get(number).map(|names| names.join("`, `"));
                    writeln!(report, "| {number} | pass | `{}` |", names.unwrap_or_default())
                }
            }
            .unwrap();
        }
    }
    report.push_str("\n## Rules without a number\n\n| 3.1.1 | 5.0 | test |\n|---|---|---|\n");
    for test in tests {
        let sections = |numbers: &[&str]| {
            let sections: Vec<_> = numbers.iter().filter(|n| n.starts_with('§')).copied().collect();
            sections.join(", ")
        };
        let (of_311, of_5) = (sections(test.of_311), sections(test.of_5));
        if !of_311.is_empty() || !of_5.is_empty() {
            writeln!(report, "| {of_311} | {of_5} | `{}` |", test.name).unwrap();
        }
    }
    report
}
