//! Which names may become part of a path or of an address: what the user wrote, and what the network answers.

/// The longest etag, commit or part of a path that is believed.
const LONGEST: usize = 200;

/// Whether a name could be that of a repository: `owner/name` as the hub allows it, without the look of a path.
pub fn is_hub_id(name: &str) -> bool {
    let allowed = |part: &str| {
        let ends = |c: char| !matches!(c, '.' | '-');
        part.starts_with(ends)
            && part.ends_with(ends)
            && part.len() <= 96
            && !part.contains("--")
            && !part.contains("..")
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    matches!(name.split('/').collect::<Vec<_>>()[..], [owner, name] if allowed(owner) && allowed(name))
}

/// Whether a relative path stays below the folder it is joined to, and each part of it is an ordinary name.
pub(super) fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| {
        !matches!(part, "" | "." | "..")
            && part.len() <= LONGEST
            // On Windows these would name a drive or a folder.
            && !part.contains(|c: char| c.is_control() || c == '\\' || c == ':')
    })
}

/// Whether an etag or a commit is a plain word: both become names in the cache.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// The SHA-256 that an etag is for a file in the hub's large-file store.
pub(super) fn as_sha256(etag: &str) -> Option<&str> {
    (etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())).then_some(etag)
}

/// An etag without its quotes and without the mark of a weak one.
pub(super) fn bare_etag(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix("W/").or_else(|| etag.strip_prefix("w/")).unwrap_or(etag).trim_matches('"')
}

/// Words of the hub as they may be shown: one line without control characters, of bounded length.
pub(super) fn shown(words: &str) -> String {
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        assert!(is_hub_id("GSAI-ML/LLaDA-8B-Instruct"));
        for path in
            ["./model", "../model", "/abs/model", "model", "a/b/c", "owner/", "~/model", "a\\b/c", "a--b/c", "a/b..c"]
        {
            assert!(!is_hub_id(path), "{path}");
        }
    }

    #[test]
    fn an_etag_that_is_a_path_is_no_word() {
        for name in ["", "../../x", "/abs", "a/b", "w/evil", ".", "a.b", "a\0", "a\\b", &"a".repeat(201)] {
            assert!(!is_word(name), "{name:?}");
        }
        assert!(is_word("d41d8cd98f00b204e9800998ecf8427e-2"));
    }

    #[test]
    fn the_mark_of_a_weak_etag_is_no_folder() {
        for etag in ["W/\"x\"", "\"x\"", "x", " \"x\" "] {
            assert_eq!(bare_etag(etag), "x");
        }
    }

    #[test]
    fn only_paths_that_stay_inside_are_inside() {
        assert!(is_inside("main/train/0000.parquet"));
        for path in ["", "/a", "a//b", "a/", "..", "a/../../b", "./a", "a\n", "c:a"] {
            assert!(!is_inside(path), "{path:?}");
        }
    }

    #[test]
    fn words_of_the_hub_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2J\r\nb"), "a [2J b");
    }
}
