//! Devices that lie are found and named, and what they get right is used.

use std::collections::HashMap;
use std::ops::Range;

use super::*;
use crate::exec::gpu::kernels::Kernel;
use crate::exec::gpu::selftest::{Bench, Case, Subject, cases_on, run_all};
use crate::exec::gpu::{AdapterChoice, GpuExecutor, GpuOptions, Tuning};
use crate::plan::{Layout, PlanId, Step, TensorId};

/// What a device does that it should not.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Lie {
    /// None.
    Honest,
    /// In every so manieth step it flips a bit of the result.
    Flips(u32),
    /// Memory that was read before is not read again.
    Stale,
    /// One candidate, which is one size of workgroup's share, is a little wrong.
    Candidate(CandidateId),
}

/// A device that lies.
struct Liar {
    device: GpuExecutor,
    lie: Lie,
    steps: u32,
    seen: HashMap<(usize, Range<usize>), Vec<u32>>,
}

impl Liar {
    /// Changes the first word of what a plan's call writes.
    fn spoil(&mut self, plan: PlanId, how: impl Fn(u32) -> u32) -> Result<(), ExecError> {
        let call = &self.device.program.plans[plan.index()].calls[0];
        let written = |(arg, id): (&crate::plan::Arg, &Option<TensorId>)| {
            id.filter(|_| arg.written() && arg.name != "part")
        };
        let Some(id) = call.def().args.iter().zip(call.args()).find_map(written) else { return Ok(()) };
        let words = self.device.read_tensor(id)?;
        self.device.write_tensor(id, &[how(words[0])])
    }
}

impl Subject for Liar {
    fn fill(&mut self, buffer: usize, words: Range<usize>, word: u32) -> Result<(), ExecError> {
        self.device.fill(buffer, words, word)
    }

    fn words(&mut self, buffer: usize, words: Range<usize>) -> Result<Vec<u32>, ExecError> {
        let found = self.device.words(buffer, words.clone())?;
        if self.lie == Lie::Stale {
            return Ok(self.seen.entry((buffer, words)).or_insert(found).clone());
        }
        Ok(found)
    }

    fn put(&mut self, id: TensorId, words: &[u32]) -> Result<(), ExecError> {
        self.device.put(id, words)
    }

    fn step(&mut self, plan: PlanId, step: &Step) -> Result<(), ExecError> {
        self.device.step(plan, step)?;
        self.steps += 1;
        match self.lie {
            // The upper half of an exponent: what is changed less is within the tolerance, or no lie.
            Lie::Flips(every) if self.steps.is_multiple_of(every) => self.spoil(plan, |word| word ^ 1 << 30),
            Lie::Candidate(id) if self.candidate(plan, step) == Some(id) => {
                self.spoil(plan, |word| (f32::from_bits(word) * 1.5 + 0.5).to_bits())
            }
            _ => Ok(()),
        }
    }

    fn candidate(&self, plan: PlanId, step: &Step) -> Option<CandidateId> {
        self.device.candidate(plan, step)
    }
}

fn gpu() -> Gpu {
    Gpu::open(&GpuOptions { choice: AdapterChoice::Any, ..GpuOptions::default() }).unwrap()
}

/// Candidates of a few kernels with different formats and sizes of workgroups.
fn some(tuning: Tuning) -> BTreeSet<CandidateId> {
    let wanted = ["linear.base.q4_1", "add.base", "rms_norm.base", "kv_write.base.block16"];
    let kernels = KERNELS.iter().enumerate().filter(|(_, kernel)| wanted.contains(&kernel.name().as_str()));
    let each = kernels.flat_map(|(kernel, k)| {
        let on = move |(_, candidate): &(usize, &crate::exec::gpu::candidates::Candidate)| {
            candidate.on.is_none_or(|on| on == tuning)
        };
        k.candidates
            .iter()
            .enumerate()
            .filter(on)
            .map(move |(candidate, _)| CandidateId { kernel, candidate })
    });
    each.collect()
}

/// The self-test on a device that lies.
fn test(
    gpu: &Gpu,
    lie: Lie,
    allowed: &Allowed,
    ids: &BTreeSet<CandidateId>,
) -> Result<Vec<CaseReport>, ExecError> {
    let (bench, cases): (Bench, Vec<Case>) = cases_on(allowed, ids)?;
    let layout = Layout::new(&bench.program, gpu.profile());
    let device = gpu.clone().boot_with(bench.program.clone(), &layout, &bench.weights(), allowed)?;
    let mut liar = Liar { device, lie, steps: 0, seen: HashMap::new() };
    run_all(&bench, &layout, &cases, &mut liar)
}

fn reports(lie: Lie) -> Vec<CaseReport> {
    let gpu = gpu();
    let allowed = gpu.allowed();
    let reports = test(&gpu, lie, &allowed, &some(allowed.tuning)).unwrap();
    assert!(reports.len() > 8, "{}", reports.len());
    reports
}

