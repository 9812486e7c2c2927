//! Python's operators.

use std::cmp::Ordering;

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::show::{is_int, repr, text, type_name};
use super::value::{Dict, Key, Kind, Seq, items_of, list, tuple};
use super::work::{charge, charge_repeated, charge_text, error};
use super::{printf, wording};

/// A number; booleans are numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Num {
    Int(i128),
    Float(f64),
}

impl Num {
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value.kind() {
            ValueKind::Bool => Some(Self::Int(i128::from(value.is_true()))),
            ValueKind::Number if is_int(value) => i128::try_from(value.clone()).ok().map(Self::Int),
            ValueKind::Number => f64::try_from(value.clone()).ok().map(Self::Float),
            _ => None,
        }
    }

    pub(super) fn float(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }
}

fn too_large() -> Error {
    error("an integer is beyond 128 bits")
}

/// A text made of another: safe from escaping where that is.
pub(super) fn like(source: &Value, text: String) -> Value {
    if source.is_safe() { Value::from_safe_string(text) } else { Value::from(text) }
}

fn unsupported(op: &str, a: &Value, b: &Value) -> Error {
    if a.is_undefined() || b.is_undefined() {
        return error(format!("undefined value in {op}"));
    }
    error(format!("unsupported operand types for {op}: '{}' and '{}'", type_name(a), type_name(b)))
}

/// `a op b op c ...` of operators of one rank.
pub(super) fn chain(args: &[Value]) -> Result<Value, Error> {
    let (first, rest) = args.split_first().ok_or_else(|| error("no operand"))?;
    let mut sum = first.clone();
    for pair in rest.chunks_exact(2) {
        if let [op, right] = pair {
            sum = binary(op.as_str().unwrap_or_default(), &sum, right)?;
        }
    }
    Ok(sum)
}

pub(super) fn binary(op: &str, a: &Value, b: &Value) -> Result<Value, Error> {
    charge(1)?;
    if let (Some(a), Some(b)) = (Num::of(a), Num::of(b)) {
        return arithmetic(op, a, b);
    }
    let sequences = (a.downcast_object_ref::<Seq>(), b.downcast_object_ref::<Seq>());
    match (op, a.as_str(), b.as_str()) {
        ("+", Some(_), Some(_)) if a.is_safe() || b.is_safe() => {
            let (left, right) = (wording::escaped(a)?, wording::escaped(b)?);
            charge_text(left.len() + right.len())?;
            return Ok(Value::from_safe_string(left + &right));
        }
        ("+", Some(left), Some(right)) => {
            charge_text(left.len() + right.len())?;
            return Ok(Value::from(format!("{left}{right}")));
        }
        ("%", Some(pattern), _) if a.is_safe() => {
            return printf::percent(pattern, &wording::escaped_within(b)?).map(Value::from_safe_string);
        }
        ("%", Some(pattern), _) => return printf::percent(pattern, b).map(Value::from),
        _ => {}
    }
    match (op, sequences) {
        ("+", (Some(left), Some(right))) if left.kind == right.kind => {
            charge((left.len() + right.len()) as u64 / 2)?;
            let items = [left.items(), right.items()].concat();
            match left.kind {
                Kind::List => list(items),
                Kind::Tuple => tuple(items),
                _ => Err(unsupported(op, a, b)),
            }
        }
        ("*", _) => repeat(a, b).or_else(|| repeat(b, a)).unwrap_or_else(|| Err(unsupported(op, a, b))),
        ("|", _) => union(a, b).unwrap_or_else(|| Err(unsupported(op, a, b))),
        _ => Err(unsupported(op, a, b)),
    }
}

fn union(a: &Value, b: &Value) -> Option<Result<Value, Error>> {
    let (a, b) = (a.downcast_object_ref::<Dict>()?, b.downcast_object_ref::<Dict>()?);
    Some(Dict::make(a.entries.iter().chain(&b.entries).cloned()))
}

