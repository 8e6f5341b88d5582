//! The table of what a refused client is told, in docs/access.md: each row names a test that shows it.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::fs;
use std::path::Path;

#[test]
fn every_code_in_the_table_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/access.md")).unwrap();
    let (_, page) = page.split_once("\n## Codes\n").unwrap();
    let (table, _) = page.split_once("\n## ").unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ") && line.contains("`")).collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let test = row.trim_end_matches([' ', '|', '`']).rsplit('`').next().unwrap();
        let (place, name) = test.split_once("::").unwrap_or_else(|| panic!("no test in {row}"));
        let (krate, file) = place.split_once(' ').unwrap_or(("siskin-server", place));
        let file = root.join("crates").join(krate).join("tests").join(format!("{file}.rs"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(text.contains(&format!("#[test]\nfn {name}()")), "{} has no test {name}", file.display());
    }
}
