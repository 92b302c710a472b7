//! Phrases of units: `cm`, `square feet`, `m/s^2`, `dollars per hour`, `cups of flour`, `chocolate chip cookies`.

use super::lists::{self, Measure};

/// Words after a quantity that leave it what it is.
const REMARKS: [&str; 14] = [
    "each",
    "apiece",
    "total",
    "altogether",
    "overall",
    "left",
    "remaining",
    "old",
    "long",
    "tall",
    "high",
    "wide",
    "deep",
    "away",
];

/// The longest phrase, in words and signs.
const MAX_TOKENS: usize = 12;

/// A product of units with their powers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    factors: Vec<Factor>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Factor {
    name: String,
    /// The wider unit that this is one of, as a dollar may be of any country.
    kind: String,
    /// What stands before the noun, as in `red marbles`.
    attributes: Vec<String>,
    power: i32,
}

impl Unit {
    /// The unit of a currency's name or code.
    pub(super) fn money(name: &str) -> Option<Self> {
        let measure = lists::measure(name)?;
        let (name, kind) = (measure.name.to_owned(), measure.kind.to_owned());
        Some(Self { factors: vec![Factor { name, kind, attributes: Vec::new(), power: 1 }] })
    }

    /// Whether it is the same unit as another, or one of the two says less than the other: `eggs` and `duck eggs`,
    /// `degrees` and `^\circ C`. Nothing is converted.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let both = || self.factors.iter().zip(&other.factors);
        self.factors.len() == other.factors.len() && both().all(|(a, b)| a.agrees(b))
    }

    /// Whether it is per cent and nothing else.
    pub(crate) fn is_percent(&self) -> bool {
        matches!(&self.factors[..], [Factor { name, power: 1, .. }] if name == lists::PERCENT)
    }

    /// Itself, if it names anything: `left` in `5 left` does not.
    pub(super) fn named(self) -> Option<Self> {
        (!self.factors.is_empty()).then_some(self)
    }

    /// A currency in front and a unit behind: `$5 per day`, `$5 dollars`, `$5 USD`. `None` if they contradict.
    pub(super) fn with(mut self, behind: Self) -> Option<Self> {
        if behind.factors.iter().all(|factor| factor.power < 0) {
            self.factors.extend(behind.factors);
            return Some(self.sorted());
        }
        let front = self.factors.pop()?;
        behind.factors.iter().any(|factor| factor.agrees(&front)).then_some(behind)
    }

    fn sorted(mut self) -> Self {
        self.factors.sort_by(|a, b| (a.root(), a.power).cmp(&(b.root(), b.power)));
        self
    }
}

impl Factor {
    fn root(&self) -> &str {
        if self.kind.is_empty() { &self.name } else { &self.kind }
    }

    fn agrees(&self, other: &Self) -> bool {
        self.power == other.power
            && (self.name == other.name || self.kind == other.name || self.name == other.kind)
            && (self.attributes == other.attributes || self.attributes.is_empty() || other.attributes.is_empty())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word, and whether it is surely one and no product of variables.
    Word(String, bool),
    Power(i32),
    Slash,
}

/// The unit that all of a text is, if it is one.
pub(crate) fn phrase(text: &str) -> Option<Unit> {
    let mut tokens = Vec::new();
    tokenise(text, false, &mut tokens)?;
    // `5 m` may be a product, and so may `2 g/h`; `5 L`, `5 km/h` and `5 m/s` hardly.
    let letter =
        |token: &Token| matches!(token, Token::Word(w, false) if w.chars().nth(1).is_none() && w != "a" && w != "L");
    let longer = |token: &Token| matches!(token, Token::Word(..)) && !letter(token);
    let speed = |tokens: &[Token]| matches!(tokens, [Token::Word(m, _), Token::Slash, Token::Word(s, _), ..] if m == "m" && s == "s");
    let rate = tokens.iter().skip(1).any(|token| *token == Token::Slash) && tokens.iter().any(longer);
    if tokens.iter().any(letter) && !rate && !speed(&tokens) {
        return None;
    }
    Reader { tokens: &tokens }.unit()
}

fn tokenise(text: &str, sure: bool, tokens: &mut Vec<Token>) -> Option<()> {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if tokens.len() > MAX_TOKENS {
            return None;
        }
        let mut length = c.len_utf8();
        if let Some(words) = rest.strip_prefix(r"\text{") {
            let (words, _) = words.split_once('}')?;
            tokenise(words, true, tokens)?;
            length = r"\text{}".len() + words.len();
        } else if let Some((sign, name)) = lists::sign(rest) {
            length = sign.len();
            tokens.push(Token::Word(name.into(), true));
        } else if c.is_alphabetic() {
            length = rest.find(|c: char| !(c.is_alphabetic() || c == '.' || c == '\'')).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].replace('.', ""), sure));
        } else if let Some(power) = rest.strip_prefix('^').filter(|power| !power.starts_with('\\')) {
            let braced = power.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let digits = braced.map_or_else(|| power.get(..1), |(inside, _)| Some(inside))?;
            tokens.push(Token::Power(digits.parse().ok().filter(|power: &i32| (-9..=9).contains(power))?));
            length += digits.len() + if braced.is_some() { 2 } else { 0 };
        } else {
            match c {
                '/' => tokens.push(Token::Slash),
                ' ' | '-' => {}
                _ => return None,
            }
        }
        rest = &rest[length..];
    }
    Some(())
}

