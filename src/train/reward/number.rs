//! The rule `numeric`: numbers in text.

use super::Completion;

/// Relative difference up to which two numbers are equal.
const TOLERANCE: f64 = 1e-6;

/// 1 if the last number of the completion is that of an accepted answer; `None` where the row has no number.
pub(super) fn numeric(completion: &Completion<'_>, own: Option<f64>) -> Option<f64> {
    // Worked solutions as answers ("… #### 72") end with the number too.
    let wanted: Vec<f64> = match own {
        Some(number) => vec![number],
        None => completion.answers().iter().filter_map(|answer| last_number(answer)).collect(),
    };
    if wanted.is_empty() {
        return None;
    }
    let said = last_number(completion.said());
    let equal = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
    Some(f64::from(u8::from(said.is_some_and(|said| wanted.iter().any(|&w| equal(said, w))))))
}

/// The last number of a text that is finite.
pub(super) fn last_number(text: &str) -> Option<f64> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut last) = (0, None);
    while at < chars.len() {
        if starts_number(&chars, at) {
            let (number, end) = read(&chars, at);
            last = number.or(last);
            at = end;
        } else {
            at += 1;
        }
    }
    last
}

fn digit(chars: &[char], at: usize) -> bool {
    chars.get(at).is_some_and(char::is_ascii_digit)
}

/// A digit, or the decimal point of `.5`.
fn starts_number(chars: &[char], at: usize) -> bool {
    digit(chars, at) || (chars[at] == '.' && digit(chars, at + 1))
}

/// Reads the number that starts at `at`; also where it ends.
fn read(chars: &[char], at: usize) -> (Option<f64>, usize) {
    let mut text = String::new();
    if negative(chars, at) {
        text.push('-');
    }
    let mut end = whole(chars, at, &mut text);
    if chars.get(end) == Some(&'.') && digit(chars, end + 1) {
        text.push('.');
        end += 1;
        end += digits(chars, end, &mut text);
    }
    if matches!(chars.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(end + 1), Some('+' | '-')));
        if digit(chars, end + 1 + sign) {
            text.extend(&chars[end..end + 1 + sign]);
            end += 1 + sign;
            end += digits(chars, end, &mut text);
        }
    }
    (text.parse::<f64>().ok().filter(|number| number.is_finite()), end)
}

/// A minus sign directly before, also before a currency sign, that is not a dash within a word or a difference.
fn negative(chars: &[char], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).and_then(|at| chars.get(at)).copied();
    let currency = before(1).is_some_and(|c| matches!(c, '$' | '€' | '£' | '¥'));
    let sign = 1 + usize::from(currency);
    before(sign).is_some_and(|c| matches!(c, '-' | '\u{2212}'))
        && !before(sign + 1).is_some_and(|c| c.is_alphanumeric() || c == ')')
}

/// The digits before the decimal point; groups of three may be separated by `,`, `'`, `_` or a narrow or hard space.
fn whole(chars: &[char], at: usize, text: &mut String) -> usize {
    let first = digits(chars, at, text);
    let mut end = at + first;
    if !(1..=3).contains(&first) {
        return end;
    }
    let Some(&separator) = chars.get(end).filter(|c| matches!(c, ',' | '\'' | '_' | '\u{a0}' | '\u{202f}'))
    else {
        return end;
    };
    while chars.get(end) == Some(&separator)
        && (1..=3).all(|n| digit(chars, end + n))
        && !digit(chars, end + 4)
    {
        text.extend(&chars[end + 1..end + 4]);
        end += 4;
    }
    end
}

fn digits(chars: &[char], at: usize, text: &mut String) -> usize {
    let run = chars[at..].iter().take_while(|c| c.is_ascii_digit());
    let before = text.len();
    text.extend(run);
    text.len() - before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_read_as_people_write_them() {
        for (text, wanted) in [
            ("The answer is 42.", 42.0),
            ("1,234,567.5 apples", 1_234_567.5),
            ("first 7, then 1,23", 23.0),
            ("12,345", 12_345.0),
            ("1234,567", 567.0),
            ("1,2345", 2345.0),
            ("1'000", 1000.0),
            ("1\u{202f}000\u{202f}000", 1e6),
            ("-3", -3.0),
            ("= \u{2212}0.5", -0.5),
            ("-$1,200", -1200.0),
            ("5-3", 3.0),
            ("GPT-4", 4.0),
            ("5 - 3", 3.0),
            ("(2)-1", 1.0),
            (".5", 0.5),
            ("1.5e3 m", 1500.0),
            ("2E-2", 0.02),
            ("3e", 3.0),
            ("12%", 12.0),
            ("work\n#### 72", 72.0),
            ("5 and 1e999", 5.0),
            ("v1.2.3", 0.3),
        ] {
            assert_eq!(last_number(text), Some(wanted), "{text}");
        }
        for text in ["", "none", "-", ".", "e5e", "½"] {
            assert_eq!(last_number(text), if text == "e5e" { Some(5.0) } else { None }, "{text}");
        }
    }
}
