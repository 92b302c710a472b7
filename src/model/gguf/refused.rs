//! Why a GGUF file cannot be read: tensors in formats that candle does not know, which it reports by number only.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// The formats that are read, by their numbers in the file.
const READ: [u32; 14] = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 30];

/// A string of the header longer than this is none.
const LONGEST_NAME: u64 = 1 << 16;
/// Arrays of arrays deeper than this are none.
const DEEPEST: usize = 8;

/// What to say of a file with tensors in other formats; nothing if there are none, or the header cannot be read.
pub(super) fn formats(path: &Path) -> Option<String> {
    let found = others(&mut BufReader::new(File::open(path).ok()?)).ok()?;
    let (name, format) = found.first()?;
    let more = match found.len() {
        1 => String::new(),
        n => format!(" (and {} more in such formats)", n - 1),
    };
    Some(format!(
        "tensor {name:?} is stored as {}{more}, which is not supported: convert the model with llama-quantize to one of \
         Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, F16, BF16 or F32",
        format_name(*format)
    ))
}

/// Names and formats of the tensors that are not read, in the order of the file.
fn others(file: &mut (impl Read + Seek)) -> io::Result<Vec<(String, u32)>> {
    let mut header = Header { file, wide: true };
    if &header.bytes::<4>()? != b"GGUF" {
        return Err(io::ErrorKind::InvalidData.into());
    }
    header.wide = header.u32()? > 1;
    let (tensors, fields) = (header.count()?, header.count()?);
    for _ in 0..fields {
        header.text()?;
        let kind = header.u32()?;
        header.skip_value(kind, DEEPEST)?;
    }
    let mut found = Vec::new();
    for _ in 0..tensors {
        let name = header.text()?;
        for _ in 0..header.u32()? {
            header.count()?;
        }
        let format = header.u32()?;
        header.bytes::<8>()?;
        if !READ.contains(&format) {
            found.push((name, format));
        }
    }
    Ok(found)
}

/// A header being read; in version 1 counts have four bytes.
struct Header<'a, R> {
    file: &'a mut R,
    wide: bool,
}

impl<R: Read + Seek> Header<'_, R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn count(&mut self) -> io::Result<u64> {
        Ok(if self.wide { u64::from_le_bytes(self.bytes()?) } else { self.u32()?.into() })
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.count()?;
        if length > LONGEST_NAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        self.file.seek_relative(bytes)
    }

    fn skip_value(&mut self, kind: u32, depth: usize) -> io::Result<()> {
        const TEXT: u32 = 8;
        const ARRAY: u32 = 9;
        let size = |kind| match kind {
            0 | 1 | 7 => Some(1),
            2 | 3 => Some(2),
            4..=6 => Some(4),
            10..=12 => Some(8),
            _ => None,
        };
        match kind {
            TEXT => {
                let length = self.count()?;
                self.skip(length)
            }
            ARRAY if depth > 0 => {
                let (kind, count) = (self.u32()?, self.count()?);
                if let Some(size) = size(kind) {
                    return self.skip(count.saturating_mul(size));
                }
                for _ in 0..count {
                    self.skip_value(kind, depth - 1)?;
                }
                Ok(())
            }
            _ => self.skip(size(kind).ok_or(io::ErrorKind::InvalidData)?),
        }
    }
}

/// ggml's name of a format.
fn format_name(format: u32) -> String {
    let name = match format {
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        4 | 5 | 31..=33 | 36..=38 => return format!("format {format}, which llama.cpp has given up"),
        _ => return format!("format {format}, which this version does not know"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with a text, an array of texts, an array of numbers, and tensors of some formats.
    fn header(formats: &[u32]) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        bytes.extend((formats.len() as u64).to_le_bytes());
        bytes.extend(3u64.to_le_bytes());
        text(&mut bytes, "general.architecture");
        bytes.extend(8u32.to_le_bytes());
        text(&mut bytes, "llada");
        text(&mut bytes, "tokens");
        bytes.extend([9u32, 8].map(u32::to_le_bytes).concat());
        bytes.extend(2u64.to_le_bytes());
        text(&mut bytes, "a");
        text(&mut bytes, "bc");
        text(&mut bytes, "scores");
        bytes.extend([9u32, 6].map(u32::to_le_bytes).concat());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend([0; 8]);
        for (i, format) in formats.iter().enumerate() {
            text(&mut bytes, &format!("blk.{i}.attn_q.weight"));
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(32u64.to_le_bytes());
            bytes.extend(format.to_le_bytes());
            bytes.extend(0u64.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn formats_that_are_not_read_have_their_names() {
        let others = |formats: &[u32]| others(&mut io::Cursor::new(header(formats))).unwrap();
        assert!(others(&READ).is_empty());
        assert_eq!(others(&[12, 20, 0, 35]), [("blk.1.attn_q.weight".into(), 20), ("blk.3.attn_q.weight".into(), 35)]);
        assert_eq!([20, 35, 39, 41].map(format_name), ["IQ4_NL", "TQ2_0", "MXFP4", "Q1_0"]);
        assert!(format_name(99).contains("format 99"));
    }

    #[test]
    fn a_header_that_is_none_ends_the_search() {
        let whole = header(&[20, 21]);
        for length in 0..whole.len() {
            assert!(others(&mut io::Cursor::new(&whole[..length])).is_err(), "{length}");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            let _ = others(&mut io::Cursor::new(broken));
        }
    }
}
