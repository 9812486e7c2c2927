//! Python's questions about characters.

use unicode_general_category::{GeneralCategory as G, get_general_category};

/// `str.isspace` for one character.
pub(in crate::text::template) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_letter(c: char) -> bool {
    use G::{LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    let category = get_general_category(c);
    matches!(category, LowercaseLetter | ModifierLetter | OtherLetter | TitlecaseLetter | UppercaseLetter)
}

fn is_decimal(c: char) -> bool {
    get_general_category(c) == G::DecimalNumber
}

fn is_digit(c: char) -> bool {
    let raised =
        matches!(c, '²' | '³' | '¹' | '\u{2070}' | '\u{2074}'..='\u{2079}' | '\u{2080}'..='\u{2089}');
    let framed = matches!(c, '\u{2460}'..='\u{2468}' | '\u{2474}'..='\u{247c}' | '\u{2488}'..='\u{2490}'
        | '\u{24ea}' | '\u{24f5}'..='\u{24fd}' | '\u{24ff}' | '\u{2776}'..='\u{277e}' | '\u{2780}'..='\u{2788}'
        | '\u{278a}'..='\u{2792}');
    is_decimal(c) || raised || framed
}

fn is_numeric(c: char) -> bool {
    const CJK: &str = "〇一二三四五六七八九十百千万億兆零壹贰叁肆伍陆柒捌玖拾";
    c.is_numeric() || CJK.contains(c)
}

pub(super) fn is_printable(c: char) -> bool {
    use G::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate, Unassigned,
    };
    let category = get_general_category(c);
    c == ' '
        || !matches!(
            category,
            Control
                | Format
                | LineSeparator
                | ParagraphSeparator
                | PrivateUse
                | SpaceSeparator
                | Surrogate
                | Unassigned
        )
}

/// Whether some characters have a case, and all that have one have this.
fn cased(text: &str, wanted: impl Fn(char) -> bool) -> bool {
    let has_case =
        |c: &char| c.is_lowercase() || c.is_uppercase() || get_general_category(*c) == G::TitlecaseLetter;
    let mut with_case = text.chars().filter(has_case).peekable();
    with_case.peek().is_some() && with_case.all(wanted)
}

fn title(text: &str) -> bool {
    let (mut inside, mut any) = (false, false);
    for c in text.chars() {
        if (c.is_uppercase() && inside) || (c.is_lowercase() && !inside) {
            return false;
        }
        inside = c.is_uppercase() || c.is_lowercase();
        any |= inside;
    }
    any
}

/// The answer of `text.isdigit()` and its like; `None` for other names.
pub(super) fn ask(text: &str, name: &str) -> Option<bool> {
    let all = |test: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    Some(match name {
        "isalnum" => all(&|c| is_letter(c) || is_digit(c) || is_numeric(c)),
        "isalpha" => all(&is_letter),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(&is_decimal),
        "isdigit" => all(&is_digit),
        "isnumeric" => all(&is_numeric),
        "isspace" => all(&is_space),
        "isprintable" => text.chars().all(is_printable),
        "islower" => cased(text, char::is_lowercase),
        "isupper" => cased(text, char::is_uppercase),
        "istitle" => title(text),
        "isidentifier" => {
            let mut chars = text.chars();
            let begins = |c: char| c == '_' || is_letter(c);
            chars.next().is_some_and(begins) && chars.all(|c| begins(c) || is_decimal(c))
        }
        _ => return None,
    })
}
