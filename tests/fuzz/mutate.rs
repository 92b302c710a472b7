//! Inputs made of valid ones: bits, bytes and pieces changed, numbers replaced by extreme ones, two of them joined.

use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

/// Numbers that overflow, wrap or allocate.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1e999",
    "255",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "1e-400",
    "NaN",
    "999999999999999999999999999999",
];

/// Pieces that mean something in one of the formats.
const PIECES: [&str; 26] = [
    "\0",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[[[[[[[[[",
    "{{{{{{{{{{{{{{{{",
    "{% for i in range(9) %}",
    "{% endfor %}",
    "{{ x }}",
    "null",
    "\n",
    "\r\n",
    ",",
    "\u{feff}",
    "\u{202e}",
    "\\boxed{",
    "<answer>",
    "</answer>",
    "\\frac{1}{",
    "((((((((",
    "1/0",
    "^",
    "-",
];

/// Makes the inputs of a target.
pub struct Mutator {
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seeds: Vec<Vec<u8>>) -> Self {
        assert!(!seeds.is_empty(), "there is nothing to change");
        Self { seeds }
    }

    /// The input of a number: the same whenever it is asked for.
    pub fn input(&self, target: &str, number: u64) -> Vec<u8> {
        let key = Sha256::new().chain_update(target).chain_update(number.to_le_bytes()).finalize();
        let mut rng = ChaCha8Rng::from_seed(key.into());
        let mut bytes = self.seeds[below(&mut rng, self.seeds.len())].clone();
        for _ in 0..=below(&mut rng, 4) {
            self.change(&mut bytes, &mut rng);
        }
        bytes
    }

    fn change(&self, bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        let at = below(rng, bytes.len() + 1);
        let most = (bytes.len() - at).min(64);
        let length = below(rng, most + 1);
        match below(rng, 11) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let piece = bytes[at..at + length].to_vec();
                let times = 1 << below(rng, 8);
                bytes.splice(at..at, piece.repeat(times));
            }
            3 => {
                let other = &self.seeds[below(rng, self.seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[below(rng, other.len() + 1)..]);
            }
            4 | 5 => replace_number(bytes, at, NUMBERS[below(rng, NUMBERS.len())]),
            6 | 7 => drop(bytes.splice(at..at, PIECES[below(rng, PIECES.len())].bytes())),
            8 => {
                let number = [0, 1, u64::MAX, i64::MAX as u64, 1 << 31, u64::from(u32::MAX)][below(rng, 6)];
                let width = [1, 2, 4, 8][below(rng, 4)];
                bytes.iter_mut().skip(at).zip(number.to_le_bytes()).take(width).for_each(|(byte, new)| *byte = new);
            }
            9 => bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte = below(rng, 256) as u8),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << below(rng, 8);
                }
            }
        }
    }
}

fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    (rng.next_u64() % n.max(1) as u64) as usize
}

/// Replaces the first number in decimal digits from a place on.
fn replace_number(bytes: &mut Vec<u8>, at: usize, number: &str) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|start| at + start) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + length, number.bytes());
}
