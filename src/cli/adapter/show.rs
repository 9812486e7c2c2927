//! `ember adapter show`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};

use crate::adapter::{Adapter, LoraPair};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::gguf::GgufFile;

/// Show what an adapter changes
///
/// Norms are of the update s B A (Frobenius), over the layers that have it. With -m it is checked against that model.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// GGUF adapter
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Check that it belongs to this model: a file, or the name of a model that is here
    #[arg(short = 'm', long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Check only architecture and shapes
    #[arg(long, requires = "model")]
    force: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// The matrices of one kind, such as `attn_q`.
struct Kind<'a> {
    name: &'a str,
    shape: [usize; 2],
    /// Smallest and largest.
    ranks: [usize; 2],
    norms: Vec<f64>,
    parameters: usize,
}

impl Kind<'_> {
    fn mean(&self) -> f64 {
        self.norms.iter().sum::<f64>() / self.norms.len() as f64
    }

    fn largest(&self) -> f64 {
        self.norms.iter().copied().fold(0.0, f64::max)
    }
}

/// Runs the command.
pub fn run(args: &ShowArgs) -> CliResult {
    let adapter = super::open(&args.file)?;
    let kinds = kinds(&adapter);
    let mut out = std::io::BufWriter::new(term::report(args.json));
    if args.json {
        writeln!(out, "{:#}", as_json(&adapter, &kinds))?;
    } else {
        print(&mut out, args, &adapter, &kinds)?;
    }
    out.flush()?;
    if let Some(model) = &args.model {
        let base = GgufFile::open(engine::here(model)?)?;
        adapter.check_base(&base, args.force).map_err(|e| CliError::from(e).at(args.file.display()))?;
        let how = if adapter.base.is_some() && !args.force { "was trained on" } else { "has the shapes of" };
        term::say(format!("it {how} {}", base.path().display()));
    }
    Ok(())
}

fn kinds(adapter: &Adapter) -> Vec<Kind<'_>> {
    let mut kinds: Vec<Kind<'_>> = Vec::new();
    for pair in &adapter.pairs {
        let norm = f64::from(adapter.scale(pair).abs()) * pair.norm();
        let parameters = pair.a.len() + pair.b.len();
        let shape = [pair.outputs, pair.inputs];
        match kinds.iter_mut().find(|kind| kind.name == pair.kind() && kind.shape == shape) {
            Some(kind) => {
                kind.ranks = [kind.ranks[0].min(pair.rank), kind.ranks[1].max(pair.rank)];
                kind.norms.push(norm);
                kind.parameters += parameters;
            }
            None => kinds.push(Kind {
                name: pair.kind(),
                shape,
                ranks: [pair.rank; 2],
                norms: vec![norm],
                parameters,
            }),
        }
    }
    kinds
}

fn range([low, high]: [usize; 2]) -> String {
    if low == high { low.to_string() } else { format!("{low} to {high}") }
}

fn ranks(pairs: &[LoraPair]) -> [usize; 2] {
    let ranks = || pairs.iter().map(|pair| pair.rank);
    [ranks().min().unwrap_or(0), ranks().max().unwrap_or(0)]
}

fn print(out: &mut dyn Write, args: &ShowArgs, adapter: &Adapter, kinds: &[Kind<'_>]) -> std::io::Result<()> {
    let paint = Paint::stdout();
    let name =
        if adapter.name.is_empty() { String::new() } else { format!("  {}", show::line(&adapter.name)) };
    writeln!(out, "{}{name}", paint.bold(show::path(&args.file)))?;
    writeln!(
        out,
        "architecture {}, rank {}, alpha {}, {} matrices, {} parameters",
        show::line(&adapter.architecture),
        range(ranks(&adapter.pairs)),
        adapter.alpha,
        adapter.pairs.len(),
        term::grouped(adapter.parameters()),
    )?;
    if let Some(head) = &adapter.head {
        writeln!(
            out,
            "reward model: a head of {} numbers, norm {:.4} (`ember score`)",
            term::grouped(head.len() as u64),
            norm(head)
        )?;
    }
    match &adapter.base {
        Some(base) => {
            writeln!(
                out,
                "base {} ({}), {}",
                show::line(&base.name),
                term::bytes(base.file_len),
                base.sha256
            )?;
        }
        None => writeln!(out, "base unknown: checked by architecture and shapes only")?,
    }
    let heading = format!(
        "\n{:<12} {:>5} {:>14} {:>8} {:>12} {:>11} {:>11}",
        "matrix", "count", "shape", "rank", "parameters", "mean norm", "largest"
    );
    writeln!(out, "{}", paint.dim(heading))?;
    for kind in kinds {
        let [outputs, inputs] = kind.shape;
        writeln!(
            out,
            "{:<12} {:>5} {:>14} {:>8} {:>12} {:>11.4} {:>11.4}",
            show::line(kind.name),
            kind.norms.len(),
            format!("{outputs} x {inputs}"),
            range(kind.ranks),
            term::grouped(kind.parameters as u64),
            kind.mean(),
            kind.largest(),
        )?;
    }
    if !adapter.info.is_empty() {
        writeln!(out, "\n{}", paint.bold("Training"))?;
        let widest = adapter.info.keys().map(String::len).max().unwrap_or(0).min(40);
        for (key, value) in &adapter.info {
            writeln!(out, "  {:widest$}  {}", show::line(key), show::line(value))?;
        }
    }
    if !adapter.ignored.is_empty() {
        writeln!(
            out,
            "\nwithout effect: {}",
            adapter.ignored.iter().map(|n| show::line(n)).collect::<Vec<_>>().join(", ")
        )?;
    }
    Ok(())
}

/// Euclidean norm.
fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

fn as_json(adapter: &Adapter, kinds: &[Kind<'_>]) -> Json {
    let base = adapter.base.as_ref();
    let base = base.map(|b| json!({ "sha256": b.sha256, "name": b.name, "bytes": b.file_len }));
    let kind = |kind: &Kind<'_>| {
        json!({
            "matrix": kind.name,
            "count": kind.norms.len(),
            "outputs": kind.shape[0],
            "inputs": kind.shape[1],
            "ranks": kind.ranks,
            "parameters": kind.parameters,
            "mean_norm": kind.mean(),
            "largest_norm": kind.largest(),
        })
    };
    json!({
        "name": adapter.name,
        "architecture": adapter.architecture,
        "alpha": adapter.alpha,
        "ranks": ranks(&adapter.pairs),
        "parameters": adapter.parameters(),
        "head": adapter.head.as_ref().map(|head| json!({ "numbers": head.len(), "norm": norm(head) })),
        "base": base,
        "kinds": kinds.iter().map(kind).collect::<Vec<_>>(),
        "targets": adapter.pairs.iter().map(|pair| &pair.target).collect::<Vec<_>>(),
        "info": adapter.info,
        "ignored": adapter.ignored,
    })
}
