//! Reading keys of a `config.json`, collecting what is wrong with them.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use crate::model::names::Names;
use crate::model::ops::rope::MOST_POSITIONS;
use crate::model::routing::Routing;
use crate::model::shape::{Mixture, Shape};
use crate::model::sight::{BlockGrid, Sight};

/// The largest size that is read: products of two do not overflow.
const LARGEST: u64 = i32::MAX as u64;

/// The most layers that are read; published models have a hundred.
const DEEPEST: usize = 10_000;

/// The most experts that are read; published models have hundreds.
const MOST_EXPERTS: usize = 10_000;

/// The keys of a file, and what is wrong with those that were asked for.
pub struct Keys<'a> {
    json: &'a Map<String, Value>,
    problems: Vec<String>,
}

/// The keys that a family has its sizes under, for messages.
#[derive(Clone, Copy, Debug)]
pub struct SizeKeys {
    /// Key of the width.
    pub width: &'static str,
    /// Key of the number of query heads.
    pub heads: &'static str,
    /// Key of the number of key heads.
    pub kv_heads: &'static str,
    /// Key of the number of layers.
    pub layers: &'static str,
    /// Key of the width of a head; none where it is the width over the number of heads.
    pub head_dim: Option<&'static str>,
}

impl<'a> Keys<'a> {
    /// Nothing asked for yet.
    pub fn new(json: &'a Map<String, Value>) -> Self {
        Self { json, problems: Vec::new() }
    }

    /// Whether nothing is wrong.
    ///
    /// # Errors
    /// All problems, a line each.
    pub fn finished(self) -> Result<()> {
        if !self.problems.is_empty() {
            bail!("{}", self.problems.join("\n"));
        }
        Ok(())
    }

    /// Notes what is wrong.
    pub fn refuse(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> &'a Value {
        self.json.get(key).unwrap_or(&Value::Null)
    }

    /// Whether a key is there and not null.
    pub fn is_set(&self, key: &str) -> bool {
        self.json.get(key).is_some_and(|v| !v.is_null())
    }

    /// A key with one supported value, which must be there.
    pub fn must_be(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.json.get(key) {
            None => self.problems.push(format!("{key} is missing: it must be {value}")),
            Some(_) => self.may_be(key, value),
        }
    }

    /// A key with one supported value, which is upstream's default.
    pub fn may_be(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.json.get(key) {
            Some(found) if *found != value => {
                self.problems.push(format!("{key} is {found}: only {value} is supported"));
            }
            _ => {}
        }
    }

    /// A key that may be missing, null or false: all the same upstream.
    pub fn may_be_false(&mut self, key: &str) {
        if self.is_set(key) {
            self.may_be(key, false);
        }
    }

    /// A key that may be missing, null or 0, whole or not.
    pub fn may_be_zero(&mut self, key: &str) {
        if self.is_set(key) && self.value(key).as_f64() != Some(0.0) {
            self.may_be(key, 0);
        }
    }

    /// A key that may be missing, null or 1, whole or not.
    pub fn may_be_one(&mut self, key: &str) {
        if self.is_set(key) && self.value(key).as_f64() != Some(1.0) {
            self.may_be(key, 1);
        }
    }

    fn take<T: Default>(&mut self, key: &str, what: &str, read: impl Fn(&Value) -> Option<T>) -> T {
        match self.json.get(key).map(|v| (v, read(v))) {
            Some((_, Some(value))) => value,
            Some((found, None)) => {
                self.problems.push(format!("{key} is {found}: expected {what}"));
                T::default()
            }
            None => {
                self.problems.push(format!("{key} is missing: expected {what}"));
                T::default()
            }
        }
    }

    /// A size.
    pub fn size(&mut self, key: &str) -> usize {
        let size = |v: &Value| v.as_u64().filter(|n| (1..=LARGEST).contains(n)).and_then(|n| usize::try_from(n).ok());
        self.take(key, &format!("a whole number from 1 to {LARGEST}"), size)
    }

    /// A number above 0.
    pub fn number(&mut self, key: &str) -> f64 {
        self.take(key, "a number above 0", |v| v.as_f64().filter(|&x| x > 0.0))
    }

    /// A token id that may be missing.
    pub fn optional_id(&mut self, key: &str) -> Option<u32> {
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        self.is_set(key).then(|| self.take(key, "a token id", id))
    }

    /// One token id, or a list of some; none where the key is missing.
    pub fn optional_ids(&mut self, key: &str) -> Vec<u32> {
        if !self.is_set(key) {
            return Vec::new();
        }
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids = |v: &Value| match v.as_array() {
            Some(list) if !list.is_empty() => list.iter().map(id).collect(),
            _ => id(v).map(|id| vec![id]),
        };
        self.take(key, "a token id, or a list of them", ids)
    }

    /// The blocks from the beginning of a row that `block_size` says; without it the user has to say them.
    pub fn blocks_of_rows(&mut self) -> Sight {
        match self.is_set("block_size") {
            true => Sight::Blocks(BlockGrid { length: self.size("block_size").max(1), from_answer: false }),
            false => Sight::Full,
        }
    }

    /// Whether sizes fit each other; says nothing where a key is wrong already.
    pub fn check(&mut self, shape: &Shape, names: &Names, keys: SizeKeys) {
        if self.problems.is_empty() {
            self.problems = problems(shape, names, keys);
        }
    }
}

/// What of a shape cannot be.
pub(super) fn problems(shape: &Shape, names: &Names, keys: SizeKeys) -> Vec<String> {
    let mut problems = Vec::new();
    let divides = |small: usize, large: usize| small > 0 && large.is_multiple_of(small);
    match keys.head_dim {
        Some(key) if !shape.head_dim.is_multiple_of(2) => {
            problems.push(format!("{key} {} is not even", shape.head_dim));
        }
        None if !divides(shape.heads, shape.width) || !shape.head_dim.is_multiple_of(2) => problems.push(format!(
            "{} {} must be {} {} times an even number",
            keys.width, shape.width, keys.heads, shape.heads
        )),
        _ => {}
    }
    if !divides(shape.kv_heads, shape.heads) {
        problems.push(format!("{} {} does not divide {} {}", keys.kv_heads, shape.kv_heads, keys.heads, shape.heads));
    }
    if let Some(mixture) = &shape.experts {
        problems.extend(of_experts(mixture, shape.layers));
    }
    for (key, size, most, why) in [
        (keys.layers, shape.layers, DEEPEST, "no model has as many"),
        (names.positions, shape.positions, MOST_POSITIONS, "f32 cannot count as many positions"),
    ] {
        if size > most {
            problems.push(format!("{key} {size} is more than {most}: {why}"));
        }
    }
    problems
}

/// What of a mixture of experts cannot be.
fn of_experts(mixture: &Mixture, layers: usize) -> Vec<String> {
    let Routing { experts, chosen, groups, kept_groups, .. } = mixture.routing;
    let mut problems = Vec::new();
    if experts > MOST_EXPERTS {
        problems.push(format!("num_experts {experts} is more than {MOST_EXPERTS}: no model has as many"));
    } else if !experts.is_multiple_of(groups) {
        problems.push(format!("n_group {groups} does not divide num_experts {experts}"));
    } else if kept_groups > groups {
        problems.push(format!("topk_group {kept_groups} is more than n_group {groups}"));
    } else if chosen > experts / groups * kept_groups {
        problems.push(format!("num_experts_per_tok {chosen} is more than there are to choose from"));
    }
    if mixture.first > layers {
        problems.push(format!("first_k_dense_replace {} is more than num_hidden_layers {layers}", mixture.first));
    }
    problems
}
