//! Exact arithmetic: `+ - * / ( )`, signs, integers and decimals, evaluated in rationals of any size.
//!
//! The grammar is Python's, restricted: what Python's `eval` takes beyond it (`**`, `//`, calls, tuples) is refused, so
//! no expression can take long. Operators wait on a stack of our own, so no nesting can overflow the program's.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed as _, Zero as _};

/// The longest expression that is evaluated, in bytes. Numbers grow with it, and the time with their square.
pub const MAX_LENGTH: usize = 1024;
/// The deepest nesting of parentheses that is evaluated.
pub const MAX_DEPTH: usize = 100;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArithmeticError {
    /// More than [`MAX_LENGTH`] bytes.
    #[error("the expression is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// More than [`MAX_DEPTH`] parentheses inside each other.
    #[error("more than {MAX_DEPTH} parentheses are open at once")]
    TooDeep,
    /// Something that does not belong where it stands.
    #[error("the expression is wrong at byte {at}")]
    Unexpected {
        /// Where it stands.
        at: usize,
    },
    /// The end comes where a number or a parenthesis is due.
    #[error("the expression is not finished")]
    Unfinished,
    /// A division by zero.
    #[error("division by zero")]
    DivisionByZero,
}

type Result<T> = std::result::Result<T, ArithmeticError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Op {
    Open,
    Add,
    Sub,
    Mul,
    Div,
    Neg,
}

impl Op {
    fn binds(self) -> u8 {
        match self {
            Op::Open => 0,
            Op::Add | Op::Sub => 1,
            Op::Mul | Op::Div => 2,
            Op::Neg => 3,
        }
    }
}

/// The value of an expression.
///
/// # Errors
/// If it is not one, is too long or too deep, or divides by zero.
pub fn evaluate(text: &str) -> Result<BigRational> {
    if text.len() > MAX_LENGTH {
        return Err(ArithmeticError::TooLong);
    }
    let bytes = text.trim_end().as_bytes();
    let mut stack = Stack::default();
    // Leading white space is trimmed here and not by `trim`, so that errors give a place in the text.
    let mut at = text.len() - text.trim_start().len();
    let mut number_due = true;
    while at < bytes.len() {
        let unexpected = Err(ArithmeticError::Unexpected { at });
        match bytes[at] {
            b' ' | b'\t' | 0x0c => {}
            // A line ends a Python expression, except between parentheses.
            b'\n' | b'\r' if stack.depth > 0 => {}
            b'0'..=b'9' | b'.' if number_due => {
                let (value, length) = literal(&bytes[at..]).ok_or(ArithmeticError::Unexpected { at })?;
                stack.values.push(value);
                number_due = false;
                at += length - 1;
            }
            b'(' if number_due => stack.open()?,
            b'-' if number_due => stack.ops.push(Op::Neg),
            b'+' if number_due => {}
            _ if number_due => return unexpected,
            b')' if stack.depth > 0 => stack.close()?,
            operator => {
                let op = match operator {
                    b'+' => Op::Add,
                    b'-' => Op::Sub,
                    b'*' => Op::Mul,
                    b'/' => Op::Div,
                    _ => return unexpected,
                };
                stack.reduce(op.binds())?;
                stack.ops.push(op);
                number_due = true;
            }
        }
        at += 1;
    }
    if number_due || stack.depth > 0 {
        return Err(ArithmeticError::Unfinished);
    }
    stack.reduce(1)?;
    stack.values.pop().ok_or(ArithmeticError::Unfinished)
}

/// The operands and operators that wait for what comes.
#[derive(Default)]
struct Stack {
    values: Vec<BigRational>,
    ops: Vec<Op>,
    depth: usize,
}

impl Stack {
    fn open(&mut self) -> Result<()> {
        self.depth += 1;
        self.ops.push(Op::Open);
        if self.depth > MAX_DEPTH { Err(ArithmeticError::TooDeep) } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        self.reduce(1)?;
        self.depth -= 1;
        self.ops.pop();
        Ok(())
    }

    /// Applies the operators on top that bind at least so tightly.
    fn reduce(&mut self, least: u8) -> Result<()> {
        while let Some(op) = self.ops.pop_if(|op| op.binds() >= least) {
            let right = self.values.pop().ok_or(ArithmeticError::Unfinished)?;
            if op == Op::Neg {
                self.values.push(-right);
                continue;
            }
            let left = self.values.pop().ok_or(ArithmeticError::Unfinished)?;
            self.values.push(match op {
                Op::Add => left + right,
                Op::Sub => left - right,
                Op::Mul => left * right,
                _ if right.is_zero() => return Err(ArithmeticError::DivisionByZero),
                _ => left / right,
            });
        }
        Ok(())
    }
}

/// The number at the beginning of `bytes` and its length. As in Python, `5.` and `.5` are numbers and `05` is not.
fn literal(bytes: &[u8]) -> Option<(BigRational, usize)> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let decimals = if bytes.get(whole) == Some(&b'.') { Some(digits(whole + 1)) } else { None };
    let length = whole + decimals.map_or(0, |count| count + 1);
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    if decimals.is_none() && text.starts_with('0') && text.contains(|c| c != '0') {
        return None;
    }
    let numerator: BigInt = text.replace('.', "").parse().ok()?;
    let denominator = BigInt::from(10).pow(decimals.unwrap_or(0).try_into().ok()?);
    Some((BigRational::new(numerator, denominator), length))
}

/// Whether two values are less than 1e-5 apart, which is what the benchmarks take for equal.
pub fn close(a: &BigRational, b: &BigRational) -> bool {
    (a - b).abs() < BigRational::new(1.into(), 100_000.into())
}

#[cfg(test)]
mod tests;
