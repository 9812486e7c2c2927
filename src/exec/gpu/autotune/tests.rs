//! What is measured decides what runs, once it is proven, and is kept; with a clock that says what a test wants.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::exec::gpu::calls::chosen;
use crate::exec::gpu::launch::choices;
use crate::exec::gpu::selftest::Bench;
use crate::exec::gpu::{AdapterChoice, GpuExecutor, GpuOptions, proof};
use crate::exec::{Weights, notes};
use crate::ops::{self, params};
use crate::plan::{DType, Layout, PlanId, Step};
use crate::quant::Format;

/// A clock that makes times up.
struct Fake<F> {
    seconds: F,
    asked: Vec<(usize, CandidateId)>,
}

impl<F: FnMut(usize, CandidateId) -> Result<f64, ExecError>> Timer for Fake<F> {
    fn begin(&mut self, _: &Trial<'_>) -> Result<(), ExecError> {
        Ok(())
    }

    fn seconds(&mut self, _: &Trial<'_>, point: &Point) -> Result<Vec<f64>, ExecError> {
        self.asked.extend(point.ways.iter().map(|way| (point.rows, way.id)));
        point.ways.iter().map(|way| (self.seconds)(point.rows, way.id)).collect()
    }
}

fn fake<F: FnMut(usize, CandidateId) -> Result<f64, ExecError>>(seconds: F) -> Fake<F> {
    Fake { seconds, asked: Vec::new() }
}

/// The device with a folder of its own.
fn gpu(profile: &str) -> (tempfile::TempDir, Gpu) {
    let folder = tempfile::tempdir().unwrap();
    let options = GpuOptions {
        choice: AdapterChoice::Any,
        profile: profile.into(),
        proof: true,
        notes: Some(folder.path().to_owned()),
        autotune: Some(Duration::from_secs(3)),
        ..GpuOptions::default()
    };
    (folder, Gpu::open(&options).unwrap())
}

/// A product in plans of so many rows.
fn program(capacities: &[usize]) -> (Program, Weights, Bench) {
    let mut b = Bench::new().unwrap();
    let (format, out, cols) = (Format::Q4_1, 64, 160);
    for &capacity in capacities {
        let x = b.floats(capacity, cols, 1.0).unwrap();
        let w = b.weight(Some(format), out, cols).unwrap();
        let y = b.output(DType::F32, capacity, out).unwrap();
        let params = params::linear::Params {
            planes: format.planes(out, cols).to_u32().unwrap(),
            cols: cols as u32,
            out: out as u32,
            y_stride: out as u32,
            ..Default::default()
        };
        let call = ops::Linear { rows: b.rows, x, w, bias: None, residual: None, y, params };
        b.case(format!("x{capacity}"), capacity, call, Step::default()).unwrap();
    }
    (b.program.clone(), b.weights(), b)
}

/// The ways of a plan's only call at a number of rows, the default first.
fn ways(gpu: &Gpu, program: &Program, rows: usize) -> Vec<CandidateId> {
    let all = trials(program, &gpu.allowed()).unwrap();
    let point = all[0].points.iter().find(|point| point.rows == rows).unwrap();
    point.ways.iter().map(|way| way.id).collect()
}

/// Measures all with made up times.
fn measured(gpu: &Gpu, program: &Program, timer: &mut dyn Timer) -> (Preferences, Measured) {
    let mut known = load(gpu);
    let result = run(gpu, unknown(gpu, program, &known).unwrap(), &mut known, timer, &mut |_| true);
    (known, result.unwrap())
}

/// The executor as a boot with these times makes it.
fn booted(gpu: &Gpu, program: &Program, weights: &Weights, known: Preferences) -> GpuExecutor {
    let allowed = proof::prove(gpu, program, known).unwrap();
    let layout = Layout::new(program, gpu.profile());
    gpu.clone().boot_with(program.clone(), &layout, weights, &allowed).unwrap()
}

/// The candidate that runs with so many rows.
fn running(executor: &GpuExecutor, bench: &mut Bench, plan: u32, rows: usize) -> CandidateId {
    executor.calls[PlanId(plan).index()][0].candidate(&bench.step(rows, 0)).unwrap()
}

