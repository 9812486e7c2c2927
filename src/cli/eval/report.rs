//! What was measured, as a table or as JSON.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::measure::{Count, Measured, Said};
use crate::cli::lora::in_words;
use crate::cli::perplexity::Score;
use crate::cli::show;
use crate::cli::term::Paint;
use crate::session::ActiveAdapter;
use crate::train::data::{Case, CaseKind};

/// Characters of a question or an answer that are shown.
const SHOWN: usize = 200;

pub(super) struct Report<'a> {
    pub file: &'a Path,
    pub model: &'a str,
    pub adapters: &'a [ActiveAdapter],
    pub cases: &'a [Case],
    pub skipped: u64,
    pub base: &'a Measured,
    pub adapted: Option<&'a Measured>,
    pub show: usize,
}

impl Report<'_> {
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let paint = Paint::stdout();
        for (index, case) in self.cases.iter().enumerate().take(self.show) {
            self.print_case(out, index, case)?;
        }
        let with = if self.adapters.is_empty() { String::new() } else { in_words(self.adapters) };
        let heading = match self.adapted {
            Some(_) => format!("{:24}{:>12}{:>14}", show::line(self.model), "base", "with adapter"),
            None => show::line(self.model),
        };
        writeln!(out, "{}", paint.bold(heading))?;
        self.perplexity(out, "text perplexity", |m| m.text)?;
        self.perplexity(out, "reply perplexity", |m| m.reply)?;
        self.share(out, "exact match", |m| m.exact)?;
        self.share(out, "contains", |m| m.contains)?;
        self.share(out, "multiple choice", |m| m.choice)?;
        self.share(out, "  per token", |m| m.choice_mean)?;
        let mut last = format!("{} row(s)", self.cases.len());
        if self.skipped > 0 {
            last.push_str(&format!(", {} skipped", self.skipped));
        }
        if !with.is_empty() {
            last.push_str(&format!("; adapter: {with}"));
        }
        writeln!(out, "{}", paint.dim(last))
    }

    /// A line of the table.
    fn line(
        &self,
        out: &mut dyn Write,
        name: &str,
        of: &dyn Fn(&Measured) -> String,
        counts: &str,
    ) -> io::Result<()> {
        write!(out, "{name:24}{:>12}", of(self.base))?;
        if let Some(adapted) = self.adapted {
            write!(out, "{:>14}", of(adapted))?;
        }
        writeln!(out, "   {}", Paint::stdout().dim(counts))
    }

    fn perplexity(&self, out: &mut dyn Write, name: &str, of: fn(&Measured) -> Score) -> io::Result<()> {
        let count = of(self.base).count();
        if count == 0 {
            return Ok(());
        }
        let text = |m: &Measured| format!("{:.3}", of(m).mean().exp());
        self.line(out, name, &text, &format!("{count} tokens"))
    }

    fn share(&self, out: &mut dyn Write, name: &str, of: fn(&Measured) -> Count) -> io::Result<()> {
        let count = of(self.base).of;
        if count == 0 {
            return Ok(());
        }
        let text = |m: &Measured| format!("{:.1}%", of(m).share() * 100.0);
        self.line(out, name, &text, &format!("{count} row(s)"))
    }

    fn print_case(&self, out: &mut dyn Write, index: usize, case: &Case) -> io::Result<()> {
        let paint = Paint::stdout();
        let asked = one_line(question(case));
        writeln!(out, "{} {asked}", paint.bold(format!("{}:{}:", show::path(self.file), case.line)))?;
        if let Some(expected) = expected(case) {
            writeln!(out, "  expected      {}", one_line(&expected.join(" | ")))?;
        }
        for (name, measured) in self.columns() {
            if let Some(said) = measured.said.get(index) {
                writeln!(out, "  {name:12}  {}", one_line(&told(case, said)))?;
            }
        }
        writeln!(out)
    }

    fn columns(&self) -> impl Iterator<Item = (&'static str, &Measured)> {
        [("base", Some(self.base)), ("with adapter", self.adapted)]
            .into_iter()
            .filter_map(|(name, measured)| Some((name, measured?)))
    }

    pub fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let case = |(index, case): (usize, &Case)| {
            let said = |m: &Measured| m.said.get(index).map(|said| said_json(case, said));
            json!({
                "line": case.line,
                "question": question(case),
                "expected": expected(case),
                "base": said(self.base),
                "adapted": self.adapted.map(said),
            })
        };
        let adapters: Vec<_> =
            self.adapters.iter().map(|a| json!({ "name": a.name, "scale": a.scale })).collect();
        let json = json!({
            "file": self.file,
            "model": self.model,
            "adapters": adapters,
            "rows": self.cases.len(),
            "skipped": self.skipped,
            "base": measured_json(self.base),
            "adapted": self.adapted.map(measured_json),
            "answers": self.cases.iter().enumerate().take(self.show).map(case).collect::<Vec<_>>(),
        });
        writeln!(out, "{json:#}")
    }
}