fn repeat(what: &Value, times: &Value) -> Option<Result<Value, Error>> {
    let Some(Num::Int(times)) = Num::of(times) else { return None };
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    if let Some(text) = what.as_str() {
        return Some(charge_repeated(text.len(), times).map(|()| like(what, text.repeat(times))));
    }
    let seq = what.downcast_object_ref::<Seq>()?;
    let make: fn(Vec<Value>) -> Result<Value, Error> = match seq.kind {
        Kind::List => list,
        Kind::Tuple => tuple,
        _ => return None,
    };
    let total = seq.len().saturating_mul(times);
    // Charged before the memory is taken.
    Some(
        charge(total as u64 / 2)
            .and_then(|()| make(seq.items().iter().cycle().take(total).cloned().collect())),
    )
}

fn arithmetic(op: &str, a: Num, b: Num) -> Result<Value, Error> {
    let zero = |b: Num| match b {
        Num::Int(b) => b == 0,
        Num::Float(b) => b == 0.0,
    };
    if matches!(op, "/" | "//" | "%") && zero(b) {
        return Err(error("division by zero"));
    }
    if let (Num::Int(a), Num::Int(b)) = (a, b)
        && !(op == "/" || (op == "**" && b < 0))
    {
        return integers(op, a, b).ok_or_else(too_large).map(Value::from);
    }
    let (a, b) = (a.float(), b.float());
    let result = match op {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "//" => floor_division(a, b),
        "%" => remainder(a, b),
        "**" if a == 0.0 && b < 0.0 => return Err(error("0.0 cannot be raised to a negative power")),
        "**" if a < 0.0 && b.fract() != 0.0 => return Err(error("complex numbers are not supported")),
        "**" => {
            let power = a.powf(b);
            if power.is_infinite() && a.is_finite() && b.is_finite() {
                return Err(error("the result is too large"));
            }
            power
        }
        _ => return Err(error(format!("unsupported operator {op}"))),
    };
    Ok(Value::from(result))
}

/// C's `fmod`, with the sign of the divisor.
fn remainder(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest + b
    } else if rest == 0.0 {
        0.0f64.copysign(b)
    } else {
        rest
    }
}

