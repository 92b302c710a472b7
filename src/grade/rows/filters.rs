//! Samples of lm-evaluation-harness under several filters: every filter writes all completions again.

use std::collections::HashMap;

use serde_json::Value;

/// The completions that were met, by record and filter.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// For a record and its completions, how often they were counted, and how often each filter has had them.
    met: HashMap<String, (usize, HashMap<String, usize>)>,
}

impl Filters {
    /// Whether a row holds the completions of an earlier one under another filter. Under the same filter it is another
    /// run, which counts.
    pub(super) fn repeat(&mut self, row: &Value) -> bool {
        let (Some(filter), Some(resps), Some(doc)) = (row["filter"].as_str(), row.get("resps"), row.get("doc")) else {
            return false;
        };
        let key = format!("{} {doc} {resps}", row["doc_id"]);
        let (counted, by_filter) = self.met.entry(key).or_default();
        let here = by_filter.entry(filter.to_owned()).or_default();
        *here += 1;
        let repeat = *here <= *counted;
        *counted = (*counted).max(*here);
        repeat
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn completions_were_counted_once_for_every_filter() {
        let row = |id: usize, text: &str, filter: &str| json!({"doc_id": id, "doc": {"answer": "1"}, "resps": [[text, text]], "filter": filter});
        let mut filters = Filters::default();
        let repeats =
            |filters: &mut Filters, rows: &[Value]| rows.iter().map(|r| filters.repeat(r)).collect::<Vec<_>>();
        let run = [
            row(0, "a", "strict-match"),
            row(1, "a", "strict-match"),
            row(0, "a", "flexible-extract"),
            row(1, "a", "flexible-extract"),
            row(1, "b", "flexible-extract"),
            row(0, "a", "third"),
        ];
        let expected = [false, false, true, true, false, true];
        assert_eq!(repeats(&mut filters, &run), expected);
        // the files of two runs behind each other
        assert_eq!(repeats(&mut filters, &run), expected);
    }

    #[test]
    fn rows_without_a_filter_are_never_repeats() {
        let row = json!({"doc_id": 0, "doc": {}, "resps": [["a"]]});
        let mut filters = Filters::default();
        assert!(!filters.repeat(&row) && !filters.repeat(&row) && !filters.repeat(&json!({"completion": "a"})));
        assert!(!filters.repeat(&json!("text")));
    }
}