fn measured_json(measured: &Measured) -> Value {
    let score = |score: Score| {
        (score.count() > 0).then(|| {
            json!({
                "tokens": score.count(), "mean_nll": score.mean(), "standard_error": score.error(),
                "perplexity": score.mean().exp(),
            })
        })
    };
    let count = |count: Count| {
        (count.of > 0).then(|| json!({ "right": count.right, "of": count.of, "share": count.share() }))
    };
    json!({
        "text": score(measured.text),
        "reply": score(measured.reply),
        "exact": count(measured.exact),
        "contains": count(measured.contains),
        "choice": count(measured.choice),
        "choice_per_token": count(measured.choice_mean),
    })
}

fn said_json(case: &Case, said: &Said) -> Value {
    match said {
        Said::Read(nll) => json!({ "mean_nll": nll }),
        Said::Answer { text, right } => json!({ "answer": text, "right": right }),
        Said::Chose { sum, mean, sums } => json!({
            "answer": choice(case, *sum),
            "per_token": choice(case, *mean),
            "right": is_answer(case, *sum),
            "log_likelihoods": sums,
        }),
    }
}

fn question(case: &Case) -> &str {
    match &case.kind {
        CaseKind::Text(_) => "(text)",
        CaseKind::Answer { question, .. } | CaseKind::Choice { question, .. } => question,
    }
}

fn expected(case: &Case) -> Option<Vec<&str>> {
    match &case.kind {
        CaseKind::Text(_) => None,
        CaseKind::Answer { accepted, .. } => Some(accepted.iter().map(String::as_str).collect()),
        CaseKind::Choice { answer, .. } => Some(vec![choice(case, *answer)]),
    }
}

fn choice(case: &Case, index: usize) -> &str {
    match &case.kind {
        CaseKind::Choice { texts, .. } => texts.get(index).map_or("", String::as_str),
        _ => "",
    }
}

fn is_answer(case: &Case, index: usize) -> bool {
    matches!(&case.kind, CaseKind::Choice { answer, .. } if *answer == index)
}

/// What was said, and whether it is right.
fn told(case: &Case, said: &Said) -> String {
    let mark = |right: bool| if right { "✓" } else { "✗" };
    match said {
        Said::Read(nll) => format!("perplexity {:.3}", nll.exp()),
        Said::Answer { text, right } => format!("{} {text}", mark(*right)),
        Said::Chose { sum, .. } => format!("{} {}", mark(is_answer(case, *sum)), choice(case, *sum)),
    }
}

/// Its beginning, without control characters, which a data file or a model may have put there.
fn one_line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.trim().chars().take(SHOWN).map(printable).collect();
    if text.trim().chars().nth(SHOWN).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shown_by_their_beginning() {
        assert_eq!(one_line(" a\nb\u{1b}[31m "), "a b [31m");
        assert_eq!(one_line(&"é".repeat(500)).chars().count(), SHOWN + 1);
    }
}
