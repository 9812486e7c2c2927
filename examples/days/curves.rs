//! What came of a session, as a line and as curves.

use std::fmt::Write as _;

use super::FACTS;

/// What came of a session.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Day {
    pub session: usize,
    pub taught: usize,
    /// Facts that are known as asked.
    pub known: usize,
    /// Those of this session that are.
    pub known_new: usize,
    /// Facts that are not known, by their place in the order of teaching.
    pub unknown: Vec<usize>,
    /// Of fixed texts: of the base, and now.
    pub perplexity: (f64, f64),
    /// Answers in circles: of the base, and now.
    pub circles: (f64, f64),
    pub steps: u64,
    pub seconds: f64,
    pub outcome: String,
}

fn percent(of: usize, all: usize) -> f64 {
    100.0 * of as f64 / all.max(1) as f64
}

fn rise((base, now): (f64, f64)) -> f64 {
    100.0 * (now / base - 1.0)
}

/// A day in one line.
pub fn line(day: &Day) -> String {
    format!(
        "session {:2}: {:3} of {:3} known ({:3.0}%), {} of {} new; perplexity {:.2} ({:+.1}%); circles {} ({}); \
         {} steps, {:.0} s; {}",
        day.session,
        day.known,
        day.taught,
        percent(day.known, day.taught),
        day.known_new,
        FACTS,
        day.perplexity.1,
        rise(day.perplexity),
        day.circles.1,
        day.circles.0,
        day.steps,
        day.seconds,
        day.outcome
    )
}

/// A curve: its title, its colour, the values of its lower and upper edge, and what it shows of a session.
type Curve = (&'static str, &'static str, f64, f64, fn(&Day) -> f64);

/// Recall, perplexity and circles, one below the other; dashed what the base has.
pub fn curves(days: &[Day]) -> String {
    const CURVES: [Curve; 3] = [
        ("facts known, %", "#2563eb", 0.0, 100.0, |day| percent(day.known, day.taught)),
        ("perplexity of fixed texts, % above the base's", "#b45309", -5.0, 20.0, |day| rise(day.perplexity)),
        ("answers in circles", "#15803d", 0.0, 8.0, |day| day.circles.1),
    ];
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 480\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"640\" height=\"480\" fill=\"white\"/>\n",
    );
    let x = |session: usize| 50.0 + 560.0 * session as f64 / days.len().max(30) as f64;
    let bases = [None, Some(0.0), days.first().map(|day| day.circles.0)];
    for (place, (title, colour, low, high, value)) in CURVES.iter().enumerate() {
        let top = 30.0 + 150.0 * place as f64;
        let y = |v: f64| top + 110.0 * (1.0 - ((v - low) / (high - low)).clamp(0.0, 1.0));
        let mut points = String::new();
        for day in days {
            let _ = write!(points, "{:.1},{:.1} ", x(day.session), y(value(day)));
        }
        let bottom = top + 110.0;
        let _ = write!(
            svg,
            "<text x=\"50\" y=\"{:.0}\">{title}</text>\n<path d=\"M50 {top}V{bottom}H610\" stroke=\"#888\" \
             fill=\"none\"/>\n<text x=\"45\" y=\"{:.0}\" text-anchor=\"end\">{high}</text>\n<text x=\"45\" y=\"{bottom}\" \
             text-anchor=\"end\">{low}</text>\n<polyline points=\"{points}\" stroke=\"{colour}\" stroke-width=\"2\" \
             fill=\"none\"/>\n",
            top - 6.0,
            top + 8.0
        );
        if let Some(base) = bases[place] {
            let _ =
                writeln!(svg, "<path d=\"M50 {:.1}H610\" stroke=\"#888\" stroke-dasharray=\"4\"/>", y(base));
        }
    }
    for session in (5..=days.len().max(30)).step_by(5) {
        let _ =
            writeln!(svg, "<text x=\"{:.0}\" y=\"456\" text-anchor=\"middle\">{session}</text>", x(session));
    }
    svg + "<text x=\"610\" y=\"474\" text-anchor=\"end\">session</text>\n</svg>\n"
}
