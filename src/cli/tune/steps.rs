//! What is told of a run's steps: the metrics file, the progress line, samples of what the model writes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::error::{CliError, CliResult};
use crate::cli::progress::Bar;
use crate::cli::term::{self, Paint};
use crate::cli::tune::samples::{self, SampleView};
use crate::io::private;
use crate::train::StepReport;

/// What is shown of what the model writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Samples {
    /// So many of a step's texts.
    pub count: usize,
    /// At the first step, and then after so many.
    pub every: u64,
}

impl Samples {
    /// Those of a step that are shown, if it is one of those steps: from all over the step, as texts on one prompt lie
    /// side by side.
    fn of<'a>(&self, r: &'a StepReport) -> Vec<SampleView<'a>> {
        if !(r.step == 1 || r.step.is_multiple_of(self.every.max(1))) {
            return Vec::new();
        }
        let count = self.count.min(r.samples.len());
        let chosen = (0..count).filter_map(|i| r.samples.get(i * r.samples.len() / count));
        chosen
            .map(|s| SampleView {
                prompt: &s.prompt,
                completion: &s.completion,
                reward: s.reward,
                parts: &s.parts,
            })
            .collect()
    }
}

/// The metrics file. It is only ever appended to, and cut after the step that a run is resumed from: whenever the program is
/// killed, the lines of all steps up to that one are there.
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens it, for its owner alone, at a step.
    pub fn open(path: &Path, step: u64) -> CliResult<Self> {
        let fail = |e: std::io::Error| CliError::file(path, &e);
        let mut options = private::options();
        let mut file = options.read(true).append(true).create(true).open(path).map_err(fail)?;
        private::tighten(&file);
        let kept = kept_bytes(&mut file, step).map_err(fail)?;
        if kept < file.metadata().map_err(fail)?.len() {
            file.set_len(kept).map_err(fail)?;
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Forces what was added to the disk.
    pub fn sync(&mut self) -> CliResult {
        self.file.sync_data().map_err(|e| CliError::file(&self.path, &e))
    }

    /// Adds a step.
    pub fn write(&mut self, r: &StepReport) -> CliResult {
        let mut line = json!({
            "step": r.step,
            "epoch": r.epoch,
            "loss": r.loss,
            "grad_norm": r.grad_norm,
            "lr": r.rate,
            "targets": r.targets,
            "rows": r.rows,
            "seconds": r.took.as_secs_f64(),
        });
        if let Some(loss) = r.validation {
            line["validation_loss"] = json!(loss);
            line["best"] = json!(r.best);
        }
        if let Some(kept) = r.anchor_loss {
            line["kept"] = json!(kept);
        }
        for (name, value) in &r.metrics {
            line[name] = json!(value);
        }
        if r.skipped {
            line["skipped"] = json!(true);
        }
        if !r.notes.is_empty() {
            line["notes"] = json!(r.notes);
        }
        self.line(&line)
    }

    /// Adds what the model wrote in a step.
    pub fn samples(&mut self, r: &StepReport) -> CliResult {
        let line =
            |s: &crate::train::Sample| json!({ "step": r.step, "prompt": s.prompt, "text": s.completion });
        r.samples.iter().try_for_each(|sample| self.line(&line(sample)))
    }

    fn line(&mut self, line: &serde_json::Value) -> CliResult {
        // One write, so that a line is there as a whole or as the torn end that is cut off.
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| CliError::file(&self.path, &e))
    }

    /// (step, value) of the whole run, and of its validations, with what the value is: the reward where there is one.
    #[allow(clippy::type_complexity)]
    pub fn curves(&self) -> CliResult<(&'static str, Vec<(u64, f64)>, Vec<(u64, f64)>)> {
        let text = std::fs::read_to_string(&self.path).map_err(|e| CliError::file(&self.path, &e))?;
        let (mut train, mut rewards, mut validation) = (vec![], vec![], vec![]);
        for line in text.lines() {
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let Some(step) = line["step"].as_u64() else { continue };
            train.extend(line["loss"].as_f64().map(|loss| (step, loss)));
            rewards.extend(line["reward"].as_f64().map(|reward| (step, reward)));
            validation.extend(line["validation_loss"].as_f64().map(|loss| (step, loss)));
        }
        Ok(if rewards.is_empty() { ("loss", train, validation) } else { ("reward", rewards, validation) })
    }
}

/// Bytes up to the first line that is of a later step, or torn.
fn kept_bytes(file: &mut File, step: u64) -> std::io::Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut kept, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        let number = serde_json::from_slice::<serde_json::Value>(&line).ok().and_then(|v| v["step"].as_u64());
        if read == 0 || line.last() != Some(&b'\n') || number.is_some_and(|n| n > step) {
            return Ok(kept);
        }
        kept += read as u64;
    }
}

/// Metrics that the progress line shows, with their short names.
const SHOWN: [(&str, &str); 9] = [
    ("reward", "reward"),
    ("reward_std", "+-"),
    ("kl", "kl"),
    ("entropy", "entropy"),
    ("clip_fraction", "clip"),
    ("length", "length"),
    ("margin", "margin"),
    ("accuracy", "acc"),
    ("validation_accuracy", "val acc"),
];

