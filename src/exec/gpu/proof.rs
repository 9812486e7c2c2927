//! Candidates have to agree with their CPU twins on this device before they run. What was found is remembered: by the process,
//! and in a folder where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Gpu;
use super::calls::chosen;
use super::id::CandidateId;
use super::kernels::{KERNELS, SHADERS};
use super::launch::Allowed;
use super::preferences::Preferences;
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

/// The candidates that a program may be given on this device, in the order of these preferences: those that it would take and
/// are not known yet are proven first.
///
/// # Errors
/// [`ExecError::Wrong`] if no right ones are left for an op, and those of running the cases.
pub fn prove(gpu: &Gpu, program: &Program, preferences: Preferences) -> Result<Allowed, ExecError> {
    let allowed = Allowed { preferences: Arc::new(preferences), ..gpu.allowed() };
    remembering(gpu, |verdicts| {
        settle(program, allowed, verdicts, &mut |allowed, ids| run_on(gpu, allowed, ids))
    })
}

/// Proves candidates, and gives all that the device is known to get wrong.
///
/// # Errors
/// Those of running the cases.
pub fn prove_each(gpu: &Gpu, ids: &BTreeSet<CandidateId>) -> Result<BTreeSet<CandidateId>, ExecError> {
    remembering(gpu, |verdicts| {
        examine(&gpu.allowed(), ids, verdicts, &mut |allowed, ids| run_on(gpu, allowed, ids))?;
        Ok(verdicts.wrong())
    })
}

/// Does something with what is known of a device, and keeps what became of it.
fn remembering<T>(
    gpu: &Gpu,
    work: impl FnOnce(&mut Verdicts) -> Result<T, ExecError>,
) -> Result<T, ExecError> {
    let key = key(gpu);
    let file = gpu.options.notes.as_deref().map(|folder| file(folder, &key));
    let mut verdicts = known(&key, file.as_deref());
    let before = verdicts.0.len();
    let done = work(&mut verdicts);
    if verdicts.0.len() > before {
        // Where nothing can be written it is found out again next time.
        let _ = file.map(|file| notes::write(&file, &verdicts.text()));
    }
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(key, verdicts);
    done
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
        let taken: BTreeSet<CandidateId> = ways.iter().flatten().flatten().map(|choice| choice.id).collect();
        if taken.iter().all(|id| verdicts.0.contains_key(id)) {
            return Ok(allowed);
        }
        examine(&allowed, &taken, verdicts, test)?;
    }
}

/// Settles what is not known yet of candidates, whichever kind of device they are for.
fn examine(
    allowed: &Allowed,
    ids: &BTreeSet<CandidateId>,
    verdicts: &mut Verdicts,
    test: &mut Test<'_>,
) -> Result<(), ExecError> {
    loop {
        let allowed = Allowed { wrong: verdicts.wrong(), ..allowed.unmeasured() };
        let mut unknown: BTreeSet<CandidateId> =
            ids.iter().filter(|id| !verdicts.0.contains_key(id)).copied().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        match run_all_of(&mut unknown, &allowed, verdicts, test) {
            Ok(()) => {
                let no_case = || Some("no case of the self-test runs on it".to_owned());
                verdicts.0.extend(unknown.into_iter().map(|id| (id, no_case())));
            }
            Err(ExecError::Shader { kernel, why }) => {
                let broken = unknown.iter().filter(|id| KERNELS[id.kernel].name() == kernel);
                let broken: Vec<CandidateId> = broken.copied().collect();
                if broken.is_empty() {
                    return Err(ExecError::Shader { kernel, why });
                }
                let why = format!("does not compile: {why}");
                verdicts.0.extend(broken.into_iter().map(|id| (id, Some(why.clone()))));
            }
            Err(other) => return Err(other),
        }
    }
}

/// Tests candidates as a device like this takes them, then as others do, until each was run.
fn run_all_of(
    unknown: &mut BTreeSet<CandidateId>,
    allowed: &Allowed,
    verdicts: &mut Verdicts,
    test: &mut Test<'_>,
) -> Result<(), ExecError> {
    for allowed in others(allowed) {
        if unknown.is_empty() {
            break;
        }
        let reports = test(&allowed, unknown)?;
        reports.iter().for_each(|report| verdicts.note(report));
        unknown.retain(|id| !verdicts.0.contains_key(id));
    }
    Ok(())
}

/// A device, and those that take other candidates: of the other kind, and without what some of them require.
fn others(allowed: &Allowed) -> Vec<Allowed> {
    let other = Allowed { tuning: allowed.tuning.other(), ..allowed.clone() };
    let plain = |allowed: &Allowed| Allowed { features: wgpu::Features::empty(), ..allowed.clone() };
    let mut all = vec![allowed.clone(), other];
    if !allowed.features.is_empty() {
        all.extend([plain(&all[0]), plain(&all[1])]);
    }
    all
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
pub fn key(gpu: &Gpu) -> String {
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

/// Has a device known to get a candidate wrong.
#[cfg(test)]
pub fn condemn(gpu: &Gpu, id: CandidateId) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(key(gpu)).or_default().0.insert(id, Some("it was off".into()));
}

#[cfg(test)]
mod tests;
