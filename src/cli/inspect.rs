//! `ember inspect`: what is in a model file.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde_json::{Value as Json, json};

use crate::cli::engine;
use crate::cli::error::CliResult;
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::gguf::{Array, Gguf, GgufFile, TensorInfo, Value};

/// Array elements shown in JSON unless all are asked for.
const SHOWN: usize = 8;

/// Show a model file's metadata and tensors
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember inspect model.gguf\n  ember inspect smollm2 --json --full")]
pub struct InspectArgs {
    /// GGUF file, or the name of a model that is here
    #[arg(value_name = "FILE")]
    pub file: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Long arrays and texts in full
    #[arg(long)]
    pub full: bool,
}

/// Runs the command.
pub fn run(args: &InspectArgs) -> CliResult {
    let path = engine::here(&args.file)?;
    let file = GgufFile::open(&path)?;
    let gguf = file.header();
    let mut out = std::io::BufWriter::new(term::report(args.json));
    if args.json {
        writeln!(out, "{:#}", as_json(gguf, args.full))?;
    } else {
        writeln!(out, "{}", Paint::stdout().bold(show::path(&path)))?;
        print(&mut out, gguf, args.full)?;
    }
    out.flush()?;
    Ok(())
}

fn print(out: &mut dyn Write, gguf: &Gguf, full: bool) -> std::io::Result<()> {
    let paint = Paint::stdout();
    let weights: u64 = gguf.tensors.iter().map(TensorInfo::elements).sum();
    writeln!(
        out,
        "GGUF version {}, {} bytes; {} tensors, {} weights; data from byte {}, aligned to {}",
        gguf.version,
        term::grouped(gguf.file_len),
        gguf.tensors.len(),
        term::grouped(weights),
        term::grouped(gguf.data_offset),
        gguf.alignment,
    )?;
    writeln!(out, "\n{}", paint.bold(format!("Metadata ({})", gguf.metadata.len())))?;
    let keys: Vec<String> = gguf.metadata.iter().map(|(key, _)| show::line(key)).collect();
    let widest = keys.iter().map(String::len).max().unwrap_or(0);
    for (key, (_, value)) in keys.iter().zip(gguf.metadata.iter()) {
        // The lines of a long text stand apart from the keys.
        let shown = if full { in_full(value).replace('\n', "\n    ") } else { value.to_string() };
        writeln!(out, "  {key:widest$}  {:6}  {shown}", paint.dim(format!("{:6}", value.kind().name())))?;
    }
    writeln!(out, "\n{}", paint.bold(format!("Tensors ({})", gguf.tensors.len())))?;
    let names: Vec<String> = gguf.tensors.iter().map(|t| show::line(&t.name)).collect();
    let widest = names.iter().map(String::len).max().unwrap_or(0);
    for (name, tensor) in names.iter().zip(&gguf.tensors) {
        let shape = shape(tensor);
        writeln!(
            out,
            "  {name:widest$}  {shape:>16}  {:7} {:>15}",
            type_name(tensor),
            term::grouped(tensor.bytes)
        )?;
    }
    writeln!(out, "\n{}", paint.bold("Formats"))?;
    for (name, (count, bytes)) in formats(gguf) {
        writeln!(out, "  {name:7}  {count:>5} tensors  {:>10}", term::bytes(bytes))?;
    }
    Ok(())
}

fn type_name(tensor: &TensorInfo) -> &'static str {
    tensor.tensor_type().map_or("unknown", |t| t.name)
}

fn shape(tensor: &TensorInfo) -> String {
    if tensor.dims.is_empty() {
        return "scalar".into();
    }
    tensor.dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ")
}

/// Tensors and bytes by format.
fn formats(gguf: &Gguf) -> BTreeMap<&'static str, (usize, u64)> {
    let mut formats = BTreeMap::new();
    for tensor in &gguf.tensors {
        let entry = formats.entry(type_name(tensor)).or_insert((0, 0));
        *entry = (entry.0 + 1, entry.1 + tensor.bytes);
    }
    formats
}

fn in_full(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_string(),
        Value::Array(_) => json_value(value, true).to_string(),
        other => other.to_string(),
    }
}

fn as_json(gguf: &Gguf, full: bool) -> Json {
    let metadata: serde_json::Map<String, Json> =
        gguf.metadata.iter().map(|(key, value)| (key.to_owned(), json_value(value, full))).collect();
    let tensor = |t: &TensorInfo| json!({ "name": t.name, "dims": t.dims, "type": type_name(t), "offset": t.offset, "bytes": t.bytes });
    json!({
        "version": gguf.version,
        "bytes": gguf.file_len,
        "alignment": gguf.alignment,
        "data_offset": gguf.data_offset,
        "metadata": metadata,
        "tensors": gguf.tensors.iter().map(tensor).collect::<Vec<_>>(),
    })
}

fn json_value(value: &Value, full: bool) -> Json {
    match value {
        Value::Bool(b) => json!(b),
        Value::Str(text) => json!(&**text),
        Value::Array(array) => json_array(array, full),
        Value::U64(n) => json!(n),
        // The shortest decimal that is this number, not its 53-bit expansion.
        Value::F32(n) if n.is_finite() => json!(n.to_string().parse::<f64>().ok()),
        other => match (other.as_int(), other.as_f64()) {
            (Some(n), _) => json!(n as i64),
            // JSON has no infinities.
            (_, Some(n)) if n.is_finite() => json!(n),
            (_, n) => json!(n.map(|n| n.to_string())),
        },
    }
}

/// The elements; of a long array the first few with the length and kind.
fn json_array(array: &Array, full: bool) -> Json {
    let limit = if full { array.len() } else { SHOWN };
    let items: Vec<Json> = match array {
        Array::Str(items) => items.iter().take(limit).map(|s| json!(s)).collect(),
        Array::Bool(items) => items.iter().take(limit).map(|b| json!(b)).collect(),
        Array::Array(items) => items.iter().take(limit).map(|a| json_array(a, full)).collect(),
        Array::U64(items) => items.iter().take(limit).map(|n| json!(n)).collect(),
        Array::F32(items) => items.iter().take(limit).map(|n| json_value(&Value::F32(*n), full)).collect(),
        Array::F64(items) => items.iter().take(limit).map(|n| json_value(&Value::F64(*n), full)).collect(),
        ints => ints.to_ints::<i64>().unwrap_or_default().into_iter().take(limit).map(|n| json!(n)).collect(),
    };
    if items.len() == array.len() {
        return Json::Array(items);
    }
    json!({ "kind": array.kind().name(), "length": array.len(), "first": items })
}
