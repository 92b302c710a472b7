//! A whole table in one JSON object, which would be taken for a single record.

use serde_json::{Map, Value};

/// What an object that is the only one of its file is, if it is no record but a table in another form, and what to do.
pub fn in_one_object(fields: &Map<String, Value>) -> Option<String> {
    let has = |names: &[&str]| names.iter().all(|&name| fields.contains_key(name));
    let is_list = |name: &str| matches!(fields.get(name), Some(Value::Array(_)));
    if (has(&["columns", "data"]) || has(&["schema", "data"])) && is_list("data") || by_label(fields) {
        return Some(
            "one object that holds a whole table, as pandas' to_json() writes it: write it with orient=\"records\""
                .into(),
        );
    }
    let (name, rows) = fields.iter().find(|(_, value)| is_rows(value))?;
    let wraps = fields.len() == 1 || ["data", "rows", "records", "examples", "instances"].contains(&name.as_str());
    wraps.then(|| {
        format!(
            "one object, whose list `{name}` holds {} objects: write these as the list, or one a line",
            rows.as_array().map_or(0, Vec::len)
        )
    })
}

/// Whether the values are objects with the same keys: columns by the labels of the rows, or rows by their labels.
fn by_label(fields: &Map<String, Value>) -> bool {
    let mut keys = fields.values().map(|value| Some(value.as_object()?.keys().collect::<Vec<_>>()));
    let Some(Some(first)) = keys.next() else { return false };
    let numbered = first.iter().all(|key| key.bytes().all(|byte| byte.is_ascii_digit()));
    !first.is_empty() && (fields.len() > 1 || numbered) && keys.all(|keys| keys.as_ref() == Some(&first))
}

fn is_rows(value: &Value) -> bool {
    value.as_array().is_some_and(|rows| !rows.is_empty() && rows.iter().all(Value::is_object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(value: Value) -> Option<String> {
        in_one_object(value.as_object().unwrap())
    }

    #[test]
    fn a_table_by_columns_is_not_one_record() {
        for table in [
            json!({"q": {"0": "a", "1": "b"}, "v": {"0": 1, "1": null}}),
            json!({"q": {"0": "a"}}),
            json!({"q": {"3": "a", "12": "b"}}),
            json!({"x7": {"q": "a", "v": 1}, "x9": {"q": "b", "v": 2}}),
            json!({"columns": ["q"], "index": [0], "data": [["a"]]}),
            json!({"schema": {"fields": []}, "data": [{"index": 0, "q": "a"}]}),
        ] {
            let message = message(table.clone()).unwrap_or_default();
            assert!(message.ends_with("write it with orient=\"records\""), "{table}: {message}");
        }
        for table in [json!({"data": [{"q": "a"}]}), json!({"version": 1, "rows": [{"q": "a"}]}), json!({"x": [{}]})] {
            assert!(message(table.clone()).unwrap().contains(" holds 1 objects: write these"), "{table}");
        }
    }

    #[test]
    fn a_record_may_hold_objects_and_lists() {
        for record in [
            json!({}),
            json!({"q": "a", "meta": {"0": 1}}),
            json!({"meta": {"author": "a"}}),
            json!({"a": {"x": 1}, "b": {"y": 1}}),
            json!({"a": {}, "b": {}}),
            json!({"numbers": [1, 2], "data": [1]}),
            json!({"messages": [{"role": "user", "content": "a"}], "answer": "b"}),
        ] {
            assert_eq!(message(record.clone()), None, "{record}");
        }
    }
}
