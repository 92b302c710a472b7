//! Characters beyond ASCII as LaTeX or ASCII writes them.

/// Signs that stand for one text.
const SIGNS: &[(char, &str)] = &[
    ('×', "×"),
    ('✕', "×"),
    ('✖', "×"),
    ('⨯', "×"),
    ('⨉', "×"),
    ('⋅', "·"),
    ('∙', "·"),
    ('•', "·"),
    ('‧', "·"),
    ('・', "·"),
    ('∗', "*"),
    ('﹡', "*"),
    ('➗', "÷"),
    ('∕', "/"),
    ('⁄', "/"),
    ('⧸', "/"),
    ('➕', "+"),
    ('﹢', "+"),
    ('﹣', "-"),
    ('﹘', "-"),
    ('➖', "-"),
    ('°', r"^\circ "),
    ('˚', r"^\circ "),
    ('º', r"^\circ "),
    ('℃', r"^\circ C"),
    ('℉', r"^\circ F"),
    ('٪', "%"),
    ('﹪', "%"),
    ('’', "'"),
    ('‘', "'"),
    ('′', "'"),
    ('“', "\""),
    ('”', "\""),
    ('∛', r"\sqrt[3] "),
    ('∜', r"\sqrt[4] "),
    ('∞', r"\infty "),
    ('≤', r"\le "),
    ('⩽', r"\le "),
    ('≥', r"\ge "),
    ('⩾', r"\ge "),
    ('≠', r"\ne "),
    ('±', r"\pm "),
    ('∓', r"\mp "),
    ('∪', r"\cup "),
    ('∩', r"\cap "),
    ('∈', r"\in "),
    ('∅', r"\emptyset "),
    ('∖', r"\setminus "),
    ('→', r"\to "),
    ('…', r"\ldots "),
    ('⟨', r"\langle "),
    ('⟩', r"\rangle "),
    ('α', r"\alpha "),
    ('β', r"\beta "),
    ('γ', r"\gamma "),
    ('δ', r"\delta "),
    ('ε', r"\varepsilon "),
    ('ζ', r"\zeta "),
    ('η', r"\eta "),
    ('θ', r"\theta "),
    ('ι', r"\iota "),
    ('κ', r"\kappa "),
    ('λ', r"\lambda "),
    ('μ', r"\mu "),
    ('µ', r"\mu "),
    ('ν', r"\nu "),
    ('ξ', r"\xi "),
    ('π', r"\pi "),
    ('ρ', r"\rho "),
    ('σ', r"\sigma "),
    ('τ', r"\tau "),
    ('υ', r"\upsilon "),
    ('φ', r"\varphi "),
    ('χ', r"\chi "),
    ('ψ', r"\psi "),
    ('ω', r"\omega "),
    ('Γ', r"\Gamma "),
    ('Δ', r"\Delta "),
    ('Θ', r"\Theta "),
    ('Λ', r"\Lambda "),
    ('Π', r"\Pi "),
    ('Σ', r"\Sigma "),
    ('Φ', r"\Phi "),
    ('Ψ', r"\Psi "),
    ('Ω', r"\Omega "),
    ('½', r"\frac{1}{2}"),
    ('⅓', r"\frac{1}{3}"),
    ('⅔', r"\frac{2}{3}"),
    ('¼', r"\frac{1}{4}"),
    ('¾', r"\frac{3}{4}"),
    ('⅕', r"\frac{1}{5}"),
    ('⅖', r"\frac{2}{5}"),
    ('⅗', r"\frac{3}{5}"),
    ('⅘', r"\frac{4}{5}"),
    ('⅙', r"\frac{1}{6}"),
    ('⅚', r"\frac{5}{6}"),
    ('⅐', r"\frac{1}{7}"),
    ('⅛', r"\frac{1}{8}"),
    ('⅜', r"\frac{3}{8}"),
    ('⅝', r"\frac{5}{8}"),
    ('⅞', r"\frac{7}{8}"),
    ('⅑', r"\frac{1}{9}"),
    ('⅒', r"\frac{1}{10}"),
    ('↉', r"\frac{0}{3}"),
];

/// Whether a text has a fraction that is a single character, such as `½`.
pub(crate) fn has_one_character_fraction(text: &str) -> bool {
    text.chars().any(|c| !c.is_ascii() && sign(c).is_some_and(|text| text.starts_with(r"\frac")))
}

fn sign(c: char) -> Option<&'static str> {
    SIGNS.iter().find(|(known, _)| *known == c).map(|&(_, text)| text)
}

/// The text with the characters that have an ASCII or LaTeX spelling in it. A run of raised or lowered digits is one
/// `^{..}` or `_{..}`; `√` takes the digits, the parenthesis or the letter that follows.
pub(super) fn spelled(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    // For each open parenthesis, whether it is a root's.
    let mut open: Vec<bool> = Vec::new();
    let mut chars = text.chars().map(single).peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' => {
                open.push(false);
                out.push('(');
            }
            ')' => out.push(if open.pop() == Some(true) { '}' } else { ')' }),
            '√' => {
                out += r"\sqrt";
                while chars.next_if_eq(&' ').is_some() {}
                if chars.next_if_eq(&'(').is_some() {
                    open.push(true);
                    out.push('{');
                } else if chars.peek().is_some_and(char::is_ascii_digit) {
                    out.push('{');
                    out.extend(std::iter::from_fn(|| chars.next_if(|c| c.is_ascii_digit() || *c == '.')));
                    out.push('}');
                } else {
                    out.push(' ');
                }
            }
            _ if c.is_ascii() => out.push(c),
            // of no width: only the looks of the line depend on them
            '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{fe0e}' | '\u{fe0f}' => {}
            _ => match (scripted(c), sign(c)) {
                (Some((script, first)), _) => {
                    out.extend([script, '{', first]);
                    let same = |c: &char| scripted(*c).is_some_and(|(other, _)| other == script);
                    out.extend(std::iter::from_fn(|| chars.next_if(same)).filter_map(|c| Some(scripted(c)?.1)));
                    out.push('}');
                }
                (None, Some(text)) => out += text,
                (None, None) => out.push(c),
            },
        }
    }
    out
}

/// A character by another of the same meaning: all white space is a space, all dashes are a minus, wide forms and
/// mathematical digits are ASCII.
fn single(c: char) -> char {
    let shifted = |from: char, to: u8| char::from_u32(u32::from(c) - u32::from(from) + u32::from(to)).unwrap_or(c);
    match c {
        _ if c.is_ascii() => c,
        _ if c.is_whitespace() => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '！'..='～' => shifted('！', b'!'),
        '￠' => '¢',
        '￡' => '£',
        '￥' => '¥',
        '￦' => '₩',
        '𝟎'..='𝟿' => char::from_digit((u32::from(c) - u32::from('𝟎')) % 10, 10).unwrap_or(c),
        _ => c,
    }
}

/// `^` or `_` and the character that is raised or lowered.
fn scripted(c: char) -> Option<(char, char)> {
    const RAISED: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ";
    const LOWERED: &str = "₀₁₂₃₄₅₆₇₈₉₊₋ₙ";
    const PLAIN: &str = "0123456789+-n";
    let of = |set: &str| set.chars().position(|known| known == c).and_then(|at| PLAIN.chars().nth(at));
    of(RAISED).map(|plain| ('^', plain)).or_else(|| of(LOWERED).map(|plain| ('_', plain)))
}
