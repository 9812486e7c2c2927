//! Filters of numbers.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::args::{Args, flag, int_of, text_of};
use super::filters::{number, unknown};
use super::ops::Num;
use super::printf::truncated;
use super::strings::strip;
use super::work::{charge_text, error};

pub(super) fn apply(name: &str, value: &Value, args: &Args) -> Result<Value, Error> {
    match name {
        "abs" => {
            args.bind([], 0)?;
            match number(value)? {
                Num::Int(int) => {
                    int.checked_abs().map(Value::from).ok_or_else(|| error("an integer is beyond 128 bits"))
                }
                Num::Float(float) => Ok(Value::from(float.abs())),
            }
        }
        "int" => {
            let [default, base] = args.bind(["default", "base"], 0)?;
            let base = base.as_ref().map(int_of).transpose()?.unwrap_or(10);
            let default = default.unwrap_or_else(|| Value::from(0));
            int(value, base).map(|found| found.map_or(default, Value::from))
        }
        "float" => {
            let [default] = args.bind(["default"], 0)?;
            let default = default.unwrap_or_else(|| Value::from(0.0));
            Ok(float(value)?.map_or(default, Value::from))
        }
        "round" => {
            let [precision, method] = args.bind(["precision", "method"], 0)?;
            let precision = precision.as_ref().map(int_of).transpose()?.unwrap_or(0);
            let precision = i32::try_from(precision.clamp(-400, 400)).unwrap_or_default();
            let method = method.as_ref().map(text_of).transpose()?.unwrap_or("common");
            round(number(value)?, precision, method)
        }
        "filesizeformat" => {
            let [binary] = args.bind(["binary"], 0)?;
            let size = float(value)?.ok_or_else(|| error("filesizeformat needs a number"))?;
            Ok(Value::from(file_size(size, flag(binary.as_ref()))))
        }
        _ => Err(unknown(name)),
    }
}

/// `int(value)`, else `int(float(value))`, else `None`.
fn int(value: &Value, base: i128) -> Result<Option<i128>, Error> {
    if let Some(text) = value.as_str() {
        charge_text(text.len())?;
        if !(base == 0 || (2..=36).contains(&base)) {
            return Ok(float(value)?.and_then(|f| truncated(f).ok()));
        }
        if let Some(found) = parse_int(text, u32::try_from(base).unwrap_or(10))? {
            return Ok(Some(found));
        }
        return match float(value)? {
            Some(float) if float.is_finite() => truncated(float).map(Some),
            _ => Ok(None),
        };
    }
    match Num::of(value) {
        Some(Num::Int(int)) => Ok(Some(int)),
        Some(Num::Float(float)) if float.is_nan() => Ok(None),
        Some(Num::Float(float)) => truncated(float).map(Some),
        None if value.is_undefined() => Err(error("an undefined value is no number")),
        None => Ok(None),
    }
}

/// Underscores stand between digits alone.
fn without_underscores(text: &str) -> Option<String> {
    let bad = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!bad).then(|| text.replace('_', ""))
}

fn parse_int(text: &str, base: u32) -> Result<Option<i128>, Error> {
    let text = strip(text, None, true, true);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    let prefixed = prefixes.iter().find_map(|&(prefix, of)| {
        (base == of || base == 0).then(|| digits.strip_prefix(prefix))?.map(|digits| (digits, of))
    });
    let (digits, base) = match prefixed {
        Some((digits, base)) => (digits.strip_prefix('_').unwrap_or(digits), base),
        None if base == 0 => {
            if digits.starts_with('0') && digits.chars().any(|c| !matches!(c, '0' | '_')) {
                return Ok(None);
            }
            (digits, 10)
        }
        None => (digits, base),
    };
    let Some(digits) = without_underscores(digits) else { return Ok(None) };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Ok(None);
    }
    let found = i128::from_str_radix(&digits, base).map_err(|_| error("an integer is beyond 128 bits"))?;
    Ok(Some(if negative { -found } else { found }))
}

/// `float(value)`, else `None`.
pub(super) fn float(value: &Value) -> Result<Option<f64>, Error> {
    let Some(text) = value.as_str() else {
        if value.kind() == ValueKind::Undefined {
            return Err(error("an undefined value is no number"));
        }
        return Ok(Num::of(value).map(Num::float));
    };
    charge_text(text.len())?;
    let text = strip(text, None, true, true);
    let Some(text) = without_underscores(text) else { return Ok(None) };
    // Rust reads the same numbers, and names of infinity and NaN, in any case.
    Ok(text.parse().ok())
}

fn round(value: Num, precision: i32, method: &str) -> Result<Value, Error> {
    let scale = 10f64.powi(precision);
    match (method, value) {
        ("common", Num::Int(int)) if precision >= 0 => Ok(Value::from(int)),
        ("common", Num::Int(int)) => {
            let Some(unit) = 10i128.checked_pow(precision.unsigned_abs()) else { return Ok(Value::from(0)) };
            let (whole, rest) = (int.div_euclid(unit), int.rem_euclid(unit));
            let up = rest * 2 > unit || (rest * 2 == unit && whole % 2 != 0);
            Ok(Value::from((whole + i128::from(up)) * unit))
        }
        ("common", Num::Float(float)) => {
            let rounded = if !float.is_finite() {
                float
            } else if precision >= 0 {
                format!("{float:.*}", precision.unsigned_abs() as usize).parse().unwrap_or(float)
            } else {
                (float * scale).round_ties_even() / scale
            };
            Ok(Value::from(rounded))
        }
        ("ceil", value) => Ok(Value::from((value.float() * scale).ceil() / scale)),
        ("floor", value) => Ok(Value::from((value.float() * scale).floor() / scale)),
        _ => Err(error("method must be common, ceil or floor")),
    }
}

fn file_size(size: f64, binary: bool) -> String {
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if size == 1.0 {
        return "1 Byte".to_owned();
    }
    if size < base {
        return format!("{} Bytes", size.trunc());
    }
    let names = if binary {
        ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    } else {
        ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    };
    let mut unit = base;
    for name in names {
        if size < unit * base || name.starts_with('Y') {
            return format!("{:.1} {name}", size / unit);
        }
        unit *= base;
    }
    String::new()
}
