//! Numbers as text, for `%` and for format specifications.

use minijinja::Error;

use super::show;
use super::work::charge_text;

/// Digits after the point beyond which a double has only zeros.
const EXACT: usize = 1100;

/// The digits of a float that is not negative: `kind` is one of `efgr`, in either case.
///
/// # Errors
/// If the rendering has done too much.
pub(super) fn digits(value: f64, kind: char, precision: usize, keep_zeros: bool) -> Result<String, Error> {
    charge_text(precision)?;
    if !value.is_finite() {
        let text = show::float(value);
        return Ok(if kind.is_uppercase() { text.to_uppercase() } else { text });
    }
    let text = match kind.to_ascii_lowercase() {
        'f' => fixed(value, precision),
        'e' => scientific(value, precision).0,
        // `r` is what a format specification without a type does: an exponent sooner, and a digit after the point.
        'r' => {
            let text = general(value, precision.max(1), true, keep_zeros);
            return Ok(if text.contains(['.', 'e']) { text } else { text + ".0" });
        }
        _ => general(value, precision.max(1), false, keep_zeros),
    };
    let text = if keep_zeros && !text.contains('.') {
        match text.split_once('e') {
            Some((mantissa, exponent)) => format!("{mantissa}.e{exponent}"),
            None => text + ".",
        }
    } else {
        text
    };
    Ok(if kind.is_uppercase() { text.to_uppercase() } else { text })
}

fn fixed(value: f64, precision: usize) -> String {
    let mut text = format!("{value:.*}", precision.min(EXACT));
    text.extend(std::iter::repeat_n('0', precision.saturating_sub(EXACT)));
    text
}

/// The text, and the exponent in it.
fn scientific(value: f64, precision: usize) -> (String, i32) {
    let text = format!("{value:.*e}", precision.min(EXACT));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let zeros = "0".repeat(precision.saturating_sub(EXACT));
    let sign = if exponent < 0 { '-' } else { '+' };
    (format!("{mantissa}{zeros}e{sign}{:02}", exponent.unsigned_abs()), exponent)
}

fn general(value: f64, precision: usize, sooner: bool, keep_zeros: bool) -> String {
    let (text, exponent) = scientific(value, precision - 1);
    let places = i64::try_from(precision).unwrap_or(i64::MAX);
    let plain = i64::from(exponent) >= -4 && i64::from(exponent) < places - i64::from(sooner);
    let text = if plain {
        fixed(value, usize::try_from(places - 1 - i64::from(exponent)).unwrap_or(0))
    } else {
        text
    };
    if keep_zeros {
        return text;
    }
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, format!("e{exponent}")),
        None => (text.as_str(), String::new()),
    };
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    format!("{mantissa}{exponent}")
}

/// An integer's digits without its sign: `kind` is one of `bodxX`.
pub(super) fn magnitude(value: i128, kind: char) -> String {
    let value = value.unsigned_abs();
    match kind {
        'b' => format!("{value:b}"),
        'o' => format!("{value:o}"),
        'x' => format!("{value:x}"),
        'X' => format!("{value:X}"),
        _ => value.to_string(),
    }
}

/// With `mark` between groups of digits from the right.
pub(super) fn grouped(digits: &str, mark: char, size: usize) -> String {
    let mut out = Vec::new();
    for (i, c) in digits.chars().rev().enumerate() {
        if i > 0 && i % size == 0 {
            out.push(mark);
        }
        out.push(c);
    }
    out.into_iter().rev().collect()
}
