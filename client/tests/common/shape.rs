//! The interface of JSON documents as text: which keys there are and of which type, without the values. Shared by the tests of
//! several packages.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A line for each path, `a.b[]: number`, in order of the alphabet; what differs from element to element is joined by `|`.
pub(crate) fn shape(document: &Value) -> String {
    let mut types = BTreeMap::new();
    walk("", document, &mut types);
    let lines = types.into_iter().map(|(path, types)| {
        let types: Vec<&str> = types.into_iter().collect();
        format!("  {path}: {}\n", types.join("|"))
    });
    lines.collect()
}

fn walk(path: &str, value: &Value, types: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(elements) => {
            if elements.is_empty() {
                types.entry(format!("{path}[]")).or_default();
            }
            return elements
                .iter()
                .for_each(|element| walk(&format!("{path}[]"), element, types));
        }
        Value::Object(fields) => {
            let at = |key: &str| match path {
                "" => key.to_owned(),
                path => format!("{path}.{key}"),
            };
            return fields
                .iter()
                .for_each(|(key, value)| walk(&at(key), value, types));
        }
    };
    types.entry(path.to_owned()).or_default().insert(kind);
}

/// Holds `text` against a golden file; `UPDATE_GOLDEN=1` writes it. Scripts read what these files name: a line that goes or
/// changes needs a *Migration* line in the changelog.
#[track_caller]
pub(crate) fn golden(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, text).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap();
    for (number, (old, new)) in (1..).zip(golden.lines().zip(text.lines())) {
        assert_eq!(old, new, "{}, line {number}", file.display());
    }
    assert_eq!(golden.lines().count(), text.lines().count(), "{}", file.display());
}
