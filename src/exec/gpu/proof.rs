//! Candidates have to agree with their CPU twins on this device before they run. What was found is remembered: by the process,
//! and in a folder where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Gpu;
use super::calls::chosen;
use super::kernels::{KERNELS, SHADERS};
use super::launch::{Allowed, CandidateId};
use super::selftest::{CaseReport, run_on};
use crate::exec::{ExecError, notes};
use crate::plan::Program;

/// What is known of a device's candidates: nothing was wrong, or what was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdicts(BTreeMap<CandidateId, Option<String>>);

/// What the process knows, by device.
static KNOWN: Mutex<BTreeMap<String, Verdicts>> = Mutex::new(BTreeMap::new());

/// Runs the self-test's cases on candidates that are not known yet.
type Test<'a> = dyn FnMut(&Allowed, &BTreeSet<CandidateId>) -> Result<Vec<CaseReport>, ExecError> + 'a;

/// The candidates that a program may be given on this device: those that it would take and are not known yet are proven first.
///
/// # Errors
/// [`ExecError::Wrong`] if no right ones are left for an op, and those of running the cases.
pub fn prove(gpu: &Gpu, program: &Program) -> Result<Allowed, ExecError> {
    let key = key(gpu);
    let file = gpu.options.notes.as_deref().map(|folder| file(folder, &key));
    let mut verdicts = known(&key, file.as_deref());
    let before = verdicts.0.len();
    let allowed =
        settle(program, gpu.allowed(), &mut verdicts, &mut |allowed, ids| run_on(gpu, allowed, ids));
    if verdicts.0.len() > before {
        // Where nothing can be written it is found out again next time.
        let _ = file.map(|file| notes::write(&file, &verdicts.text()));
    }
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(key, verdicts);
    allowed
}

/// What the process knows of a device, else what a file says.
fn known(key: &str, file: Option<&Path>) -> Verdicts {
    let held = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
    held.or_else(|| Verdicts::parse(&notes::read(file?)?)).unwrap_or_default()
}

/// The candidates that this device is known to get wrong, and what was wrong.
pub fn left_out(gpu: &Gpu) -> Vec<(String, String)> {
    let key = key(gpu);
    let file = gpu.options.notes.as_deref().map(|folder| file(folder, &key));
    let wrong = known(&key, file.as_deref()).0.into_iter().filter_map(|(id, why)| Some((id.name(), why?)));
    wrong.collect()
}

/// Proves what a program would take, and what it would take instead of what is wrong, until all that it takes is right.
fn settle(
    program: &Program,
    mut allowed: Allowed,
    verdicts: &mut Verdicts,
    test: &mut Test<'_>,
) -> Result<Allowed, ExecError> {
    loop {
        allowed.wrong = verdicts.wrong();
        let ways = chosen(program, &allowed)?;
        let taken = ways.iter().flatten().flatten().map(|choice| choice.id);
        let unknown: BTreeSet<CandidateId> = taken.filter(|id| !verdicts.0.contains_key(id)).collect();
        if unknown.is_empty() {
            return Ok(allowed);
        }
        match test(&allowed, &unknown) {
            Ok(reports) => {
                reports.iter().for_each(|report| verdicts.note(report));
                for id in unknown {
                    verdicts
                        .0
                        .entry(id)
                        .or_insert_with(|| Some("no case of the self-test runs on it".into()));
                }
            }
            Err(ExecError::Shader { kernel, why }) => {
                let broken = unknown.iter().filter(|id| KERNELS[id.kernel].name() == kernel);
                let broken: Vec<CandidateId> = broken.copied().collect();
                if broken.is_empty() {
                    return Err(ExecError::Shader { kernel, why });
                }
                verdicts
                    .0
                    .extend(broken.into_iter().map(|id| (id, Some(format!("does not compile: {why}")))));
            }
            Err(other) => return Err(other),
        }
    }
}

impl Verdicts {
    /// Takes a case into account: one that fails is enough.
    fn note(&mut self, report: &CaseReport) {
        let Some(id) = report.id else { return };
        let verdict = self.0.entry(id).or_default();
        if let (None, Some(failure)) = (&verdict, &report.failure) {
            *verdict = Some(format!("{}: {failure}", report.name));
        }
    }

    fn wrong(&self) -> BTreeSet<CandidateId> {
        self.0.iter().filter(|(_, wrong)| wrong.is_some()).map(|(id, _)| *id).collect()
    }

    /// One candidate a line, by its places in the table: `right 12 0`, `wrong 12 1 why`.
    fn text(&self) -> String {
        let mut text = String::new();
        for (id, wrong) in &self.0 {
            let _ = match wrong {
                None => writeln!(text, "right {} {}", id.kernel, id.candidate),
                Some(why) => {
                    writeln!(text, "wrong {} {} {}", id.kernel, id.candidate, why.replace(['\n', '\r'], " "))
                }
            };
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut words = line.splitn(4, ' ');
            let verdict = words.next()?;
            let id =
                CandidateId { kernel: words.next()?.parse().ok()?, candidate: words.next()?.parse().ok()? };
            KERNELS.get(id.kernel)?.candidates.get(id.candidate)?;
            match verdict {
                "right" => Some((id, None)),
                "wrong" => Some((id, Some(words.next().unwrap_or_default().to_owned()))),
                _ => None,
            }
        };
        text.lines().map(line).collect::<Option<_>>().map(Self)
    }
}

/// What a verdict depends on: adapter, driver, features and limits it was opened with, and all shaders.
fn key(gpu: &Gpu) -> String {
    let device = &gpu.device;
    let parts = [
        env!("CARGO_PKG_VERSION").to_owned(),
        device.info.name.clone(),
        device.info.driver.clone(),
        format!("{:?} {:?} {}", device.features, device.limits, gpu.options.checked),
        format!("{SHADERS:x}"),
    ];
    notes::digest(&parts)
}

fn file(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("proof-{}.txt", key.get(..16).unwrap_or(key)))
}

#[cfg(test)]
mod tests;
