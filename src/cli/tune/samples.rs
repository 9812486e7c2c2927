//! Shows a few completions with their rewards while a run learns from them.

use std::io::{self, Write};

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_width::UnicodeWidthChar;

use crate::cli::term::Paint;

/// Lines that a completion may take.
const LINES: usize = 3;

/// A completion to show.
#[derive(Clone, Copy, Debug)]
pub struct SampleView<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// What the model wrote.
    pub completion: &'a str,
    /// Its total reward; NaN for one that is not learnt from, `None` if nobody judges.
    pub reward: Option<f64>,
    /// Names and values of the parts.
    pub parts: &'a [(String, f64)],
}

/// Prints the samples, none wider than `width` columns: the rewards, a line of the prompt, up to three of the completion.
/// Long texts lose their middle; line ends show as `⏎`, and characters that would steer the terminal are escaped.
///
/// # Errors
/// The writer's.
pub fn print(samples: &[SampleView<'_>], width: usize, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    for sample in samples {
        let parts: Vec<String> = sample
            .parts
            .iter()
            .map(|(name, value)| format!("{} {}", cut(name, 24), amount(*value)))
            .collect();
        if let Some(total) = sample.reward.map(amount) {
            let parts = cut(&parts.join(", "), width.saturating_sub(total.len() + 2));
            writeln!(out, "{}  {}", paint.bold(&total), paint.dim(parts))?;
        }
        let inner = width.saturating_sub(2).max(8);
        writeln!(out, "  {}", paint.dim(cut(sample.prompt, inner)))?;
        for line in lines(sample.completion, inner) {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

fn amount(value: f64) -> String {
    if value.is_nan() { "unusable".into() } else { format!("{value:.3}") }
}

/// A character as it is shown: itself, a sign for a line's end, or an escape.
fn visible(c: char) -> String {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, Unassigned};
    match c {
        '\n' => "⏎".into(),
        '\t' => " ".into(),
        // The joiner within emoji.
        '\u{200d}' => c.into(),
        _ => match get_general_category(c) {
            Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | Unassigned => {
                c.escape_default().to_string()
            }
            _ => c.into(),
        },
    }
}

/// Columns that a shown text takes.
fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Most characters without a width of their own that are shown one behind another.
const MARKS: usize = 4;

/// The text on one line of at most `max` columns: its beginning and, behind `…`, its end.
fn cut(text: &str, max: usize) -> String {
    let text = text.trim();
    let (head, complete) = take(text.chars(), max);
    if complete {
        return head.concat();
    }
    let room = max.saturating_sub(1);
    let (head, _) = take(text.chars(), room - room / 3);
    let (mut tail, _) = take(text.chars().rev(), room / 3);
    tail.reverse();
    format!("{}…{}", head.concat(), tail.concat())
}

/// Shown characters up to `max` columns, and whether that was all. Only as much of the text is looked at as is shown.
fn take(chars: impl Iterator<Item = char>, max: usize) -> (Vec<String>, bool) {
    let (mut taken, mut used, mut marks) = (Vec::new(), 0, 0);
    for c in chars {
        let shown = visible(c);
        let wide = columns(&shown);
        marks = if wide == 0 { marks + 1 } else { 0 };
        if used + wide > max || marks > MARKS {
            return (taken, false);
        }
        used += wide;
        taken.push(shown);
    }
    (taken, true)
}

/// As many lines as a completion may take: broken at blanks, or anywhere if that needs more. A wide character may leave
/// the last column of a line empty.
fn lines(text: &str, width: usize) -> Vec<String> {
    let text = cut(text, (width - 1) * LINES);
    let lines = wrapped(&text, width, true);
    if lines.len() <= LINES { lines } else { wrapped(&text, width, false) }
}

/// Lines of at most `width` columns, at least 2.
pub(in crate::cli) fn wrapped(text: &str, width: usize, at_blanks: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for c in text.chars() {
        if columns(&line) + c.width().unwrap_or(0) > width {
            let rest = match line.rfind(' ') {
                Some(blank) if at_blanks && c != ' ' => line.split_off(blank + 1),
                _ => String::new(),
            };
            lines.push(std::mem::replace(&mut line, rest).trim_end().to_owned());
        }
        if !(line.is_empty() && c == ' ') {
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(sample: SampleView<'_>, width: usize) -> String {
        let mut out = Vec::new();
        print(&[sample], width, Paint::none(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_sample_is_its_rewards_its_prompt_and_its_completion() {
        let parts = [("exact".to_owned(), 1.0), ("length:60".to_owned(), 0.25)];
        let sample = SampleView {
            prompt: "Which\ncity?",
            completion: "Paris.\n\nI think.",
            reward: Some(1.125),
            parts: &parts,
        };
        assert_eq!(
            shown(sample, 60),
            "1.125  exact 1.000, length:60 0.250\n  Which⏎city?\n  Paris.⏎⏎I think.\n"
        );
        let unusable = SampleView { reward: Some(f64::NAN), completion: "", parts: &[], ..sample };
        assert_eq!(shown(unusable, 60), "unusable  \n  Which⏎city?\n  \n");
    }

    #[test]
    fn long_texts_lose_their_middle() {
        let words = (0..500).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
        let text =
            shown(SampleView { prompt: &words, completion: &words, reward: Some(0.0), parts: &[] }, 40);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("  w0 w1") && lines[1].ends_with("w499") && lines[1].contains('…'),
            "{text}"
        );
        assert_eq!(lines.len(), 2 + LINES, "{text}");
        assert!(lines[lines.len() - 1].ends_with("w499"), "{text}");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let nasty = "\u{1b}[2J\r\u{7}\u{202e}abc\u{2028}\u{85}\u{e000}";
        let text = shown(
            SampleView { prompt: nasty, completion: nasty, reward: Some(0.0), parts: &[(nasty.into(), 0.0)] },
            120,
        );
        assert!(text.contains("\\u{1b}[2J\\r\\u{7}\\u{202e}abc"), "{text}");
        assert!(
            !text.chars().any(|c| c != '\n' && matches!(visible(c).chars().next(), Some('\\')) && c != '\\')
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(text in any::<String>(), wide in "[漢字かな🐈a ]{0,200}", width in 40usize..120) {
            for text in [&text, &wide] {
                let parts = [(text.clone(), 0.5), (text.clone(), f64::INFINITY)];
                let shown = shown(SampleView { prompt: text, completion: text, reward: Some(-1.0), parts: &parts }, width);
                for line in shown.lines() {
                    prop_assert!(columns(line) <= width, "{line}");
                }
                prop_assert!(shown.lines().count() <= 2 + LINES, "{shown}");
            }
        }
    }
}
