//! Tokens that `tokenizer_config.json` names and `tokenizer.json` does not have, which `transformers` adds when it
//! loads a tokenizer. Without them their text would be split into pieces.

use tokenizers::{AddedToken, Tokenizer};

use super::settings::Settings;
use super::{Result, TextError};

/// Adds them, and says so.
///
/// # Errors
/// Settings that are no tokens.
pub(super) fn add_missing(tokenizer: &mut Tokenizer, settings: &Settings) -> Result<()> {
    let known: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
    let declared = settings.added_tokens()?;
    let mut special: Vec<AddedToken> = settings.special_tokens()?.into_iter().map(|(_, token)| token).collect();
    special.extend(settings.additional_special_tokens()?);

    let mut missing: Vec<AddedToken> = declared
        .iter()
        .map(|(_, token)| token)
        .filter(|token| !known.iter().any(|k| same(k, token)))
        .cloned()
        .collect();
    for token in &special {
        if known.iter().chain(&missing).all(|there| there.content != token.content) {
            missing.push(token.clone());
        }
    }
    for token in &mut missing {
        token.special |= special.iter().any(|named| named.content == token.content);
    }
    let new: Vec<String> = missing
        .iter()
        .filter(|token| known.iter().all(|k| k.content != token.content))
        .map(|token| token.content.clone())
        .collect();
    let invalid = |reason: String| TextError::Invalid { file: settings.file().into(), reason };
    tokenizer.add_tokens(missing).map_err(|error| invalid(error.to_string()))?;
    if !new.is_empty() {
        tracing::warn!(
            "tokenizer.json does not have {} of the tokens that {} names, which are added: {}",
            new.len(),
            settings.file().display(),
            new.join(" ")
        );
    }
    for (id, token) in &declared {
        let there = tokenizer.token_to_id(&token.content);
        if there != Some(*id) {
            let there = there.map_or("none".to_owned(), |id| id.to_string());
            tracing::warn!(
                "{} gives {:?} the id {id}, the tokenizer {there}",
                settings.file().display(),
                token.content
            );
        }
    }
    Ok(())
}

/// Whether two tokens are found in the same way. (Their own comparison looks at the text only.)
fn same(a: &AddedToken, b: &AddedToken) -> bool {
    let how = |t: &AddedToken| (t.single_word, t.lstrip, t.rstrip, t.normalized, t.special);
    a.content == b.content && how(a) == how(b)
}
