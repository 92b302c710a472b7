//! What the commands of LaTeX are for an answer's value.

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// White space.
    Space,
    /// A space backwards: it takes the white space behind it away.
    Tight,
    /// Looks alone.
    Nothing,
    /// `\left` and `\right`, which may have a point for no delimiter behind them.
    Delimiter,
    /// A type face around its argument.
    Face,
    /// Words as its argument.
    Words,
    /// `\frac` in any size.
    Frac,
    /// `\sqrt`.
    Root,
    /// Another spelling of a character.
    Char(char),
    /// `^\circ`.
    Degree,
    /// Another spelling of a command.
    Named(&'static str),
    /// Itself.
    Kept,
}

/// What becomes of the command with a name.
pub(super) fn command(name: &str) -> Command {
    use Command::*;
    match name {
        r"\," | r"\;" | r"\:" | r"\>" | r"\ " | r"\quad" | r"\qquad" | r"\enspace" | r"\enskip" | r"\thinspace"
        | r"\medspace" | r"\thickspace" | r"\nobreakspace" | r"\space" => Space,
        _ if name.chars().nth(1).is_some_and(char::is_whitespace) => Space,
        r"\!" | r"\negthinspace" => Tight,
        r"\left" | r"\right" | r"\middle" => Delimiter,
        r"\big"
        | r"\Big"
        | r"\bigg"
        | r"\Bigg"
        | r"\bigl"
        | r"\bigr"
        | r"\Bigl"
        | r"\Bigr"
        | r"\biggl"
        | r"\biggr"
        | r"\Biggl"
        | r"\Biggr"
        | r"\displaystyle"
        | r"\textstyle"
        | r"\scriptstyle"
        | r"\scriptscriptstyle"
        | r"\limits"
        | r"\nolimits"
        | r"\bf"
        | r"\rm"
        | r"\it"
        | r"\sf"
        | r"\tt"
        | r"\bfseries"
        | r"\itshape"
        | r"\normalfont"
        | r"\boldmath"
        | r"\("
        | r"\)"
        | r"\["
        | r"\]"
        | r"\/" => Nothing,
        r"\textbf" | r"\mathbf" | r"\textit" | r"\mathit" | r"\emph" | r"\boldsymbol" | r"\bm" | r"\pmb"
        | r"\underline" | r"\ensuremath" => Face,
        r"\text" | r"\mathrm" | r"\textrm" | r"\mbox" | r"\hbox" | r"\textnormal" | r"\textsf" | r"\mathsf"
        | r"\texttt" | r"\mathtt" | r"\operatorname" | r"\textup" => Words,
        r"\frac" | r"\dfrac" | r"\tfrac" | r"\cfrac" | r"\nicefrac" | r"\sfrac" => Frac,
        r"\sqrt" => Root,
        r"\%" | r"\textpercent" => Char('%'),
        r"\cdot" => Char('·'),
        r"\times" => Char('×'),
        r"\div" => Char('÷'),
        r"\ast" => Char('*'),
        r"\lbrack" => Char('['),
        r"\rbrack" => Char(']'),
        r"\lvert" | r"\rvert" | r"\vert" | r"\mid" => Char('|'),
        r"\lt" => Char('<'),
        r"\gt" => Char('>'),
        r"\textminus" => Char('-'),
        r"\pounds" | r"\textsterling" => Char('£'),
        r"\euro" | r"\texteuro" | r"\EUR" => Char('€'),
        r"\yen" | r"\textyen" => Char('¥'),
        r"\cent" | r"\textcent" => Char('¢'),
        r"\rupee" => Char('₹'),
        r"\degree" | r"\textdegree" => Degree,
        r"\dollar" | r"\textdollar" => Named(r"\$"),
        r"\lbrace" => Named(r"\{"),
        r"\rbrace" => Named(r"\}"),
        r"\leq" | r"\leqslant" => Named(r"\le"),
        r"\geq" | r"\geqslant" => Named(r"\ge"),
        r"\neq" => Named(r"\ne"),
        r"\varnothing" => Named(r"\emptyset"),
        r"\rightarrow" => Named(r"\to"),
        r"\dots" | r"\cdots" => Named(r"\ldots"),
        _ => Kept,
    }
}
