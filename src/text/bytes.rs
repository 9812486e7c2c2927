//! GPT-2's printable stand-ins for bytes, and SentencePiece's byte tokens and blanks.
//!
//! GPT-2 writes every byte as one printable character: those that are printable in Latin-1 as themselves, the other
//! 68 as the code points from 256 on, in order.

/// SentencePiece's stand-in for a blank, `▁` (U+2581).
pub(crate) const SPACE_MARK: &str = "\u{2581}";

fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The stand-in of every byte.
#[cfg(feature = "tokenizer")]
pub(crate) fn stand_ins() -> [char; 256] {
    let mut out = ['\0'; 256];
    for (code, byte) in ByteAlphabet::new().bytes.iter().enumerate() {
        if let (Some(byte), Some(c)) = (byte, char::from_u32(code as u32)) {
            out[usize::from(*byte)] = c;
        }
    }
    out
}

/// Stand-ins to bytes, in one table over all stand-ins' code points.
pub(crate) struct ByteAlphabet {
    bytes: [Option<u8>; 256 + 68],
}

impl ByteAlphabet {
    pub(crate) fn new() -> Self {
        let mut bytes = [None; 256 + 68];
        let mut next = 256;
        for byte in 0..=255u8 {
            let at = if is_printable(byte) { usize::from(byte) } else { next };
            if at == next {
                next += 1;
            }
            bytes[at] = Some(byte);
        }
        Self { bytes }
    }

    /// The bytes that a token's text stands for; `None` if some character is not a stand-in.
    pub(crate) fn decode(&self, text: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(text).ok()?;
        text.chars().map(|c| self.bytes.get(c as usize).copied().flatten()).collect()
    }
}

/// The byte that a token written `<0x41>` stands for.
pub(crate) fn byte_token(text: &[u8]) -> Option<u8> {
    let hex = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    match hex {
        [high, low] => Some((hex_digit(*high)? << 4) | hex_digit(*low)?),
        _ => None,
    }
}

fn hex_digit(c: u8) -> Option<u8> {
    (c as char).to_digit(16).map(|d| d as u8)
}

/// `text` with `▁` as blanks.
pub(crate) fn unescape_spaces(text: &[u8]) -> Vec<u8> {
    let mark = SPACE_MARK.as_bytes();
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        match rest.strip_prefix(mark) {
            Some(after_mark) => {
                out.push(b' ');
                rest = after_mark;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection() {
        let alphabet = ByteAlphabet::new();
        let mut bytes: Vec<u8> = alphabet.bytes.iter().flatten().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(alphabet.decode("ĠaĊ".as_bytes()), Some(b" a\n".to_vec()));
        assert_eq!(alphabet.decode("a b".as_bytes()), None);
        assert_eq!(alphabet.decode(b"\xff"), None);
    }

    #[test]
    fn byte_tokens() {
        assert_eq!(byte_token(b"<0x0A>"), Some(10));
        assert_eq!(byte_token(b"<0xff>"), Some(255));
        assert_eq!(byte_token(b"<0x0G>"), None);
        assert_eq!(byte_token(b"<0x041>"), None);
        assert_eq!(unescape_spaces("▁a▁▁b".as_bytes()), b" a  b");
    }
}
