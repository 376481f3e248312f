//! One field of a `config.json` set; the text of all others stays, those as well that only others read.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::Serialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// An object as it stands in the file: names and texts, in order.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Sets one field of the file, at the end if it is new.
///
/// # Errors
/// - the file cannot be read or written, or is not a JSON object
pub fn set_field(path: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    let io = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::read(path).map_err(io)?;
    let text = with_field(&bytes, name, value).map_err(|error| Error::Format {
        file: "config.json",
        reason: error.to_string(),
    })?;
    std::fs::write(path, text).map_err(io)
}

fn with_field(object: &[u8], name: &str, value: &impl Serialize) -> serde_json::Result<String> {
    let Fields(mut fields) = serde_json::from_slice(object)?;
    let value = serde_json::to_string_pretty(value)?.replace('\n', "\n  ");
    let value = RawValue::from_string(value)?;
    match fields.iter_mut().find(|(own, _)| own == name) {
        Some((_, old)) => *old = value,
        None => fields.push((name.to_owned(), value)),
    }
    let lines = fields.iter().map(|(name, value)| {
        let name = serde_json::to_string(name)?;
        Ok(format!("  {name}: {}", value.get()))
    });
    let lines: Vec<String> = lines.collect::<serde_json::Result<_>>()?;
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_fields_stay_as_they_are() {
        let before = "{\n  \"b\": 1e-05,\n  \"a\": {\n    \"z\": [1,2]\n  }\n}\n";
        let after = with_field(before.as_bytes(), "c", &serde_json::json!({"k": 1})).unwrap();
        let expected =
            "{\n  \"b\": 1e-05,\n  \"a\": {\n    \"z\": [1,2]\n  },\n  \"c\": {\n    \"k\": 1\n  }\n}\n";
        assert_eq!(after, expected);
        let again = with_field(after.as_bytes(), "b", &2).unwrap();
        assert_eq!(again, expected.replace("1e-05", "2"));
        assert!(with_field(b"[1]", "c", &1).is_err());
    }
}
