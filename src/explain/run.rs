//! What is known of a training run: its losses, and what the model wrote as it learned.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Longest file that is read.
const MOST_BYTES: u64 = 256 << 20;
/// Most samples that are kept, evenly over the run.
const MOST_SAMPLES: usize = 100;
/// Most characters of a sample's prompt and text.
const MOST_CHARS: usize = 2000;

/// Why a run cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file cannot be read.
    #[error("cannot read `{path}`: {}", crate::io::in_words(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No metrics where they should be.
    #[error(
        "there are no metrics of a run `{run}`: `{path}` is missing; training writes it beside its result"
    )]
    NoMetrics {
        /// What was asked for.
        run: PathBuf,
        /// Where they should be.
        path: PathBuf,
    },
    /// Not one loss among the metrics.
    #[error(
        "`{path}` has no step with a loss; a run's metrics have lines such as {{\"step\": 1, \"loss\": 2.5}}"
    )]
    NoLoss {
        /// The metrics.
        path: PathBuf,
    },
    /// A line that is not what it should be.
    #[error("`{path}`, line {line}: {why}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1 on.
        line: usize,
        /// What was wrong.
        why: String,
    },
    /// A file that is no record of a run.
    #[error("`{path}` is larger than {} MB, which no record of a run should be", MOST_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// What the model wrote at a step.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Sample {
    /// The step.
    pub step: u64,
    /// What it was given.
    pub prompt: String,
    /// What it wrote.
    pub text: String,
}

/// A run's record.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct TrainingRun {
    /// Its name.
    pub name: String,
    /// (step, loss), as trained; only finite ones.
    pub loss: Vec<(u64, f64)>,
    /// (step, loss) of texts that were kept back.
    pub validation: Vec<(u64, f64)>,
    /// What it wrote, by step.
    pub samples: Vec<Sample>,
}

