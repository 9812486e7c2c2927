//! Character classes: the few Unicode properties that pre-tokenizers ask about, as a bit mask per character.
//!
//! General categories are those of Unicode (UAX #44); white space is the `White_Space` property.

use unicode_general_category::{GeneralCategory as G, get_general_category};

/// A set of character properties, one bit each.
pub(crate) type Mask = u16;

/// `\p{L}`: any letter.
pub(crate) const LETTER: Mask = 1;
/// `\p{N}`: any number.
pub(crate) const NUMBER: Mask = 1 << 1;
/// `\p{M}`: any combining mark.
pub(crate) const MARK: Mask = 1 << 2;
/// `\p{P}`: any punctuation.
pub(crate) const PUNCT: Mask = 1 << 3;
/// `\p{S}`: any symbol.
pub(crate) const SYMBOL: Mask = 1 << 4;
/// `\s`: white space, line ends included.
pub(crate) const SPACE: Mask = 1 << 5;
/// `[\r\n]`.
pub(crate) const NEWLINE: Mask = 1 << 6;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: what may stand in the capital part of a word.
pub(crate) const UPPERISH: Mask = 1 << 7;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what may stand in the small part of a word.
pub(crate) const LOWERISH: Mask = 1 << 8;

/// The properties of `c`; 0 for controls, format characters and code points without a category.
pub(crate) fn mask_of(c: char) -> Mask {
    match c {
        'a'..='z' => LETTER | LOWERISH,
        ' ' => SPACE,
        'A'..='Z' => LETTER | UPPERISH,
        '0'..='9' => NUMBER,
        '\n' | '\r' => SPACE | NEWLINE,
        _ => general(c),
    }
}

fn general(c: char) -> Mask {
    if c.is_whitespace() {
        return SPACE;
    }
    match get_general_category(c) {
        G::UppercaseLetter | G::TitlecaseLetter => LETTER | UPPERISH,
        G::LowercaseLetter => LETTER | LOWERISH,
        G::ModifierLetter | G::OtherLetter => LETTER | UPPERISH | LOWERISH,
        G::NonspacingMark | G::SpacingMark | G::EnclosingMark => MARK | UPPERISH | LOWERISH,
        G::DecimalNumber | G::LetterNumber | G::OtherNumber => NUMBER,
        G::ConnectorPunctuation
        | G::DashPunctuation
        | G::OpenPunctuation
        | G::ClosePunctuation
        | G::InitialPunctuation
        | G::FinalPunctuation
        | G::OtherPunctuation => PUNCT,
        G::MathSymbol | G::CurrencySymbol | G::ModifierSymbol | G::OtherSymbol => SYMBOL,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_path_agrees_with_the_categories() {
        for c in (0u8..128).map(char::from) {
            let slow = if matches!(c, '\r' | '\n') { SPACE | NEWLINE } else { general(c) };
            assert_eq!(mask_of(c), slow, "{c:?}");
        }
    }

    #[test]
    fn samples() {
        assert_eq!(mask_of('é'), LETTER | LOWERISH);
        assert_eq!(mask_of('漢'), LETTER | UPPERISH | LOWERISH);
        assert_eq!(mask_of('\u{301}'), MARK | UPPERISH | LOWERISH);
        assert_eq!(mask_of('½'), NUMBER);
        assert_eq!(mask_of('\u{3000}'), SPACE);
        assert_eq!(mask_of('🦙'), SYMBOL);
        assert_eq!(mask_of('\u{200d}'), 0);
    }
}
