//! An explanation in a terminal.

use std::io::{self, Write};

use unicode_width::UnicodeWidthChar;

use super::Shown;
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::cli::tune::{curve, samples};
use crate::explain::{
    Answer, Explanation, LayerView, Next, Report, TEMPERATURES, TrainingRun, token_text, visible,
};

/// Columns of a token's name beside the grid.
const NAME: usize = 12;
/// Temperatures that are shown, by their index in [`TEMPERATURES`]: 0.5, 1 and 1.5.
const SHOWN: [usize; 3] = [4, 9, 14];
/// Samples of a run that are shown.
const SAMPLES: usize = 4;

/// Signs that the terminal can show.
struct Signs {
    /// From hardly anything to nearly all.
    shades: [char; 5],
    bar: char,
    half: char,
    blank: char,
    more: &'static str,
}

const BLOCKS: Signs =
    Signs { shades: ['·', '░', '▒', '▓', '█'], bar: '█', half: '▌', blank: '␣', more: "…" };
const ASCII: Signs = Signs { shades: ['.', '-', '+', 'x', '#'], bar: '#', half: '-', blank: '_', more: ".." };

/// Shares from which on the next shade is drawn.
const STEPS: [f32; 4] = [0.02, 0.1, 0.3, 0.6];

struct Printer<'a> {
    report: &'a Report<'a>,
    paint: Paint,
    signs: Signs,
    width: usize,
    out: &'a mut dyn Write,
}

/// Prints the report, none of its lines wider than the terminal.
pub(super) fn print(report: &Report<'_>, shown: Shown, out: &mut dyn Write) -> io::Result<()> {
    let signs = if curve::utf8() { BLOCKS } else { ASCII };
    let mut printer = Printer { report, paint: Paint::stdout(), signs, width: term::width().min(120), out };
    printer.tokens()?;
    printer.attention(shown)?;
    printer.layers()?;
    printer.next()?;
    if let Some(run) = report.run {
        printer.run(run)?;
    }
    if !report.answers.is_empty() {
        printer.answers(report.answers)?;
    }
    Ok(())
}