impl TrainingRun {
    /// Reads what lies beside `output`, `NAME` or `NAME.gguf`: `NAME.metrics.jsonl`, one JSON object a step, and, where it is
    /// there, `NAME.samples.jsonl` with lines `{"step": 100, "prompt": "…", "text": "…"}`.
    ///
    /// # Errors
    /// [`RunError`]: metrics that are missing or have no loss, and lines that are no JSON, apart from a torn last one.
    pub fn open(output: &Path) -> Result<Self, RunError> {
        let stem = match output.extension() {
            Some(ending) if ending == "gguf" => output.with_extension(""),
            _ => output.to_owned(),
        };
        let beside = |ending: &str| {
            let mut name = stem.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let (metrics, samples) = (beside(".metrics.jsonl"), beside(".samples.jsonl"));
        if !metrics.exists() {
            return Err(RunError::NoMetrics { run: output.to_owned(), path: metrics });
        }
        let name = stem.file_name().unwrap_or(stem.as_os_str()).to_string_lossy().into_owned();
        let mut run = Self { name, ..Self::default() };
        lines(&metrics, &mut |row| {
            // Lines without a step are notes.
            let Some(step) = row["step"].as_u64() else { return Ok(()) };
            run.loss.extend(row["loss"].as_f64().map(|loss| (step, loss)));
            run.validation.extend(row["validation_loss"].as_f64().map(|loss| (step, loss)));
            Ok(())
        })?;
        if run.loss.is_empty() {
            return Err(RunError::NoLoss { path: metrics });
        }
        if samples.exists() {
            lines(&samples, &mut |row| {
                run.samples.push(sample(row)?);
                Ok(())
            })?;
            run.samples.sort_by_key(|sample| sample.step);
            run.samples = spread(std::mem::take(&mut run.samples), MOST_SAMPLES);
        }
        Ok(run)
    }
}

/// At most `most` points of a curve, two at least: the first, and means of neighbouring ones, at the last step of each group.
pub(super) fn thinned(points: &[(u64, f64)], most: usize) -> Vec<(u64, f64)> {
    let Some((first, points)) = points.split_first() else { return vec![] };
    let groups = (most - 1).clamp(1, points.len().max(1));
    let group = |i: usize| &points[i * points.len() / groups..(i + 1) * points.len() / groups];
    let mean = |group: &[(u64, f64)]| {
        let (step, _) = *group.last()?;
        Some((step, group.iter().map(|p| p.1).sum::<f64>() / group.len() as f64))
    };
    std::iter::once(*first).chain((0..groups).filter_map(|i| mean(group(i)))).collect()
}

/// At most `most` of the items, the first and the last among them.
fn spread<T>(items: Vec<T>, most: usize) -> Vec<T> {
    if items.len() <= most {
        return items;
    }
    let last = items.len() - 1;
    let chosen: std::collections::BTreeSet<usize> = (0..most).map(|i| i * last / (most - 1)).collect();
    items.into_iter().enumerate().filter(|(i, _)| chosen.contains(i)).map(|(_, item)| item).collect()
}

fn sample(row: &Value) -> Result<Sample, String> {
    let text = |key: &str| {
        let text = row[key].as_str().ok_or_else(|| format!("`{key}` is missing, or no text"))?;
        let cut = text.char_indices().nth(MOST_CHARS).map_or(text.len(), |(at, _)| at);
        Ok::<_, String>(if cut < text.len() { format!("{}…", &text[..cut]) } else { text.to_owned() })
    };
    let step = row["step"].as_u64().ok_or("`step` is missing, or no whole number")?;
    let prompt = if row["prompt"].is_null() { String::new() } else { text("prompt")? };
    Ok(Sample { step, prompt, text: text("text")? })
}

/// Gives each line's JSON object.
fn lines(path: &Path, each: &mut dyn FnMut(&Value) -> Result<(), String>) -> Result<(), RunError> {
    let fail = |source| RunError::Read { path: path.to_owned(), source };
    // A pipe that nobody writes to would be waited for.
    let there = std::fs::metadata(path).map_err(fail)?;
    if !there.is_file() {
        return Err(fail(std::io::Error::other("it is no plain file")));
    }
    if there.len() > MOST_BYTES {
        return Err(RunError::TooLarge { path: path.to_owned() });
    }
    let mut reader = BufReader::new(File::open(path).map_err(fail)?.take(MOST_BYTES));
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(fail)? == 0 {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let whole = bytes.last() == Some(&b'\n');
        let wrong = |why: String| RunError::Line { path: path.to_owned(), line, why };
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(row) if row.is_object() => each(&row).map_err(wrong)?,
            // A run that was killed may leave half a line.
            Err(_) if !whole => break,
            Ok(_) => return Err(wrong("is no JSON object".into())),
            Err(error) => return Err(wrong(format!("is no JSON ({error})"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(metrics: &str, samples: Option<&str>) -> Result<TrainingRun, RunError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.metrics.jsonl"), metrics).unwrap();
        if let Some(samples) = samples {
            std::fs::write(dir.path().join("mine.samples.jsonl"), samples).unwrap();
        }
        TrainingRun::open(&dir.path().join("mine.gguf"))
    }

    #[test]
    fn a_run_is_its_losses_and_what_it_wrote() {
        let metrics = "{\"note\":1}\n{\"step\":1,\"loss\":3.5}\n\n{\"step\":2,\"loss\":null}\n\
            {\"step\":3,\"loss\":2.5,\"validation_loss\":2.75}\n{\"step\":4,\"lo";
        let samples =
            "{\"step\":3,\"prompt\":\"a\",\"text\":\"c\"}\n{\"step\":1,\"text\":\"b\",\"more\":[]}\n";
        let run = written(metrics, Some(samples)).unwrap();
        assert_eq!((run.name.as_str(), run.loss.as_slice()), ("mine", &[(1, 3.5), (3, 2.5)][..]));
        assert_eq!(run.validation, [(3, 2.75)]);
        let steps: Vec<_> =
            run.samples.iter().map(|s| (s.step, s.prompt.as_str(), s.text.as_str())).collect();
        assert_eq!(steps, [(1, "", "b"), (3, "a", "c")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = "{\"step\":1,\"loss\":3.5}\n";
        for (metrics, samples, says) in [
            ("{\"step\":1}\n", None, "no step with a loss"),
            ("{\"step\":1,\"loss\":2}\nnonsense\n", None, "line 2: is no JSON"),
            ("[1]\n", None, "line 1: is no JSON object"),
            (good, Some("{\"step\":1}\n"), "mine.samples.jsonl`, line 1: `text` is missing"),
            (good, Some("\n{\"step\":-1,\"text\":\"x\"}\n"), "line 2: `step` is missing"),
            (good, Some("{\"step\":1,\"text\":\"x\",\"prompt\":7}\n"), "`prompt` is missing, or no text"),
        ] {
            let error = written(metrics, samples).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let error = TrainingRun::open(Path::new("nowhere/mine")).unwrap_err().to_string();
        assert!(error.contains("nowhere/mine.metrics.jsonl") && error.contains("missing"), "{error}");
    }

    #[test]
    fn long_runs_and_long_texts_are_cut() {
        let samples: String =
            (0..500).map(|i| format!("{{\"step\":{i},\"text\":\"{}\"}}\n", "é".repeat(3000))).collect();
        let run = written("{\"step\":1,\"loss\":1}\n", Some(&samples)).unwrap();
        assert_eq!(run.samples.len(), MOST_SAMPLES);
        assert_eq!((run.samples[0].step, run.samples[MOST_SAMPLES - 1].step), (0, 499));
        assert_eq!(run.samples[0].text.chars().count(), MOST_CHARS + 1);
        let points: Vec<(u64, f64)> = (1..=1000).map(|i| (i, i as f64)).collect();
        let thin = thinned(&points, 10);
        assert_eq!((thin.len(), thin[0], thin[1], thin[9].0), (10, (1, 1.0), (112, 57.0), 1000));
        assert_eq!(thinned(&points[..3], 10), points[..3]);
        assert!(thinned(&[], 10).is_empty());
    }
}
