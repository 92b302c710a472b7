//! Token ids that mean something to a model.

/// What hides a token, what fills rows, and what ends a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialIds {
    /// The id of `[MASK]`.
    pub mask: u32,
    /// Fills rows on the left; nothing sees it.
    pub pad: u32,
    /// The ids that end a completion, at least one.
    ends: Vec<u32>,
}

impl SpecialIds {
    /// `end` also fills a canvas behind its end; `others` end a completion as well.
    pub fn new(mask: u32, pad: u32, end: u32, others: &[u32]) -> Self {
        let mut ends = vec![end];
        ends.extend(others.iter().filter(|&&other| other != end));
        Self { mask, pad, ends }
    }

    /// Fills a canvas behind its end.
    pub fn fill(&self) -> u32 {
        self.ends[0]
    }

    /// Whether a completion ends with this id.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// Whether a completion ends within these tokens.
    pub fn ended(&self, tokens: &[u32]) -> bool {
        tokens.iter().any(|&id| self.is_end(id))
    }

    /// The number of tokens of a completion up to and including the first that ends it, or all of them.
    pub fn length(&self, tokens: &[u32]) -> usize {
        tokens.iter().position(|&id| self.is_end(id)).map_or(tokens.len(), |first| first + 1)
    }

    /// All of them with the key of `config.json` that each is known by.
    pub fn named(&self) -> impl Iterator<Item = (u32, &'static str)> {
        let ends = self.ends.iter().map(|&end| (end, "eos_token_id"));
        [(self.mask, "mask_token_id")].into_iter().chain(ends)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDS: (u32, u32, u32) = (63, 1, 7);

    #[test]
    fn a_completion_ends_at_the_first_of_any_end() {
        let ids = SpecialIds::new(IDS.0, 0, IDS.1, &[IDS.2, IDS.1]);
        assert_eq!((ids.length(&[3, 7, 1]), ids.length(&[3, 1, 7]), ids.length(&[3, 4])), (2, 2, 2));
        assert!(ids.ended(&[3, 7]) && ids.ended(&[1]) && !ids.ended(&[3, 0, 63]));
        assert_eq!(ids.fill(), 1);
        assert_eq!(
            ids.named().collect::<Vec<_>>(),
            [(63, "mask_token_id"), (1, "eos_token_id"), (7, "eos_token_id")],
            "each once"
        );
    }

    proptest! {
        #[test]
        fn length_counts_up_to_and_including_the_first_end(
            before in prop::collection::vec(2u32..60, 0..20), after in prop::collection::vec(0u32..64, 0..20),
        ) {
            let ids = SpecialIds::new(IDS.0, IDS.1, IDS.1, &[]);
            prop_assert_eq!(ids.length(&before), before.len());
            let all: Vec<u32> = before.iter().chain([&IDS.1]).chain(&after).copied().collect();
            prop_assert_eq!(ids.length(&all), before.len() + 1);
        }
    }
}