#[test]
fn what_is_faster_runs_at_its_number_of_rows_and_is_measured_once() {
    let (_folder, gpu) = gpu("full");
    let (program, weights, mut bench) = program(&[8, 1]);
    let (one, all) = (ways(&gpu, &program, 1), ways(&gpu, &program, 8));
    assert!(one.len() > 1 && all.len() > 1, "{one:?} {all:?}");
    let before = booted(&gpu, &program, &weights, Preferences::default());
    assert_eq!([1, 8].map(|rows| running(&before, &mut bench, 0, rows)), [one[0], all[0]]);
    // At one row the last is the fastest, at all rows the second.
    let wanted = [*one.last().unwrap(), all[1]];
    let mut timer = fake(|rows, id| Ok(if id == wanted[usize::from(rows > 1)] { 1e-6 } else { 2e-6 }));
    let (known, result) = measured(&gpu, &program, &mut timer);
    assert_eq!((result.measured, result.left, &result.failed[..]), (2, 0, &[][..]));
    let executor = booted(&gpu, &program, &weights, load(&gpu));
    assert_eq!([1, 8].map(|rows| running(&executor, &mut bench, 0, rows)), wanted);
    assert_eq!(running(&executor, &mut bench, 0, 5), wanted[1], "as with all rows");
    // What is kept is what was measured, and nothing is asked again.
    assert_eq!(load(&gpu), known);
    let mut again = fake(|_, _| Ok(1.0));
    let (same, result) = measured(&gpu, &program, &mut again);
    assert_eq!((same, result.measured, again.asked), (known, 0, vec![]));
    let fastest: Vec<Tuned> = super::known(&gpu).into_iter().filter(|tuned| tuned.rows == 8).collect();
    assert_eq!(fastest.len(), 1);
    assert_eq!((fastest[0].chosen.as_str(), fastest[0].gain), (wanted[1].name().as_str(), 2.0));
    assert_eq!((fastest[0].op.as_str(), fastest[0].shape.as_str()), ("linear q4_1", "64x160"));
}

#[test]
fn what_is_hardly_faster_changes_nothing() {
    let (_folder, gpu) = gpu("full");
    let (program, ..) = program(&[8]);
    let default = ways(&gpu, &program, 8)[0];
    let mut timer = fake(|_, id| Ok(if id == default { 1.00e-3 } else { 0.97e-3 }));
    let (known, _) = measured(&gpu, &program, &mut timer);
    let with = |known: Preferences| {
        let allowed = proof::prove(&gpu, &program, known).unwrap();
        chosen(&program, &allowed).unwrap()[0][0].iter().map(|way| (way.id, way.when)).collect::<Vec<_>>()
    };
    assert_eq!(with(known), with(Preferences::default()));
}

#[test]
fn without_time_the_default_stays() {
    let (_folder, gpu) = gpu("full");
    let (program, ..) = program(&[8, 1]);
    let mut timer = fake(|_, _| Ok(1.0));
    let mut known = Preferences::default();
    let result = within(&gpu, &program, &mut known, Duration::ZERO, &mut timer).unwrap();
    assert_eq!(
        (result.measured, result.left, &known, &timer.asked[..]),
        (0, 2, &Preferences::default(), &[][..])
    );
    // The rest at later boots.
    let mut left = 1;
    let go_on: &mut GoOn<'_> = &mut |at| std::mem::replace(&mut left, 0) > 0 && at.total == 2;
    let all = unknown(&gpu, &program, &known).unwrap();
    let result = run(&gpu, all, &mut known, &mut timer, go_on).unwrap();
    assert_eq!((result.measured, result.left, load(&gpu).0.len()), (1, 1, 1));
    let result = within(&gpu, &program, &mut known, Duration::from_secs(600), &mut timer).unwrap();
    assert_eq!((result.measured, result.left, load(&gpu).0.len()), (1, 0, 2));
}