/// ` reward 0.31 +- 0.12 kl 0.020`
pub fn shown(metrics: &[(String, f64)]) -> String {
    let value = |name: &str| metrics.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    let all = SHOWN.iter().filter_map(|(name, short)| Some(format!(" {short} {:.3}", value(name)?)));
    all.collect()
}

/// Progress: a bar with the latest numbers.
pub struct Meter {
    bar: Bar,
    /// When it was made.
    pub begun: Instant,
    rows: u64,
    busy: Duration,
    validation: Option<f64>,
    /// Seconds of each of [`PARTS`].
    parts: [f64; PARTS.len()],
    /// Notes of the last step.
    said: Vec<String>,
    /// Steps, and those that were skipped.
    steps: (u64, u64),
}

/// What the time of a step in which the model writes goes into: metrics, and what people call them.
const PARTS: [(&str, &str); 3] =
    [("rollout_seconds", "writing"), ("reward_seconds", "judging"), ("update_seconds", "learning")];

impl Meter {
    /// Of so many steps, some of which are done.
    pub fn new(total: u64, done: u64) -> Self {
        let mut bar = Bar::phase("training", total);
        bar.item(done, "");
        bar.start_from(done);
        let parts = [0.0; PARTS.len()];
        Self {
            bar,
            begun: Instant::now(),
            rows: 0,
            busy: Duration::ZERO,
            validation: None,
            parts,
            said: vec![],
            steps: (0, 0),
        }
    }

    /// Whether the model wrote, and all steps were skipped.
    pub fn idle(&self) -> bool {
        self.parts().is_some() && self.steps.0 == self.steps.1
    }

    /// `time: 61% writing, 1% judging, 38% learning`
    pub fn parts(&self) -> Option<String> {
        let all: f64 = self.parts.iter().sum();
        let share =
            |((_, what), seconds): (&(&str, &str), &f64)| format!("{:.0}% {what}", seconds * 100.0 / all);
        let shares: Vec<String> = PARTS.iter().zip(&self.parts).map(share).collect();
        (all > 0.0).then(|| format!("time: {}", shares.join(", ")))
    }

    /// Shows a step.
    pub fn show(&mut self, r: &StepReport, samples: &Samples) {
        for ((name, _), sum) in PARTS.iter().zip(&mut self.parts) {
            *sum += r.metrics.iter().find(|(n, _)| n == name).map_or(0.0, |(_, seconds)| *seconds);
        }
        self.show_samples(r, samples);
        self.rows += r.rows;
        self.busy += r.took;
        self.validation = r.validation.or(self.validation);
        let rate = self.rows as f64 / self.busy.as_secs_f64().max(1e-9);
        let validation = self.validation.map_or(String::new(), |v| format!(" val {v:.3}"));
        let kept = r.anchor_loss.map_or(String::new(), |k| format!(" kept {k:.3}"));
        let memory = term::peak_memory().map_or(String::new(), |b| format!(" {}", term::bytes(b)));
        let shown = shown(&r.metrics);
        let line = format!(
            "loss {:.3}{validation}{kept}{shown} grad {:.2} lr {:.1e} {rate:.0} tok/s{memory}",
            r.loss, r.grad_norm, r.rate
        );
        // What is said again and again is said at every tenth step; the metrics have all of it.
        let again = r.notes == self.said && !r.step.is_multiple_of(10);
        for note in r.notes.iter().filter(|_| !again) {
            self.bar.say(format!("step {}: {note}", r.step));
        }
        self.said.clone_from(&r.notes);
        self.steps = (self.steps.0 + 1, self.steps.1 + u64::from(r.skipped));
        if r.skipped && r.notes.is_empty() {
            let what = format!("step {}: loss {} or gradient {} is not finite", r.step, r.loss, r.grad_norm);
            self.bar.say(format!("{what}: the step is skipped"));
        }
        self.bar.item(r.step, &line);
    }

    fn show_samples(&self, r: &StepReport, samples: &Samples) {
        let (views, mut text) = (samples.of(r), Vec::new());
        // Writing to memory does not fail.
        if !views.is_empty() && samples::print(&views, term::width(), Paint::stderr(), &mut text).is_ok() {
            self.bar.say(format!("step {}:\n{}", r.step, String::from_utf8_lossy(&text).trim_end()));
        }
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        self.bar.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kill may come at any byte that was written: what is there then must keep the steps that were saved.
    #[test]
    fn a_cut_at_any_byte_keeps_the_steps_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let line = |step: u64| format!("{{\"step\":{step},\"loss\":1.5}}\n");
        let whole: String = (1..=6).map(line).collect();
        let three: String = (1..=3).map(line).collect();
        for end in three.len()..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            drop(Metrics::open(&path, 3).unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), three, "killed at byte {end}");
            // What was cut short once more goes on the same way.
            let mut again = Metrics::open(&path, 3).unwrap();
            again.file.write_all(line(4).as_bytes()).unwrap();
            drop(again);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{three}{}", line(4)));
        }
        // At no step nothing of steps stays; a line that is no step's does.
        std::fs::write(&path, format!("{{\"note\":1}}\n{whole}")).unwrap();
        drop(Metrics::open(&path, 0).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"note\":1}\n");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        std::fs::write(&path, b"").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        drop(Metrics::open(&path, 0).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