/// Reads tokens from left to right.
struct Reader<'a> {
    tokens: &'a [Token],
}

impl Reader<'_> {
    fn unit(mut self) -> Option<Unit> {
        let mut factors: Vec<Factor> = Vec::new();
        let mut remarks = false;
        while !self.tokens.is_empty() {
            let named = !factors.is_empty();
            if self.take(|token| *token == Token::Slash) || self.per() {
                factors.push(self.term(-1)?);
            } else if !named && !remarks {
                match self.remark() {
                    true => remarks = true,
                    false => factors.push(self.term(1)?),
                }
            } else if named && self.is_rate() {
                factors.push(self.term(-1)?);
            } else if self.remark() {
                remarks = true;
            } else {
                return None;
            }
        }
        (remarks || !factors.is_empty()).then(|| Unit { factors }.sorted())
    }

    /// Takes the `per` of `miles per hour`; that of `per cent` stays.
    fn per(&mut self) -> bool {
        let cent = matches!(self.tokens, [_, Token::Word(word, _), ..] if word == "cent");
        !cent && self.word(&["per"])
    }

    /// Takes the `a` of `dollars a day`, if a unit follows.
    fn is_rate(&mut self) -> bool {
        let Some((Token::Word(word, _), rest)) = self.tokens.split_first() else { return false };
        let article = ["a", "an", "each", "every"].contains(&word.as_str());
        let rate = article && Reader { tokens: rest }.term(-1).is_some();
        if rate {
            self.tokens = rest;
        }
        rate
    }

    fn remark(&mut self) -> bool {
        let in_all = |token: &Token, word: &str| matches!(token, Token::Word(w, _) if w == word);
        if let [first, second, rest @ ..] = self.tokens
            && in_all(first, "in")
            && (in_all(second, "total") || in_all(second, "all"))
        {
            self.tokens = rest;
            return true;
        }
        self.word(&REMARKS)
    }

    /// A measure or a noun with what belongs to it.
    fn term(&mut self, sign: i32) -> Option<Factor> {
        let power = if self.word(&["square", "sq"]) {
            2
        } else if self.word(&["cubic", "cu"]) {
            3
        } else {
            1
        };
        let mut attributes: Vec<String> = Vec::new();
        let (measure, name) = loop {
            if let Some(measure) = self.measure() {
                break (Some(measure), measure.name.to_owned());
            }
            let Some((Token::Word(word, _), rest)) = self.tokens.split_first() else { return None };
            self.tokens = rest;
            match lists::noun(word) {
                Some(noun) if !self.noun_follows() => break (None, noun),
                Some(noun) => attributes.push(noun),
                None if lists::is_attribute(word) => attributes.push(word.to_lowercase()),
                None => return None,
            }
        };
        let kind = measure.map_or("", |measure| measure.kind).to_owned();
        let raised = self.power();
        let powers = measure.is_some_and(|measure| measure.powers);
        if (power != 1 && raised.is_some()) || ((power != 1 || raised.is_some()) && !powers) {
            return None;
        }
        if self.word(&["of"]) {
            self.word(&["the"]);
            self.contents()?;
        }
        Some(Factor { name, kind, attributes, power: sign * raised.unwrap_or(power) })
    }

    /// What is measured or contained, as in `cups of flour`: it does not change the unit.
    fn contents(&mut self) -> Option<()> {
        let mut any = false;
        while self.noun_follows() {
            self.tokens = &self.tokens[1..];
            any = true;
        }
        any.then_some(())
    }

    fn noun_follows(&self) -> bool {
        matches!(self.tokens.first(), Some(Token::Word(word, _)) if lists::noun(word).is_some() || lists::is_attribute(word))
    }

    fn measure(&mut self) -> Option<&'static Measure> {
        let Some(Token::Word(first, _)) = self.tokens.first() else { return None };
        if let Some(Token::Word(second, _)) = self.tokens.get(1)
            && let Some(measure) = lists::measure_of_two(first, second)
        {
            self.tokens = &self.tokens[2..];
            return Some(measure);
        }
        let measure = lists::measure(first)?;
        self.tokens = &self.tokens[1..];
        Some(measure)
    }

    fn power(&mut self) -> Option<i32> {
        if let Some((&Token::Power(power), rest)) = self.tokens.split_first() {
            self.tokens = rest;
            return Some(power);
        }
        if self.word(&["squared"]) {
            return Some(2);
        }
        self.word(&["cubed"]).then_some(3)
    }

    /// Takes the next token if it is one of some words, in whatever case.
    fn word(&mut self, words: &[&str]) -> bool {
        self.take(|token| matches!(token, Token::Word(word, _) if words.iter().any(|w| word.eq_ignore_ascii_case(w))))
    }

    fn take(&mut self, wanted: impl FnOnce(&Token) -> bool) -> bool {
        match self.tokens.split_first() {
            Some((token, rest)) if wanted(token) => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }
}