/// What proof has found wrong is neither measured nor chosen, whatever a file says.
#[test]
fn what_is_wrong_never_runs() {
    // Verdicts are known to the process by device: one with other limits is another.
    let (_folder, gpu) = gpu("v3d");
    let (program, ..) = program(&[8]);
    let all = ways(&gpu, &program, 8);
    let wrong = *all.last().unwrap();
    assert!(all.len() > 2 && wrong != all[0]);
    // Before anything is known to be wrong it would be the best.
    let seconds = |_: usize, id| Ok(if id == wrong { 1e-6 } else { 9e-6 });
    let (known, _) = measured(&gpu, &program, &mut fake(seconds));
    let first = |allowed: &Allowed| choices(&program, &program.plans[0].calls[0], 8, allowed).unwrap();
    let allowed = proof::prove(&gpu, &program, known.clone()).unwrap();
    assert!(first(&allowed).iter().any(|way| way.id == wrong));
    proof::condemn(&gpu, wrong);
    let allowed = proof::prove(&gpu, &program, known).unwrap();
    assert!(allowed.wrong.contains(&wrong) && first(&allowed).iter().all(|way| way.id != wrong));
    let mut timer = fake(seconds);
    let all = trials(&program, &gpu.allowed()).unwrap();
    run(&gpu, all, &mut Preferences::default(), &mut timer, &mut |_| true).unwrap();
    assert!(timer.asked.len() > 1 && timer.asked.iter().all(|(_, id)| *id != wrong), "{:?}", timer.asked);
}

#[test]
fn a_file_that_is_not_whole_or_of_another_device_is_none_and_measured_again() {
    let (folder, gpu) = gpu("full");
    let (program, ..) = program(&[8]);
    let seconds = |_: usize, _: CandidateId| Ok(1e-6);
    measured(&gpu, &program, &mut fake(seconds));
    let tuning =
        |entry: &std::path::PathBuf| entry.file_name().unwrap().to_str().unwrap().starts_with("tuning-");
    let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let [file] = &entries.filter(tuning).collect::<Vec<_>>()[..] else { panic!("one file") };
    let text = std::fs::read_to_string(file).unwrap();
    let body = text.split_once('\n').unwrap().1;
    let foreign = notes::whole(&body.replacen("adapter\t", "adapter\tother ", 1));
    let nonsense = notes::whole(&format!("{body}linear\t1 nothing#1=5\n"));
    let (cut, odd) = (text[..text.len() - 5].to_owned(), text.replace('1', "2"));
    for bad in [foreign, nonsense, cut, odd, String::new(), "\u{0}".into()] {
        std::fs::write(file, &bad).unwrap();
        assert_eq!(load(&gpu), Preferences::default(), "{bad}");
        let mut timer = fake(seconds);
        let (known, _) = measured(&gpu, &program, &mut timer);
        assert!(!timer.asked.is_empty());
        assert_eq!((std::fs::read_to_string(file).unwrap(), load(&gpu)), (text.clone(), known));
    }
}

/// A way that takes the device away is not tried again, and what fails otherwise leaves the default.
#[test]
fn what_fails_leaves_the_default() {
    let (_folder, gpu) = gpu("full");
    let (program, ..) = program(&[8, 1]);
    let mut known = Preferences::default();
    let mut timer = fake(|rows, _| match rows {
        8 => Err(ExecError::DeviceLost("reset".into())),
        _ => Ok(1e-6),
    });
    let all = trials(&program, &gpu.allowed()).unwrap();
    let lost = run(&gpu, all, &mut known, &mut timer, &mut |_| true);
    assert!(matches!(lost, Err(ExecError::DeviceLost(_))));
    let mut asked = fake(|_, _| Err(ExecError::OutOfMemory("full".into())));
    let (known, result) = measured(&gpu, &program, &mut asked);
    assert!(asked.asked.iter().all(|(rows, _)| *rows == 1), "the plan of eight rows is passed over");
    assert_eq!((result.measured, result.left, result.failed.len()), (0, 0, 1));
    assert!(result.failed[0].1.contains("full"));
    let allowed = proof::prove(&gpu, &program, known).unwrap();
    let ids = |allowed: &Allowed| -> Vec<BTreeSet<CandidateId>> {
        let plans = chosen(&program, allowed).unwrap();
        plans.iter().map(|calls| calls.iter().flatten().map(|way| way.id).collect()).collect()
    };
    assert_eq!(ids(&allowed), ids(&allowed.unmeasured()));
    assert_eq!(super::known(&gpu)[0].seconds, None);
}

