//! The `#candidate` lines of a shader: when a way to run its op is taken, with how many workgroups and which constants.
//!
//! ```text
//! #candidate order=4 on=software capacity=5..8 rows=8 one_slot if=cols%4 if=out<=32 if=!part grid=out/64,8,1 ROWS=8
//! ```
//! `order`: candidates of an op are tried from the smallest. `on`: the kind of device, else any. `capacity`: most active rows
//! that the plan can have; `rows`: most that the step has. `one_slot`: all token rows are of one slot. `if`: of a parameter, that
//! it is a multiple of, at most or above a number; of an optional argument, that it is there or (`!`) not. `grid`, one for each
//! entry point: workgroups in x, active rows that one in y takes, workgroups in z. Names in capitals are override constants.
//! Numbers may be `parameter/number`, rounded up, and `...<=most`.

use std::fmt::Write as _;

/// Where the words of an op's parameters are, by name.
pub type Fields = [(String, u32)];

/// The candidates of a shader's text as Rust; `overrides` and `entries` are what the shader has.
///
/// # Errors
/// A line that is no candidate, or names what is not there; none at all.
pub fn candidates(
    text: &str,
    fields: &Fields,
    overrides: &[String],
    entries: usize,
) -> Result<String, String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("#candidate "));
    let mut out = String::new();
    for line in lines {
        let one = candidate(line, fields, overrides, entries).map_err(|why| format!("`{line}`: {why}"))?;
        out.push_str(&one);
    }
    if out.is_empty() { Err("has no #candidate".into()) } else { Ok(out) }
}

#[derive(Default)]
struct Parts {
    order: Option<u32>,
    on: Option<&'static str>,
    capacity: Vec<(u32, u32)>,
    rows: Option<u32>,
    one_slot: bool,
    conditions: String,
    grids: Vec<String>,
    constants: String,
}

fn candidate(line: &str, fields: &Fields, overrides: &[String], entries: usize) -> Result<String, String> {
    let mut parts = Parts::default();
    for word in line.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "order" => parts.order = Some(number(value)?),
            "on" => parts.on = Some(kind(value)?),
            "capacity" => parts.capacity = value.split(',').map(range).collect::<Result<_, _>>()?,
            "rows" => parts.rows = Some(number(value)?),
            "one_slot" => parts.one_slot = true,
            "if" => parts.conditions += &condition(value, fields)?,
            "grid" => parts.grids.push(grid(value, fields)?),
            name if overrides.iter().any(|o| o == name) => {
                let _ = write!(parts.constants, "({name:?}, {}), ", expression(value, fields)?);
            }
            _ => return Err(format!("`{word}` is neither a condition nor a constant of the shader")),
        }
    }
    if parts.grids.len() != entries {
        return Err(format!("{} grids for {entries} entry points", parts.grids.len()));
    }
    let order = parts.order.ok_or("no order")?;
    let on = parts.on.map_or("None".into(), |kind| format!("Some(Tuning::{kind})"));
    Ok(format!(
        "Candidate {{ order: {order}, on: {on}, capacity: &{:?}, rows: {:?}, one_slot: {}, conditions: &[{}], \
         grids: &[{}], constants: &[{}] }}, ",
        parts.capacity,
        parts.rows,
        parts.one_slot,
        parts.conditions,
        parts.grids.concat(),
        parts.constants
    ))
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn kind(text: &str) -> Result<&'static str, String> {
    match text {
        "hardware" => Ok("Hardware"),
        "software" => Ok("Software"),
        _ => Err(format!("`{text}` is no kind of device")),
    }
}

/// `4`, `3..4` or `5..`, both ends included.
fn range(text: &str) -> Result<(u32, u32), String> {
    match text.split_once("..") {
        None => number(text).map(|n| (n, n)),
        Some((first, "")) => Ok((number(first)?, u32::MAX)),
        Some((first, last)) => Ok((number(first)?, number(last)?)),
    }
}

fn field(name: &str, fields: &Fields) -> Result<u32, String> {
    let found = fields.iter().find(|(field, _)| field == name);
    found.map(|(_, word)| *word).ok_or_else(|| format!("there is no parameter `{name}`"))
}

fn condition(text: &str, fields: &Fields) -> Result<String, String> {
    for (sign, what) in [("%", "MultipleOf"), ("<=", "AtMost"), (">", "Above")] {
        if let Some((name, limit)) = text.split_once(sign) {
            return Ok(format!("Condition::{what}({}, {}), ", field(name, fields)?, number(limit)?));
        }
    }
    // Whether the op has such an argument is seen when a call is made ready, as for bindings.
    match text.strip_prefix('!') {
        Some(name) => Ok(format!("Condition::Absent({name:?}), ")),
        None => Ok(format!("Condition::Present({text:?}), ")),
    }
}

fn grid(text: &str, fields: &Fields) -> Result<String, String> {
    let [x, rows, z] = text.split(',').collect::<Vec<_>>()[..] else {
        return Err(format!("`{text}` is not x,rows,z"));
    };
    Ok(format!("({}, {}, {}), ", expression(x, fields)?, number(rows)?, expression(z, fields)?))
}

fn expression(text: &str, fields: &Fields) -> Result<String, String> {
    let (text, most) = match text.split_once("<=") {
        Some((text, most)) => (text, number(most)?),
        None => (text, u32::MAX),
    };
    let (term, per) = match text.split_once('/') {
        Some((term, per)) => (term, number(per)?.max(1)),
        None => (text, 1),
    };
    let term = match term.parse::<u32>() {
        Ok(number) => format!("Term::Number({number})"),
        Err(_) => format!("Term::Parameter({})", field(term, fields)?),
    };
    Ok(format!("Expression {{ term: {term}, per: {per}, most: {most} }}"))
}