impl Printer<'_> {
    fn explanation(&self) -> &Explanation {
        self.report.explanation
    }

    /// A token's text with its blanks as signs.
    fn token(&self, id: u32) -> String {
        let text = visible(&token_text(self.report.tokenizer, id));
        if text.is_empty() { "(empty)".into() } else { text.replace(' ', &self.signs.blank.to_string()) }
    }

    fn at(&self, position: usize) -> String {
        self.token(self.explanation().tokens[position])
    }

    /// As in the list of tokens.
    fn numbered(&self, position: usize) -> String {
        format!("{}:{}", position + 1, fit(&self.at(position), 20, self.signs.more))
    }

    fn heading(&mut self, title: &str, about: &str) -> io::Result<()> {
        writeln!(self.out, "{}", self.paint.bold(title))?;
        self.small(about)
    }

    /// A text in dim lines.
    fn small(&mut self, text: &str) -> io::Result<()> {
        for line in samples::wrapped(text, self.width, true) {
            writeln!(self.out, "{}", self.paint.dim(line))?;
        }
        Ok(())
    }

    fn bar(&self, share: f64, columns: usize) -> String {
        let halves = (share.clamp(0.0, 1.0) * (2 * columns) as f64).round() as usize;
        let mut bar: String = std::iter::repeat_n(self.signs.bar, halves / 2).collect();
        bar.extend((halves % 2 == 1).then_some(self.signs.half));
        let gap = columns - bar.chars().count();
        let bar = if bar.is_empty() { bar } else { self.paint.cyan(bar) };
        format!("{bar}{}", " ".repeat(gap))
    }

    fn tokens(&mut self) -> io::Result<()> {
        let n = self.explanation().tokens.len();
        let blank = self.signs.blank;
        self.heading("Tokens", &format!("The text in the pieces that the model reads; {blank} is a blank."))?;
        let mut line = String::new();
        for position in 0..n {
            let name = fit(&self.at(position), self.width.saturating_sub(8), self.signs.more);
            let piece = format!("{}:{name}", position + 1);
            if !line.is_empty() && columns(&line) + 2 + columns(&piece) > self.width {
                writeln!(self.out, "{line}")?;
                line.clear();
            }
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(&piece);
        }
        writeln!(self.out, "{line}\n")
    }

    /// Weights of a position's row as shown.
    fn weights(&self, shown: Shown, position: usize) -> Vec<f32> {
        let e = self.explanation();
        match shown.head {
            Some(head) => e.attention(shown.layer, head, position).to_vec(),
            None => e.mean_attention(shown.layer, position),
        }
    }

    fn attention(&mut self, shown: Shown) -> io::Result<()> {
        let e = self.explanation();
        let (n, layers, heads) = (e.tokens.len(), e.layers.len(), e.heads);
        let who = match shown.head {
            Some(head) => format!("head {} of {heads}", head + 1),
            None => format!("mean of {heads} heads"),
        };
        let [none, few, some, many, most] = self.signs.shades;
        let about = format!(
            "Each line is a token that looks, each column one that is looked at: itself and what is before it, never \
             ahead. {none} under 2%  {few} from 2%  {some} from 10%  {many} from 30%  {most} from 60%"
        );
        self.heading(&format!("Attention: layer {} of {layers}, {who}", shown.layer + 1), &about)?;
        let room = self.width - NAME - 6;
        let cell = if 2 * n <= room { 2 } else { 1 };
        let first = n.saturating_sub(room / cell);
        if first > 0 {
            self.small(&format!("The first {first} tokens are left out here; --html shows all."))?;
        }
        let header: String = (first + 1..=n).map(|c| format!("{:>cell$}", c % 10)).collect();
        writeln!(self.out, "{}{}", " ".repeat(NAME + 5), self.paint.dim(header))?;
        for position in first..n {
            let row: String = self.weights(shown, position)[first..]
                .iter()
                .map(|w| self.signs.shades[STEPS.iter().filter(|step| w >= *step).count()])
                .flat_map(|shade| std::iter::repeat_n(shade, cell))
                .collect();
            let name = padded(&fit(&self.at(position), NAME, self.signs.more), NAME);
            writeln!(self.out, "{:>3} {name} {}", position + 1, self.paint.cyan(row))?;
        }
        self.most_seen(shown)?;
        writeln!(self.out)
    }

    /// What the last token looks at.
    fn most_seen(&mut self, shown: Shown) -> io::Result<()> {
        let last = self.explanation().tokens.len() - 1;
        let weights = self.weights(shown, last);
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        let most = order.into_iter().take(4).filter(|i| weights[*i] >= 0.005);
        let seen: Vec<String> = most
            .map(|i| {
                let name = if i == last { "itself".into() } else { self.numbered(i) };
                format!("{name} {:.1}%", weights[i] * 100.0)
            })
            .collect();
        let line = format!("{} looks at {}", self.numbered(last), seen.join(", "));
        for line in samples::wrapped(&line, self.width, true) {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn layers(&mut self) -> io::Result<()> {
        let last = self.explanation().tokens.len() - 1;
        let name = fit(&self.at(last), 20, self.signs.more);
        self.heading(
            &format!("Layers: what each adds at the last token, {name}"),
            "How much attention and the feed-forward add, the tokens that the feed-forward's part points to, and what \
             the model would answer if the layer were the last.",
        )?;
        let heading = format!("{:>5}  {:<13}  {:<13}  ", "layer", "attention", "feed-forward");
        let words = self.width - 57;
        let heading = format!("{heading}{:<words$}  {}", "it points to", "answer so far");
        writeln!(self.out, "{}", self.paint.dim(heading))?;
        let e = self.report.explanation;
        let both = |l: &LayerView| l.by_attention[last].max(l.by_feed_forward[last]);
        let most = e.layers.iter().map(both).fold(f32::MIN_POSITIVE, f32::max);
        for (index, layer) in e.layers.iter().enumerate() {
            let size = |value: f32| format!("{} {:>7}", self.bar(f64::from(value / most), 5), number(value));
            let (attention, forward) = (size(layer.by_attention[last]), size(layer.by_feed_forward[last]));
            let added = layer.added.last().map_or_else(String::new, |top| self.words(&top.tokens, words));
            let guess = layer.guess.last().and_then(|top| top.tokens.first());
            let guess = guess.map_or_else(String::new, |(id, share)| {
                let name = padded(&fit(&self.token(*id), 11, self.signs.more), 11);
                format!("{name} {:>5}", percent(f64::from(*share)))
            });
            let line =
                format!("{:>5}  {attention}  {forward}  {}  {guess}", index + 1, padded(&added, words));
            writeln!(self.out, "{}", line.trim_end())?;
        }
        writeln!(self.out)
    }

    /// As many tokens as fit.
    fn words(&self, tokens: &[(u32, f32)], width: usize) -> String {
        let mut line = String::new();
        for (id, _) in tokens {
            let word = fit(&self.token(*id), width, self.signs.more);
            let gap = usize::from(!line.is_empty());
            if columns(&line) + gap + columns(&word) > width {
                break;
            }
            line.push_str(&" ".repeat(gap));
            line.push_str(&word);
        }
        line
    }

    fn next(&mut self) -> io::Result<()> {
        let Some(next) = self.report.explanation.next.last() else { return Ok(()) };
        self.heading(
            "Next token",
            "The likeliest, and what temperature makes of their chances: a low one prefers the likeliest even more, a \
             high one gives others a chance.",
        )?;
        let names: Vec<String> =
            SHOWN.iter().map(|i| format!("{:>7}", format!("T={}", TEMPERATURES[*i]))).collect();
        writeln!(self.out, "{}", self.paint.dim(format!("    {:<20} {}", "token", names.join(" "))))?;
        let shares: Vec<(Vec<f64>, f64)> = SHOWN.iter().map(|i| next.probabilities(*i)).collect();
        let room = (self.width - 52).min(40);
        for (rank, (id, _)) in next.top.iter().enumerate() {
            let name = padded(&fit(&self.token(*id), 20, self.signs.more), 20);
            let each: Vec<String> =
                shares.iter().map(|(own, _)| format!("{:>7}", percent(own[rank]))).collect();
            let bar = self.bar(shares[1].0[rank], room);
            let line = format!("{:>3} {name} {}  {bar}", rank + 1, each.join(" "));
            writeln!(self.out, "{}", line.trim_end())?;
        }
        self.others(next, &shares, room)
    }

    fn others(&mut self, next: &Next, shares: &[(Vec<f64>, f64)], room: usize) -> io::Result<()> {
        let others = self.report.model.config().vocab.saturating_sub(next.top.len());
        if others > 0 {
            let name = padded(&format!("{} others", term::grouped(others as u64)), 20);
            let each: Vec<String> = shares.iter().map(|(_, rest)| format!("{:>7}", percent(*rest))).collect();
            let bar = self.bar(shares[1].1, room);
            writeln!(self.out, "{}", format!("    {name} {}  {bar}", each.join(" ")).trim_end())?;
        }
        Ok(())
    }

    fn run(&mut self, run: &TrainingRun) -> io::Result<()> {
        writeln!(self.out)?;
        self.heading(
            &format!("Training: {}", show::line(&run.name)),
            "The loss by step: how surprised the model was by the text that it learned from.",
        )?;
        if let (Some((from, begun)), Some((to, ended))) = (run.loss.first(), run.loss.last()) {
            if let Some(line) = curve::sparkline(&run.loss, self.width) {
                writeln!(self.out, "{}", self.paint.cyan(line))?;
            }
            writeln!(self.out, "{begun:.3} at step {from}, {ended:.3} at step {to}")?;
        }
        let count = run.samples.len().min(SAMPLES);
        for i in 0..count {
            let sample = &run.samples[i * (run.samples.len() - 1) / (count - 1).max(1)];
            let text = format!("step {}: {}{}", sample.step, visible(&sample.prompt), visible(&sample.text));
            for line in samples::wrapped(&text, self.width, true).into_iter().take(3) {
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(())
    }

    /// Side by side where each has some room, else one below another.
    fn answers(&mut self, answers: &[Answer]) -> io::Result<()> {
        writeln!(self.out)?;
        self.heading("Answers", "Of each model to the text, always taking the likeliest token.")?;
        let beside = (self.width + 2) / answers.len() >= 22;
        let each = if beside { (self.width + 2) / answers.len() - 2 } else { self.width };
        let blocks: Vec<Vec<String>> =
            answers.iter().map(|answer| block(answer, each, self.signs.more)).collect();
        for group in blocks.chunks(if beside { answers.len() } else { 1 }) {
            let height = group.iter().map(Vec::len).max().unwrap_or(0);
            for line in 0..height {
                let cells =
                    group.iter().map(|block| padded(block.get(line).map_or("", String::as_str), each));
                writeln!(self.out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
            }
            if !beside {
                writeln!(self.out)?;
            }
        }
        Ok(())
    }
}

/// An answer in lines of a width: what the model is called, how it was asked, what it said.
fn block(answer: &Answer, width: usize, more: &str) -> Vec<String> {
    let mut lines = vec![fit(&show::line(&answer.label), width, more)];
    lines.extend(samples::wrapped(&format!("({})", answer.manner), width, true));
    let end = if answer.ended { String::new() } else { format!(" {more}") };
    for line in format!("{}{end}", answer.text).lines() {
        lines.extend(samples::wrapped(&visible(line), width, true));
    }
    lines
}

/// Columns of a shown text.
fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text, or its beginning and a sign that there is more, in so many columns.
fn fit(text: &str, width: usize, more: &str) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let (mut cut, mut used) = (String::new(), columns(more));
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(c);
    }
    cut + more
}

/// With blanks behind it up to a width.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// A share in percent, in at most six columns.
fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.0005 { "<0.1%".into() } else { format!("{:.1}%", share * 100.0) }
}

/// A length in at most seven columns.
fn number(value: f32) -> String {
    match value {
        v if v < 100_000.0 => format!("{v:.1}"),
        v => format!("{v:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_columns() {
        assert_eq!((fit("short", 5, "…"), fit("longer", 5, "…")), ("short".into(), "long…".into()));
        assert_eq!((fit("漢字漢字", 5, "…"), columns("漢字…")), ("漢字…".into(), 5));
        assert_eq!(padded("漢", 4), "漢  ");
        assert_eq!(
            (percent(0.0), percent(0.0004), percent(1.0)),
            ("0.0%".into(), "<0.1%".into(), "100.0%".into())
        );
        assert_eq!(
            (number(1.26), number(99_999.0), number(1e9)),
            ("1.3".into(), "99999.0".into(), "1.0e9".into())
        );
    }
}
