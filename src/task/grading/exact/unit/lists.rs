//! The words and signs that are units.

mod measures;
mod nouns;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

pub(super) use measures::{Measure, PERCENT};

use measures::MEASURES;
use nouns::{ATTRIBUTES, IRREGULAR, NOUNS};

/// Signs of money, longer ones before those they begin with, and the names they stand for.
pub(super) const MONEY: [(&str, &str); 27] = [
    (r"US\$", "us dollar"),
    (r"AU\$", "australian dollar"),
    (r"CA\$", "canadian dollar"),
    (r"HK\$", "hong kong dollar"),
    (r"NZ\$", "new zealand dollar"),
    (r"NT\$", "taiwan dollar"),
    (r"A\$", "australian dollar"),
    (r"C\$", "canadian dollar"),
    (r"S\$", "singapore dollar"),
    (r"R\$", "real"),
    (r"\$", "dollar"),
    ("€", "euro"),
    ("£", "pound sterling"),
    ("¥", "yen or yuan"),
    ("¢", "cent"),
    ("₹", "rupee"),
    ("₨", "rupee"),
    ("₽", "ruble"),
    ("₩", "won"),
    ("₱", "peso"),
    ("₫", "dong"),
    ("₪", "shekel"),
    ("₺", "lira"),
    ("₦", "naira"),
    ("₴", "hryvnia"),
    ("฿", "baht"),
    ("₿", "bitcoin"),
];

/// Other signs behind a number, longer ones before those they begin with.
const OTHERS: [(&str, &str); 6] = [
    (r"^\circ C", "celsius"),
    (r"^\circ\text{C}", "celsius"),
    (r"^\circ F", "fahrenheit"),
    (r"^\circ\text{F}", "fahrenheit"),
    (r"^\circ", "degree"),
    ("%", PERCENT),
];

/// Codes of currencies, which stand in front of a number or behind it.
pub(super) const CODES: [&str; 34] = [
    "USD", "EUR", "GBP", "JPY", "CNY", "RMB", "INR", "CAD", "AUD", "NZD", "HKD", "SGD", "TWD", "CHF", "SEK", "NOK",
    "DKK", "PLN", "CZK", "HUF", "RUB", "UAH", "TRY", "ILS", "BRL", "MXN", "ZAR", "KRW", "THB", "VND", "PHP", "IDR",
    "Rs", "Php",
];

static BY_SPELLING: LazyLock<HashMap<&'static str, &'static Measure>> = LazyLock::new(|| {
    let spellings =
        |measure: &'static Measure| measure.spellings.iter().chain([&measure.name]).map(move |s| (*s, measure));
    MEASURES.iter().flat_map(spellings).collect()
});

static COUNTED: LazyLock<HashSet<&'static str>> = LazyLock::new(|| NOUNS.split_whitespace().collect());

/// The sign that a text begins with, and its name.
pub(super) fn sign(text: &str) -> Option<(&'static str, &'static str)> {
    MONEY.iter().chain(&OTHERS).find(|(sign, _)| text.starts_with(sign)).copied()
}

/// The measure that a word names: as it is written, else in small letters, in singular or plural. A short word in other
/// letters is another unit: `Mb` is not `MB`, and `MM` is a million.
pub(super) fn measure(word: &str) -> Option<&'static Measure> {
    let known = |word: &str| BY_SPELLING.get(word).copied();
    known(word).or_else(|| {
        let small = word.to_lowercase();
        let short = word.chars().count() < 3 && small != word;
        if short { None } else { singulars(&small).find_map(|word| known(&word)) }
    })
}

/// The measure that two words name, such as `fluid ounces`.
pub(super) fn measure_of_two(first: &str, second: &str) -> Option<&'static Measure> {
    if !TWO_WORDS.contains(first.to_lowercase().trim_end_matches('s')) {
        return None;
    }
    let (first, second) = (first.to_lowercase(), second.to_lowercase());
    let pairs = singulars(&first).flat_map(|a| singulars(&second).map(move |b| format!("{a} {b}")).collect::<Vec<_>>());
    pairs.into_iter().find_map(|pair| BY_SPELLING.get(pair.as_str()).copied())
}

/// First words of measures of two, without an s at the end.
static TWO_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let firsts = BY_SPELLING.keys().filter_map(|spelling| spelling.split_once(' '));
    firsts.map(|(first, _)| first.trim_end_matches('s')).collect()
});

/// The singular of a noun that is counted.
pub(super) fn noun(word: &str) -> Option<String> {
    let small = word.to_lowercase();
    if let Some((_, one)) = IRREGULAR.iter().find(|(many, _)| *many == small) {
        return Some((*one).to_owned());
    }
    singulars(&small).find(|word| COUNTED.contains(word.as_str()))
}

/// Whether a word may stand before a noun without a number of its own.
pub(super) fn is_attribute(word: &str) -> bool {
    ATTRIBUTES.contains(&word.to_lowercase().as_str())
}

/// A word as it is, and what it may be the plural of.
fn singulars(word: &str) -> impl Iterator<Item = String> {
    let of = |end: &str, one: &str| {
        word.strip_suffix(end).filter(|stem| stem.chars().nth(1).is_some()).map(|stem| format!("{stem}{one}"))
    };
    [Some(word.to_owned()), of("s", ""), of("es", ""), of("ies", "y")].into_iter().flatten()
}
