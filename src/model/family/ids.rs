//! Special ids, from wherever a family or the user says them.

use std::path::Path;

use anyhow::Result;

use super::keys::Keys;
use crate::config::ModelFacts;
use crate::error::Usage;
use crate::text::{AddedTokens, SpecialIds};

/// What `config.json` says of special ids, and what the tokenizer's files may know.
#[derive(Clone, Debug, Default)]
pub struct FoundIds {
    /// `mask_token_id`, if it is there.
    pub mask: Option<u32>,
    /// What the mask is called in tokenizers that do not say it; `<|mask|>` in most.
    pub mask_token: Option<&'static str>,
    /// `pad_token_id`, if it is there.
    pub pad: Option<u32>,
    /// `eos_token_id`, as far as it is there.
    pub ends: Vec<u32>,
    /// Tokens that end a completion too, in tokenizers that have them.
    pub end_tokens: &'static [&'static str],
}

impl FoundIds {
    /// What the usual keys say.
    pub fn read(keys: &mut Keys<'_>) -> Self {
        Self {
            mask: keys.optional_id("mask_token_id"),
            pad: keys.optional_id("pad_token_id"),
            ends: keys.optional_ids("eos_token_id"),
            ..Self::default()
        }
    }

    /// All special ids of the model in `dir`.
    ///
    /// # Errors
    /// A tokenizer's file that cannot be read; [`Usage`] with the key of `[model]` for what is nowhere.
    pub fn completed(self, dir: &Path, facts: &ModelFacts) -> Result<SpecialIds> {
        let needs_tokens = self.mask.or(facts.mask_token_id).is_none()
            || (!self.end_tokens.is_empty() && facts.end_token_ids.is_none());
        let tokens = if needs_tokens { AddedTokens::read(dir)? } else { AddedTokens::default() };
        let config = dir.join("config.json");
        let mask = facts.mask_token_id.or(self.mask).or_else(|| tokens.mask(self.mask_token)).ok_or_else(|| {
            Usage(format!(
                "the id of the mask is neither in {} (mask_token_id) nor among the added tokens of the tokenizer there: \
                 set model.mask_token_id",
                config.display()
            ))
        })?;
        let ends = match &facts.end_token_ids {
            Some(ends) => ends.clone(),
            None => self.ends.into_iter().chain(self.end_tokens.iter().filter_map(|t| tokens.id(t))).collect(),
        };
        let (end, others) = ends.split_first().ok_or_else(|| {
            Usage(match &facts.end_token_ids {
                Some(_) => "model.end_token_ids is empty: leave it out or name an id".to_owned(),
                None => format!(
                    "the id that ends a completion is neither in {} (eos_token_id) nor among the added tokens of the \
                     tokenizer there: set model.end_token_ids",
                    config.display()
                ),
            })
        })?;
        Ok(SpecialIds::new(mask, self.pad.unwrap_or(*end), *end, others))
    }
}

/// Ids that are none of the vocabulary.
pub fn outside(ids: &SpecialIds, vocabulary: usize) -> Vec<String> {
    let wrong = ids.named().filter(|&(id, _)| id as usize >= vocabulary);
    wrong.map(|(id, key)| format!("{key} {id} is outside the {vocabulary} embeddings")).collect()
}