#[test]
fn an_honest_device_passes() {
    let failed: Vec<_> = reports(Lie::Honest).into_iter().filter(|r| r.failure.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_device_that_flips_a_bit_is_found_and_named() {
    for every in [1, 2, 7] {
        let reports = reports(Lie::Flips(every));
        let failed: Vec<_> = reports.iter().filter(|r| r.failure.is_some()).collect();
        // Each case has two steps.
        let lies = reports.len() * 2 / every as usize;
        let least = if every == 1 { reports.len() } else { lies };
        assert!(failed.len() >= least.min(reports.len()), "{} of {lies} lies, every {every}", failed.len());
        assert!(failed.iter().all(|r| !r.candidate.is_empty() && r.candidate.starts_with(&r.kernel)));
    }
}

#[test]
fn a_device_that_returns_stale_memory_is_found_and_named() {
    for report in reports(Lie::Stale) {
        assert!(report.failure.is_some(), "{report:?}");
        assert!(report.candidate.starts_with(&report.kernel) && !report.kernel.is_empty(), "{report:?}");
    }
}

/// One size of workgroup's share is wrong: it is named, another takes its place, and the rest stays in use.
#[test]
fn a_candidate_that_is_wrong_is_replaced_and_the_others_stay() {
    let gpu = gpu();
    let allowed = gpu.allowed();
    let (bench, cases) = cases_on(&allowed, &some(allowed.tuning)).unwrap();
    let taken = |allowed: &Allowed| -> BTreeSet<CandidateId> {
        let ways = chosen(&bench.program, allowed).unwrap();
        ways.iter().flatten().flatten().map(|choice| choice.id).collect()
    };
    let before = taken(&allowed);
    let linear = |id: &&CandidateId| KERNELS[id.kernel].name() == "linear.base.q4_1";
    let victims: Vec<CandidateId> = before.iter().filter(linear).copied().collect();
    assert!(victims.len() > 2 && cases.len() > 8, "{victims:?}");
    for victim in victims {
        let mut verdicts = Verdicts::default();
        let lie = Lie::Candidate(victim);
        let settled = settle(&bench.program, allowed.clone(), &mut verdicts, &mut |allowed, ids| {
            test(&gpu, lie, allowed, ids)
        });
        let settled = settled.unwrap();
        assert_eq!(settled.wrong, BTreeSet::from([victim]), "{}", victim.name());
        let why = verdicts.0[&victim].clone().unwrap();
        assert!(why.starts_with("linear Q4_1"), "{why}");
        let after = taken(&settled);
        assert!(!after.contains(&victim));
        let lost: Vec<_> = before.difference(&after).collect();
        assert_eq!(lost, [&victim], "the others stay");
        // What takes its place is proven too.
        assert!(after.iter().all(|id| verdicts.0[id].is_none()));
        assert_eq!(Verdicts::parse(&verdicts.text()), Some(verdicts));
    }
}

/// A shader that the driver does not take is left out like one that is wrong.
#[test]
fn a_candidate_that_does_not_compile_is_replaced() {
    let gpu = gpu();
    let allowed = gpu.allowed();
    let (bench, _) = cases_on(&allowed, &some(allowed.tuning)).unwrap();
    let ways = chosen(&bench.program, &allowed).unwrap();
    let first = ways.iter().flatten().flatten().map(|choice| choice.id);
    let broken = KERNELS[first.min().unwrap().kernel].name();
    let mut verdicts = Verdicts::default();
    let refused = settle(&bench.program, allowed.clone(), &mut verdicts, &mut |_, ids| {
        let broken = ids.iter().map(|id| KERNELS[id.kernel].name()).find(|name| *name == broken);
        match broken {
            Some(kernel) => Err(ExecError::Shader { kernel, why: "no".into() }),
            None => Ok(vec![]),
        }
    });
    // It is the only one of its op, or others were taken: either way it is named.
    assert!(refused.is_err() || refused.unwrap().wrong.len() > 1);
    let named = verdicts.0.iter().filter(|(id, _)| KERNELS[id.kernel].name() == broken);
    assert!(named.into_iter().all(|(_, why)| why.as_deref() == Some("does not compile: no")));
    // What no unknown candidate is to blame for is no verdict.
    let other = settle(&bench.program, allowed, &mut Verdicts::default(), &mut |_, _| {
        Err(ExecError::Shader { kernel: "other".into(), why: "no".into() })
    });
    assert!(matches!(other, Err(ExecError::Shader { .. })));
}

/// Nothing that could run the op is right: the program is refused, and they are named.
#[test]
fn a_device_that_gets_all_of_an_op_wrong_is_refused() {
    let gpu = gpu();
    let allowed = gpu.allowed();
    let (bench, _) = cases_on(&allowed, &some(allowed.tuning)).unwrap();
    let refused = settle(&bench.program, allowed, &mut Verdicts::default(), &mut |allowed, ids| {
        test(&gpu, Lie::Flips(1), allowed, ids)
    });
    match refused {
        Err(ExecError::Wrong(names)) => assert!(names.contains('.') || names.contains("add"), "{names}"),
        other => panic!("{other:?}"),
    }
}

/// Every candidate of the table is run by a case on some device, so that none can be in use without proof.
#[test]
fn every_candidate_has_a_case() {
    let mut missing: BTreeSet<CandidateId> = (0..KERNELS.len())
        .flat_map(|kernel| {
            (0..KERNELS[kernel].candidates.len()).map(move |candidate| CandidateId { kernel, candidate })
        })
        .collect();
    let (bench, cases) = crate::exec::gpu::selftest::all_cases().unwrap();
    for tuning in [Tuning::Hardware, Tuning::Software] {
        for features in [wgpu::Features::empty(), wgpu::Features::SUBGROUP] {
            let allowed = Allowed::new(tuning, features);
            let ways = chosen(&bench.program, &allowed).unwrap();
            for case in &cases {
                let call = &bench.program.plans[case.plan.index()].calls[0];
                let active = (call.def().over)(call).rows(&case.step);
                let way = ways[case.plan.index()][0].iter().find(|way| way.when.holds(active, &case.step));
                missing.remove(&way.unwrap().id);
            }
        }
    }
    let names: Vec<String> = missing.into_iter().map(CandidateId::name).collect();
    assert!(names.is_empty(), "no case runs on {names:#?}");
}

#[test]
fn verdicts_are_read_as_they_are_written() {
    let id = |kernel, candidate| CandidateId { kernel, candidate };
    let verdicts =
        Verdicts(BTreeMap::from([(id(0, 0), None), (id(1, 0), Some("add: word 3\nis wrong".into()))]));
    let read = Verdicts::parse(&verdicts.text()).unwrap();
    assert_eq!(read.wrong(), BTreeSet::from([id(1, 0)]));
    assert_eq!(read.0[&id(1, 0)].as_deref(), Some("add: word 3 is wrong"));
    for bad in ["right 0", "right x 0", "right 99999 0", "perhaps 0 0"] {
        assert_eq!(Verdicts::parse(bad), None, "{bad}");
    }
}

/// Every candidate passes its proof here, in formats of each kind; in all of them where `EMBER_PROOF` is set, which takes minutes.
#[test]
fn an_honest_device_passes_with_every_candidate() {
    let all = std::env::var_os("EMBER_PROOF").is_some();
    for tuning in [Tuning::Software, Tuning::Hardware] {
        let gpu = gpu();
        let gpu = Gpu { options: GpuOptions { tuning: Some(tuning), ..gpu.options.clone() }, ..gpu };
        let wanted = |kernel: &&(usize, &Kernel)| {
            all || kernel.1.weight.is_none_or(|weight| ["f16", "q4_1"].contains(&weight))
        };
        let kernels: Vec<_> = KERNELS.iter().enumerate().collect();
        let each = kernels.iter().filter(wanted).flat_map(|(kernel, k)| {
            (0..k.candidates.len()).map(move |candidate| CandidateId { kernel: *kernel, candidate })
        });
        let reports = run_on(&gpu, &gpu.allowed(), &each.collect()).unwrap();
        let failed: Vec<_> = reports.iter().filter(|report| report.failure.is_some()).collect();
        assert!(reports.len() > 150 && failed.is_empty(), "{} cases: {failed:#?}", reports.len());
    }
}

/// Booting proves what it uses, once, and the notes keep it.
#[test]
fn a_boot_proves_what_it_uses() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = Gpu {
        options: GpuOptions { notes: Some(folder.path().to_owned()), checked: true, ..gpu().options },
        ..gpu()
    };
    let (bench, _) = cases_on(&gpu.allowed(), &some(gpu.allowed().tuning)).unwrap();
    let allowed = prove(&gpu, &bench.program, Preferences::default()).unwrap();
    assert!(allowed.wrong.is_empty());
    let written = Verdicts::parse(&notes::read(&file(folder.path(), &key(&gpu))).unwrap()).unwrap();
    let ways = chosen(&bench.program, &allowed).unwrap();
    assert!(ways.iter().flatten().flatten().all(|choice| written.0[&choice.id].is_none()));
    // Nothing is run where all is known.
    assert_eq!(left_out(&gpu), []);
    let mut known = written.clone();
    settle(&bench.program, gpu.allowed(), &mut known, &mut |_, ids| panic!("{ids:?}")).unwrap();
    assert_eq!(known, written);
}