fn floor_division(a: f64, b: f64) -> f64 {
    let quotient = (a - remainder(a, b)) / b;
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

fn integers(op: &str, a: i128, b: i128) -> Option<i128> {
    match op {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "//" => {
            let quotient = a.checked_div(b)?;
            Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
        }
        "%" => {
            let rest = a.checked_rem(b)?;
            Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        "**" => match (a, u32::try_from(b)) {
            (0 | 1, _) => Some(if b == 0 { 1 } else { a }),
            (-1, _) => Some(if b % 2 == 0 { 1 } else { -1 }),
            (a, Ok(b)) => a.checked_pow(b),
            _ => None,
        },
        _ => None,
    }
}

/// `-value` and `+value`.
pub(super) fn signed(negative: bool, value: &Value) -> Result<Value, Error> {
    match Num::of(value) {
        Some(Num::Int(int)) => {
            let result = if negative { int.checked_neg() } else { Some(int) };
            result.map(Value::from).ok_or_else(too_large)
        }
        Some(Num::Float(float)) => Ok(Value::from(if negative { -float } else { float })),
        None => Err(error(format!("bad operand type for unary sign: '{}'", type_name(value)))),
    }
}

/// `a ~ b ~ c`.
pub(super) fn concatenate(args: &[Value]) -> Result<Value, Error> {
    let mut out = String::new();
    for arg in args {
        let part = text(arg)?;
        charge_text(out.len() / 16)?;
        out.push_str(&part);
    }
    Ok(Value::from(out))
}

/// `a < b in c ...`.
pub(super) fn compare(args: &[Value]) -> Result<Value, Error> {
    let (first, rest) = args.split_first().ok_or_else(|| error("no operand"))?;
    let mut left = first;
    for pair in rest.chunks_exact(2) {
        let [op, right] = pair else { continue };
        if !compare_two(op.as_str().unwrap_or_default(), left, right)? {
            return Ok(Value::from(false));
        }
        left = right;
    }
    Ok(Value::from(true))
}

pub(super) fn compare_two(op: &str, a: &Value, b: &Value) -> Result<bool, Error> {
    match op {
        "==" => equal(a, b),
        "!=" => Ok(!equal(a, b)?),
        "in" => contains(b, a),
        "notin" => Ok(!contains(b, a)?),
        _ => {
            let Some(order) = order(a, b)? else { return Ok(false) };
            Ok(match op {
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
    }
}

fn numbers(a: Num, b: Num) -> Option<Ordering> {
    match (a, b) {
        (Num::Int(a), Num::Int(b)) => Some(a.cmp(&b)),
        (a, b) => a.float().partial_cmp(&b.float()),
    }
}

/// `a == b`.
pub(super) fn equal(a: &Value, b: &Value) -> Result<bool, Error> {
    charge(1)?;
    if let (Some(a), Some(b)) = (Num::of(a), Num::of(b)) {
        return Ok(numbers(a, b) == Some(Ordering::Equal));
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        charge_text(a.len().min(b.len()) / 8)?;
        return Ok(a == b);
    }
    if let (Some(a), Some(b)) = (a.downcast_object_ref::<Seq>(), b.downcast_object_ref::<Seq>()) {
        if std::ptr::eq(a, b) {
            return Ok(true);
        }
        let ranges = |kind| matches!(kind, Kind::Range { .. });
        let comparable = a.kind == b.kind && !matches!(a.kind, Kind::Generator | Kind::Values);
        if !(comparable || (ranges(a.kind) && ranges(b.kind))) || a.len() != b.len() {
            return Ok(false);
        }
        for (a, b) in a.items().iter().zip(b.items()) {
            if !equal(a, b)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let (Some(a), Some(b)) = (a.downcast_object_ref::<Dict>(), b.downcast_object_ref::<Dict>()) {
        return equal_dicts(a, b);
    }
    if let (Some(a), Some(b)) = (a.as_object(), b.as_object()) {
        // Anything else is equal to itself alone.
        return Ok(std::ptr::addr_eq(address(a), address(b)));
    }
    Ok(a.kind() == b.kind() && matches!(a.kind(), ValueKind::None | ValueKind::Undefined))
}

/// Where an object lies.
fn address(object: &minijinja::value::DynObject) -> *const () {
    if let Some(namespace) = object.downcast_ref::<super::value::Namespace>() {
        return std::ptr::from_ref(namespace).cast();
    }
    if let Some(method) = object.downcast_ref::<super::value::Method>() {
        return std::ptr::from_ref(method).cast();
    }
    if let Some(seq) = object.downcast_ref::<Seq>() {
        return std::ptr::from_ref(seq).cast();
    }
    object.downcast_ref::<Dict>().map_or(std::ptr::null(), |dict| std::ptr::from_ref(dict).cast())
}

/// `a is b`.
pub(super) fn same(a: &Value, b: &Value) -> Result<bool, Error> {
    if let (Some(a), Some(b)) = (a.as_object(), b.as_object()) {
        return Ok(std::ptr::addr_eq(address(a), address(b)) && !address(a).is_null());
    }
    Ok(type_name(a) == type_name(b) && equal(a, b)?)
}

fn equal_dicts(a: &Dict, b: &Dict) -> Result<bool, Error> {
    if std::ptr::eq(a, b) {
        return Ok(true);
    }
    if a.entries.len() != b.entries.len() {
        return Ok(false);
    }
    for (key, value) in &a.entries {
        match b.get(key) {
            Some(other) if equal(value, other)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The order of two values; `None` with a NaN.
///
/// # Errors
/// If Python does not order them.
pub(super) fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, Error> {
    charge(1)?;
    if let (Some(a), Some(b)) = (Num::of(a), Num::of(b)) {
        return Ok(numbers(a, b));
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        charge_text(a.len().min(b.len()) / 8)?;
        return Ok(Some(a.cmp(b)));
    }
    if let (Some(x), Some(y)) = (a.downcast_object_ref::<Seq>(), b.downcast_object_ref::<Seq>())
        && x.kind == y.kind
        && matches!(x.kind, Kind::List | Kind::Tuple)
    {
        for (a, b) in x.items().iter().zip(y.items()) {
            if !equal(a, b)? {
                return order(a, b);
            }
        }
        return Ok(Some(x.len().cmp(&y.len())));
    }
    Err(error(format!("'{}' and '{}' cannot be ordered", type_name(a), type_name(b))))
}

/// For comparisons inside the engine, which cannot fail: the rendering fails at its end.
pub(super) fn order_for_engine(a: &Value, b: &Value) -> Ordering {
    match equal(a, b) {
        Ok(true) | Err(_) => Ordering::Equal,
        Ok(false) => order(a, b).ok().flatten().filter(|o| o.is_ne()).unwrap_or(Ordering::Less),
    }
}

/// `what in container`.
pub(super) fn contains(container: &Value, what: &Value) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        let Some(part) = what.as_str() else {
            return Err(error(format!("'in <string>' requires string, not {}", type_name(what))));
        };
        charge_text(text.len())?;
        return Ok(text.contains(part));
    }
    if let Some(dict) = container.downcast_object_ref::<Dict>() {
        Key::of(what)?;
        return Ok(dict.get(what).is_some());
    }
    for item in items_of(container)? {
        if equal(&item, what)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The places that `[start:stop:step]` of `len` items names, as Python counts them.
fn places(len: usize, start: &Value, stop: &Value, step: &Value) -> Result<Vec<usize>, Error> {
    let number = |value: &Value| match Num::of(value) {
        Some(Num::Int(int)) => Ok(Some(int)),
        _ if value.is_none() => Ok(None),
        _ => Err(error("slice indices must be integers or None")),
    };
    let len = len as i128;
    let step = number(step)?.unwrap_or(1);
    if step == 0 {
        return Err(error("slice step cannot be zero"));
    }
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |value: Option<i128>, default: i128| {
        value.map_or(default, |v| if v < 0 { v.saturating_add(len).max(low) } else { v.min(high) })
    };
    let (first, end) = if step > 0 { (low, high) } else { (high, low) };
    let (mut at, end) = (bound(number(start)?, first), bound(number(stop)?, end));
    let mut places = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        places.push(usize::try_from(at).unwrap_or_default());
        at = at.saturating_add(step);
    }
    Ok(places)
}

/// `value[start:stop:step]`.
pub(super) fn slice(value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        charge_text(text.len())?;
        let chars: Vec<char> = text.chars().collect();
        let taken = places(chars.len(), start, stop, step)?.into_iter().filter_map(|i| chars.get(i));
        return Ok(like(value, taken.collect()));
    }
    let Some(seq) = value.downcast_object_ref::<Seq>().filter(|seq| seq.kind.indexed()) else {
        if value.is_undefined() {
            return Err(error("an undefined value cannot be sliced"));
        }
        // As a failed look-up.
        return Ok(Value::UNDEFINED);
    };
    let found = places(seq.len(), start, stop, step)?;
    charge(found.len() as u64 / 2)?;
    let items = found.into_iter().filter_map(|i| seq.items().get(i).cloned()).collect();
    match seq.kind {
        Kind::Tuple => tuple(items),
        _ => list(items),
    }
}

/// `value[key]`: undefined where Python has nothing there.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(error(format!("an undefined value has no item {}", repr(key)?)));
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        if let Some(found) = dict.get(key) {
            return Ok(found.clone());
        }
    } else if let Some(Num::Int(at)) = Num::of(key) {
        let at_of = |len: usize| usize::try_from(if at < 0 { at + len as i128 } else { at }).ok();
        if let Some(text) = value.as_str() {
            let at = at_of(if at < 0 { text.chars().count() } else { 0 });
            return Ok(at.and_then(|at| text.chars().nth(at)).map_or(Value::UNDEFINED, Value::from));
        }
        let seq = value.downcast_object_ref::<Seq>().filter(|seq| seq.kind.indexed());
        let found = seq.and_then(|seq| seq.items().get(at_of(seq.len())?).cloned());
        return Ok(found.unwrap_or(Value::UNDEFINED));
    }
    match key.as_str() {
        Some(name) => super::methods::attribute_of(value, name),
        None => Ok(Value::UNDEFINED),
    }
}