#[test]
fn times_are_carried_to_a_device_like_this_one_alone() {
    let (_folder, here) = gpu("full");
    let (program, ..) = program(&[8]);
    assert!(matches!(export(&here), Err(TuningError::Nothing(_))));
    let (known, _) = measured(&here, &program, &mut fake(|_, id| Ok(id.candidate as f64 * 1e-6)));
    let text = export(&here).unwrap();
    let (folder, there) = gpu("full");
    let file = folder.path().join("carried.txt");
    let import_of = |text: &str| {
        std::fs::write(&file, text).unwrap();
        import(&there, &file)
    };
    assert!(matches!(import(&there, &file), Err(TuningError::Io(_))));
    for damaged in [&text[..text.len() - 9], "", "nothing", &text.replacen('=', "=7", 1)] {
        assert!(matches!(import_of(damaged), Err(TuningError::Damaged)), "{damaged}");
    }
    let body = text.split_once('\n').unwrap().1;
    for (what, found) in [
        ("adapter\t", "adapter"),
        ("driver\t", "driver"),
        ("shaders\t", "shaders"),
        ("features\t", "limits and features"),
    ] {
        let other = notes::whole(&body.replacen(what, &format!("{what}other "), 1));
        match import_of(&other) {
            Err(TuningError::Other { what, made_for, here }) => {
                assert!(what == found && made_for == format!("other {here}"), "{what} {made_for} {here}");
            }
            refused => panic!("{what}: {refused:?}"),
        }
    }
    assert_eq!(load(&there), Preferences::default());
    assert_eq!(import_of(&text).unwrap(), 1);
    assert_eq!(load(&there), known);
    let (_folder, limited) = gpu("v3d");
    assert!(matches!(import(&limited, &file), Err(TuningError::Other { what: "limits and features", .. })));
}

/// What is kept is gone by, where it is not forbidden; a software adapter measures nothing unasked.
#[test]
fn a_boot_goes_by_what_is_kept() {
    let (_folder, gpu) = gpu("full");
    let (program, ..) = program(&[1]);
    if gpu.info().kind == DeviceKind::Software {
        assert_eq!(at_boot(&gpu, &program).unwrap(), Preferences::default());
    }
    let (known, _) = measured(&gpu, &program, &mut fake(|_, _| Ok(1e-6)));
    assert!(!known.0.is_empty());
    assert_eq!(at_boot(&gpu, &program).unwrap(), known);
    assert_eq!(at_boot(&gpu.clone().untuned(), &program).unwrap(), Preferences::default());
}

/// The device's own times: all ways at all numbers of rows, also where a part of the program has to stand alone.
#[test]
fn the_device_is_measured() {
    let (_folder, gpu) = gpu("full");
    let (program, ..) = program(&[1, 8]);
    let mut seen = Vec::new();
    let done = gpu.measure(&program, &mut |at| {
        seen.push((at.done, at.total, at.next.to_owned()));
        true
    });
    assert_eq!(done.unwrap(), Measured { measured: 2, left: 0, failed: vec![] });
    assert_eq!(seen[1], (1, 2, "linear q4_1 64x160".into()));
    let times: Vec<u64> =
        load(&gpu).0.values().flatten().flat_map(|timing| &timing.ways).map(|way| way.1).collect();
    assert!(times.len() >= 6, "{times:?}");
    // Ten thousand multiply-adds a row take more than a clock's tick and less than a second.
    assert!(times.iter().all(|nanos| (100..1_000_000_000).contains(nanos)), "{times:?}");
    let tuned = gpu.tuned();
    assert_eq!(tuned.iter().map(|tuned| tuned.rows).collect::<Vec<_>>(), [1, 1, 8]);
    assert!(tuned.iter().all(|tuned| tuned.gain >= 1.0 && tuned.seconds.is_some()));
    // Asked for again where all is known, it is measured again.
    let again = gpu.measure(&program, &mut |at| at.done < 1);
    assert_eq!(again.unwrap(), Measured { measured: 1, left: 1, failed: vec![] });
    assert_eq!(load(&gpu).0.len(), 2, "what was known stays");
}
