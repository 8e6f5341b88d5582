//! Guards `conformance.toml`: every statement has a test, and every test named there lives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    statement: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    version: String,
    id: String,
    #[allow(dead_code)]
    kind: String,
    #[allow(dead_code)]
    rule: String,
    #[serde(default)]
    tests: Vec<String>,
    not_shown: Option<String>,
}

#[test]
fn every_statement_names_a_living_test() {
    let table = table();
    let mut files = BTreeMap::new();
    let mut faults = Vec::new();
    for statement in &table.statement {
        let name = format!("{} {}", statement.version, statement.id);
        match (&statement.not_shown, statement.tests.is_empty()) {
            (None, true) => faults.push(format!("{name} has no test")),
            (Some(_), false) => faults.push(format!("{name} has tests and a reason for having none")),
            (Some(reason), true) if reason.len() < 20 => faults.push(format!("{name}: why is it not shown?")),
            _ => {}
        }
        for test in &statement.tests {
            if let Err(fault) = check(test, &mut files) {
                faults.push(format!("{name}: {fault}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults in conformance.toml:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn no_statement_stands_twice() {
    let mut seen = BTreeSet::new();
    for statement in table().statement {
        let name = (statement.version, statement.id);
        assert!(seen.insert(name.clone()), "{name:?} stands twice");
    }
    assert!(seen.len() > 400, "{} statements: some are missing", seen.len());
}

#[test]
fn the_guard_sees_a_test_that_is_not_there() {
    let mut files = BTreeMap::new();
    let here = "crates/siskin-testkit/tests/conformance_table.rs";
    assert!(check(&format!("{here}::no_statement_stands_twice"), &mut files).is_ok());
    assert!(check(&format!("{here}::no_such_test"), &mut files).is_err());
    assert!(check(&format!("{here}::table"), &mut files).is_err(), "a function that is no test");
    assert!(check("crates/none.rs::no_statement_stands_twice", &mut files).is_err());
    assert!(check("no_statement_stands_twice", &mut files).is_err());
}

/// Whether `test`, which is `FILE::FUNCTION`, is a test that runs.
fn check(test: &str, files: &mut BTreeMap<PathBuf, Option<String>>) -> Result<(), String> {
    let Some((file, function)) = test.split_once("::") else {
        return Err(format!("{test} is no FILE::TEST"));
    };
    let path = root().join(file);
    let text = files.entry(path.clone()).or_insert_with(|| std::fs::read_to_string(path).ok());
    let Some(text) = text else { return Err(format!("there is no file {file}")) };
    let Some(at) = text.find(&format!("fn {function}()")) else {
        return Err(format!("{file} has no {function}"));
    };
    // The attributes are the lines right above it.
    let attributes: Vec<_> = text[..at]
        .lines()
        .rev()
        .skip(1)
        .take_while(|line| !line.trim().is_empty() && !line.contains('}'))
        .collect();
    let has = |word: &str| attributes.iter().any(|line| line.trim().starts_with(word));
    match (has("#[test]") || text[..at].trim_end().ends_with("#[test]"), has("#[ignore")) {
        (true, false) => Ok(()),
        (true, true) => Err(format!("{function} is ignored")),
        (false, _) => Err(format!("{function} is not a test")),
    }
}

fn table() -> Table {
    let text = std::fs::read_to_string(root().join("conformance.toml")).expect("the table is there");
    toml::from_str(&text).expect("the table is TOML of the right form")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
