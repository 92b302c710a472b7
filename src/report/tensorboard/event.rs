//! One event of TensorBoard as bytes: protocol buffers by hand, in the frame of a TFRecord.
//!
//! | message | fields used |
//! |---|---|
//! | `Event` | 1 `wall_time` double, 2 `step` varint, 3 `file_version` text, 5 `summary`, 7 `session_log` |
//! | `Summary` | 1 `value`, repeated |
//! | `Summary.Value` | 1 `tag` text, 2 `simple_value` float |
//! | `SessionLog` | 1 `status` varint: 1 is `START` |
//!
//! A record is the length of its payload (u64), a masked CRC-32C of those eight bytes, the payload, and its masked
//! CRC-32C; all numbers are little-endian.

use crc::{CRC_32_ISCSI, Crc, Table};
use serde_json::Value;

use crate::report::Row;

/// The first event of every file.
const VERSION: &str = "brain.Event:2";

/// CRC-32C with tables for 16 bytes at a time.
static CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// A record's bytes beside its payload.
const HEADER: usize = 12;
const FOOTER: usize = 4;

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const BITS_64: u64 = 1;
const BYTES: u64 = 2;
const BITS_32: u64 = 5;

/// The record that a file begins with; `wall_time` in seconds since 1970, as everywhere.
pub fn version(wall_time: f64) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, wall_time).bytes(3, VERSION.as_bytes());
    record(&event.0)
}

/// The record that says that events from `step` on replace those that a reader has seen of earlier files.
pub fn restart(wall_time: f64, step: usize) -> Vec<u8> {
    let (mut event, mut log) = (Message::default(), Message::default());
    log.varint(1, 1);
    event.double(1, wall_time).varint(2, step as u64).bytes(7, &log.0);
    record(&event.0)
}

/// The record of a row: all of its numbers under their names, `null` as NaN. Words have no place in a scalar.
pub fn scalars(wall_time: f64, row: &Row) -> Vec<u8> {
    let mut summary = Message::default();
    for (tag, value) in row.iter().filter(|&(name, _)| name != "step") {
        let number = match value {
            Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
            Value::Null => f64::NAN,
            _ => continue,
        };
        let mut value = Message::default();
        value.bytes(1, tag.as_bytes()).float(2, number as f32);
        summary.bytes(1, &value.0);
    }
    let mut event = Message::default();
    event.double(1, wall_time).varint(2, row.step() as u64).bytes(5, &summary.0);
    record(&event.0)
}

/// A payload in its frame.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(HEADER + payload.len() + FOOTER);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(payload);
    bytes.extend(masked_crc(payload).to_le_bytes());
    bytes
}

/// The CRC of bytes that may hold CRCs themselves, which is why it is turned and shifted.
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC_32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The payloads of the whole records that a file begins with, each with the offset at which it ends.
pub fn payloads(file: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = file.get(at..)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (length_crc, rest) = rest.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*length_crc) != masked_crc(length) {
            return None;
        }
        let payload = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let crc = rest[payload.len()..].first_chunk::<4>()?;
        if u32::from_le_bytes(*crc) != masked_crc(payload) {
            return None;
        }
        at += HEADER + payload.len() + FOOTER;
        Some((payload, at))
    })
}

/// What has to be known of an event to cut a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The step that it is of.
    pub step: u64,
    /// Whether it holds a row.
    pub is_row: bool,
}

/// Reads the step of an event, and whether it is that of a row; nothing of what is no event.
pub fn see(payload: &[u8]) -> Option<Seen> {
    let mut seen = Seen::default();
    for field in fields(payload) {
        match field? {
            (2, Field::Varint(step)) => seen.step = step,
            (5, Field::Bytes(_)) => seen.is_row = true,
            _ => {}
        }
    }
    Some(seen)
}

/// The value of a field, as far as its wire type tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// A whole number.
    Varint(u64),
    /// The bits of a double.
    Bits64(u64),
    /// Text, or a message.
    Bytes(&'a [u8]),
    /// The bits of a float.
    Bits32(u32),
}

/// The fields of a message by number; `None` at the end where it is broken.
pub fn fields(mut rest: &[u8]) -> impl Iterator<Item = Option<(u64, Field<'_>)>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        VARINT => Field::Varint(varint(rest)?),
        BITS_64 => Field::Bits64(u64::from_le_bytes(*take_chunk(rest)?)),
        BYTES => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Field::Bytes(bytes)
        }
        BITS_32 => Field::Bits32(u32::from_le_bytes(*take_chunk(rest)?)),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn take_chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (chunk, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(chunk)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = *take_chunk(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, field: u64, value: u64) -> &mut Self {
        self.number(field << 3 | VARINT).number(value)
    }

    fn double(&mut self, field: u64, value: f64) -> &mut Self {
        self.number(field << 3 | BITS_64).raw(&value.to_le_bytes())
    }

    fn float(&mut self, field: u64, value: f32) -> &mut Self {
        self.number(field << 3 | BITS_32).raw(&value.to_le_bytes())
    }

    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Self {
        self.number(field << 3 | BYTES).number(value.len() as u64).raw(value)
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn number(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.raw(&[value as u8])
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the catalogue of CRCs, and two vectors of RFC 3720 (B.4).
    #[test]
    fn the_crc_is_castagnolis() {
        assert_eq!(CRC_32C.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(CRC_32C.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(CRC_32C.checksum(&[0xff; 32]), 0x62a8_ab43);
    }

    /// The bytes that the `tensorboard` package writes for the same events.
    #[test]
    fn records_have_the_bytes_that_tensorboard_writes() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(version(1.5)),
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
        );
        assert_eq!(
            hex(scalars(2.0, Row::new(300).set("reward", 0.625).set("phase", "train").set("loss", f64::NAN))),
            "2a00000000000000ae8d91f509000000000000004010ac022a1c0a0d0a06726577617264150000203f0a0b0a046c6f7373150000c07fe9abac2a"
        );
        assert_eq!(hex(restart(1.0, 5)), "0f000000000000006d532b0909000000000000f03f10053a02080184236d36");
    }

    #[test]
    fn what_was_written_is_read_back_up_to_the_first_damage() {
        let file = [version(1.0), restart(1.0, 3), scalars(2.0, Row::new(1 << 40).set("x", 1))].concat();
        let seen = |file: &[u8]| payloads(file).map(|(payload, _)| see(payload)).collect::<Vec<_>>();
        let (first, restarted) = (Seen::default(), Seen { step: 3, is_row: false });
        let row = Seen { step: 1 << 40, is_row: true };
        assert_eq!(seen(&file), [Some(first), Some(restarted), Some(row)]);
        assert_eq!(payloads(&file).last().map(|(_, end)| end), Some(file.len()));
        for torn in 0..file.len() {
            let whole = seen(&file[..torn]);
            assert!(whole.len() < 3 && whole[..] == seen(&file)[..whole.len()], "cut at {torn}");
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            let whole = seen(&damaged);
            assert!(whole.len() < 3 && whole[..] == seen(&file)[..whole.len()], "a bit of byte {at}");
        }
        for broken in [&[0x80_u8][..], &[0x2a, 9, 1], &[0x0b], &[0xff; 11]] {
            assert_eq!(see(broken), None, "{broken:?}");
        }
    }
}
