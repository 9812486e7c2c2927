//! The cases as files, for an implementation of WebGPU that is not wgpu: the shaders' texts, what is in the buffers that they
//! see, and what the twins make of it. `tests/portability` has the page that runs them.
//!
//! `cases.json` lists kernels (text, bindings, recipes) and cases; `NUMBER.bin` holds a case's words. A case's buffers are
//! windows of the memory map, with places in them as offsets in bytes, so that what is bound beside what is as in the product.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::bench::{Bench, Case};
use super::super::{Judged, PATTERN, State, twin};
use super::{all, ways};
use crate::exec::Weights;
use crate::exec::cpu::{matrix_rows, vector};
use crate::exec::gpu::bound::{Bound, bound};
use crate::exec::gpu::kernels::Recipe;
use crate::exec::gpu::launch::Choice;
use crate::exec::gpu::{BindingKind, KERNELS, Kernel, Tuning, profile};
use crate::plan::{DType, Layout, Placement, Role, Row, SegmentKind, TensorId};

/// Names the folder to write to; without it nothing is written.
const FOLDER: &str = "EMBER_PORTABILITY";

/// A buffer of a case: a window of one of the map's.
struct Window {
    segment: SegmentKind,
    buffer: usize,
    /// First byte in the map's buffer.
    first: u64,
    words: Vec<u32>,
}

impl Window {
    /// Puts words at a place of the map, if the window has it.
    fn put(&mut self, place: Placement, words: &[u32]) {
        let Some(at) = place.offset.checked_sub(self.first) else { return };
        let at = (at / 4) as usize;
        if let Some(to) = self.words.get_mut(at..at + words.len()) {
            to.copy_from_slice(words);
        }
    }
}

/// A case's words, one array behind the other, and where each is.
#[derive(Default)]
struct Words(Vec<u32>);

impl Words {
    fn add(&mut self, words: &[u32]) -> Value {
        self.0.extend_from_slice(words);
        json!([self.0.len() - words.len(), words.len()])
    }
}

/// How a browser's device runs a case, by each tuning, once where they are the same.
fn runs(bench: &Bench, case: &Case) -> Vec<(Tuning, Choice)> {
    let plan = &bench.program.plans[case.plan.index()];
    let active = (plan.calls[0].def().over)(&plan.calls[0]).rows(&case.step);
    let mut found: Vec<(Tuning, Choice)> = vec![];
    for tuning in [Tuning::Hardware, Tuning::Software] {
        let all = ways(bench, case, tuning, wgpu::Features::empty());
        let way = all.into_iter().find(|way| way.when.holds(active, &case.step)).unwrap();
        if !found.iter().any(|(_, other)| other.recipe == way.recipe && other.grids == way.grids) {
            found.push((tuning, way));
        }
    }
    found
}

/// The windows that hold what a case's runs bind; those of the state hold the pattern, as before the self-test's cases.
fn windows(layout: &Layout, state: &State, bounds: &[Bound]) -> Vec<Window> {
    let mut spans: BTreeMap<(SegmentKind, usize), (u64, u64)> = BTreeMap::new();
    for bound in bounds {
        let span = spans.entry((bound.place.segment, bound.place.buffer)).or_insert((u64::MAX, 0));
        *span = (span.0.min(bound.place.offset), span.1.max(bound.place.offset + bound.place.bytes));
    }
    for window in &state.0 {
        let span = spans.get_mut(&(SegmentKind::State, window.buffer)).unwrap();
        let (first, end) = (window.first as u64 * 4, (window.first + window.words.len()) as u64 * 4);
        *span = (span.0.min(first), span.1.max(end));
    }
    let window = |((segment, buffer), (first, end)): ((SegmentKind, usize), (u64, u64))| {
        assert!(first.is_multiple_of(layout.profile.align) && end <= layout.segment(segment).buffers[buffer]);
        let fill = if segment == SegmentKind::State { PATTERN } else { 0 };
        Window { segment, buffer, first, words: vec![fill; (end - first).div_ceil(4) as usize] }
    };
    spans.into_iter().map(window).collect()
}

/// What the host puts into a tensor before the case is run.
fn contents(bench: &Bench, weights: &Weights, case: &Case, id: TensorId) -> Option<Vec<u32>> {
    let tensor = bench.program.get(id);
    let inputs = bench.program.inputs.unwrap();
    let step = &case.step;
    match (&tensor.role, tensor.dtype) {
        (Role::Weight { source, .. }, DType::Matrix(format)) => {
            let rows = bench.program.capacity_rows(id);
            let mut words = vec![0; format.planes(rows, tensor.width).words];
            let bytes = matrix_rows(weights, source, 0, rows, tensor.width).unwrap();
            format.repack(bytes, rows, tensor.width, &mut words).unwrap();
            Some(words)
        }
        (Role::Weight { source, .. }, _) => {
            Some(bytemuck::cast_slice(&vector(weights, source, 0, tensor.width).unwrap()).to_vec())
        }
        _ if id == inputs.rows => {
            let header = Row::header(step.rows.len(), step.outs.len(), step.seed);
            let rows: Vec<Row> = std::iter::once(header).chain(step.rows.iter().copied()).collect();
            Some(bytemuck::cast_slice(&rows).to_vec())
        }
        _ if id == inputs.outs => Some(bytemuck::cast_slice(&step.outs).to_vec()),
        _ if Some(id) == inputs.scalars => Some(bytemuck::cast_slice(&[step.scalars]).to_vec()),
        _ => case.inputs.iter().find(|(other, _)| *other == id).map(|(_, words)| words.clone()),
    }
}

/// A run's dispatches and bindings.
fn run_as_json(
    case: &Case,
    bench: &Bench,
    tuning: Tuning,
    way: &Choice,
    bounds: &[Bound],
    windows: &[Window],
) -> Value {
    let call = &bench.program.plans[case.plan.index()].calls[0];
    let active = (call.def().over)(call).rows(&case.step) as u32;
    let passes = KERNELS[way.recipe.kernel].passes.iter().zip(&way.grids);
    let passes = passes.map(|(pass, grid)| {
        json!({ "entry": pass.entry, "groups": [grid.x, active.div_ceil(grid.rows_each), grid.z] })
    });
    let bindings = bounds.iter().map(|b| {
        let place = b.place;
        let at = windows.iter().position(|w| (w.segment, w.buffer) == (place.segment, place.buffer)).unwrap();
        json!({ "index": b.index, "buffer": at, "offset": place.offset - windows[at].first, "size": place.bytes })
    });
    json!({
        "tuning": format!("{tuning:?}").to_lowercase(),
        "kernel": KERNELS[way.recipe.kernel].name(),
        "constants": constants(&way.recipe),
        "passes": passes.collect::<Vec<_>>(),
        "bindings": bindings.collect::<Vec<_>>(),
    })
}

fn constants(recipe: &Recipe) -> Value {
    recipe.constants.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// A case, and its words.
fn case_as_json(bench: &Bench, layout: &Layout, case: &Case) -> (Value, Words) {
    let call = &bench.program.plans[case.plan.index()].calls[0];
    let weights = bench.weights();
    let runs = runs(bench, case);
    let bound =
        |way: &Choice| bound(&bench.program, layout, case.plan, 0, &KERNELS[way.recipe.kernel]).unwrap();
    let bounds: Vec<Vec<Bound>> = runs.iter().map(|(_, way)| bound(way)).collect();
    let mut state = State::of(layout, call.args().iter().flatten().copied());
    let mut windows = windows(layout, &state, &bounds.concat());
    for window in windows.iter_mut().filter(|w| w.segment == SegmentKind::Params) {
        let offset = layout.params_offset(&bench.program, case.plan, 0);
        let place = Placement { segment: window.segment, buffer: 0, offset, bytes: 0 };
        window.put(place, call.words().words());
    }
    let mut filled = HashSet::new();
    for id in call.args().iter().flatten().filter(|id| filled.insert(**id)) {
        let (Some(words), Some(place)) = (contents(bench, &weights, case, *id), layout.placement(*id)) else {
            continue;
        };
        let at = windows.iter_mut().find(|w| (w.segment, w.buffer) == (place.segment, place.buffer));
        // No kernel of the op may see this argument: then no window need have it.
        at.into_iter().for_each(|w| w.put(place, &words));
        if place.segment == SegmentKind::State {
            state.tensor(layout, *id)[..words.len()].copy_from_slice(&words);
        }
    }
    twin::run(bench, layout, case, &mut state).unwrap();
    let mut words = Words::default();
    let mut outputs = vec![];
    for (arg, id) in call.def().args.iter().zip(call.args()) {
        let Some(id) = id.filter(|_| arg.written()) else { continue };
        let place = layout.placement(id).unwrap();
        let at = windows.iter().position(|w| (w.segment, w.buffer) == (place.segment, place.buffer)).unwrap();
        let (judged, tolerance) = match Judged::of(bench, call, arg, id) {
            Judged::Scratch => ("scratch", 0.0),
            Judged::Exactly => ("exactly", 0.0),
            Judged::Sampled => ("sampled", 0.0),
            Judged::Within(tolerance) => ("within", tolerance),
            Judged::Blocks(tolerance) => ("blocks", tolerance),
        };
        outputs.push(json!({
            "name": arg.name, "buffer": at, "word": (place.offset - windows[at].first) / 4,
            "expected": words.add(state.tensor(layout, id)), "judged": judged, "tolerance": tolerance,
        }));
    }
    let buffers = windows.iter().map(|w| json!({ "kind": w.segment.name(), "words": words.add(&w.words) }));
    let buffers: Vec<Value> = buffers.collect();
    let each = runs.iter().zip(&bounds);
    let runs: Vec<Value> = each
        .map(|((tuning, way), bounds)| run_as_json(case, bench, *tuning, way, bounds, &windows))
        .collect();
    (json!({ "name": case.name, "buffers": buffers, "outputs": outputs, "runs": runs }), words)
}

fn kernel_as_json(index: usize, kernel: &Kernel, recipes: &HashSet<Recipe>) -> Value {
    let kind = |kind| match kind {
        BindingKind::Uniform => "uniform",
        BindingKind::Read => "read-only-storage",
        BindingKind::ReadWrite => "storage",
    };
    let bindings = kernel.bindings.iter().map(|b| json!({ "index": b.index, "kind": kind(b.kind) }));
    let recipes: BTreeSet<String> =
        recipes.iter().filter(|r| r.kernel == index).map(|r| constants(r).to_string()).collect();
    let recipes: Vec<Value> = recipes.iter().map(|r| serde_json::from_str(r).unwrap()).collect();
    // naga knows subgroups without being told; a browser's compiler wants the line, and naga does not take it.
    let enable = if kernel.requires.contains(&"subgroup") { "enable subgroups;\n" } else { "" };
    json!({
        "name": kernel.name(),
        "text": format!("{enable}{}", kernel.source),
        "requires": kernel.requires,
        "entries": kernel.passes.iter().map(|pass| pass.entry).collect::<Vec<_>>(),
        "bindings": bindings.collect::<Vec<_>>(),
        "recipes": recipes,
    })
}

/// What is in `cases.json`, and how many words each case's file has; all of it is written where there is a folder.
fn everything(folder: Option<&Path>) -> (Value, Vec<usize>) {
    let put = |name: String, bytes: &[u8]| {
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    };
    let (bench, cases) = all();
    let layout = Layout::new(&bench.program, profile(&wgpu::Limits::default()));
    let mut recipes = HashSet::new();
    for case in &cases {
        for tuning in [Tuning::Hardware, Tuning::Software] {
            recipes
                .extend(ways(&bench, case, tuning, wgpu::Features::SUBGROUP).into_iter().map(|w| w.recipe));
            recipes.extend(ways(&bench, case, tuning, wgpu::Features::empty()).into_iter().map(|w| w.recipe));
        }
    }
    let kernels = KERNELS.iter().enumerate();
    let kernels: Vec<Value> =
        kernels.map(|(index, kernel)| kernel_as_json(index, kernel, &recipes)).collect();
    let (mut listed, mut counts) = (vec![], vec![]);
    for (number, case) in cases.iter().enumerate() {
        let (value, words) = case_as_json(&bench, &layout, case);
        listed.push(value);
        counts.push(words.0.len());
        let bytes: Vec<u8> = words.0.iter().flat_map(|w| w.to_le_bytes()).collect();
        put(format!("{number}.bin"), &bytes);
    }
    let value = json!({ "kernels": kernels, "cases": listed });
    put("cases.json".into(), value.to_string().as_bytes());
    (value, counts)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Checks a run of a written case by what WebGPU asks for: bindings that lie within their buffers, in places that may be bound,
/// of which no writable one overlaps another, and no more workgroups than a dimension has.
fn check_run(case: &Value, run: &Value, writable: impl Fn(u64) -> bool) {
    let name = format!("{} on {}", case["name"], run["kernel"]);
    let mut taken: Vec<(u64, u64, u64)> = vec![];
    for binding in list(&run["bindings"]) {
        let [buffer, offset, size] = ["buffer", "offset", "size"].map(|key| number(&binding[key]));
        let held = number(&case["buffers"][buffer as usize]["words"][1]) * 4;
        assert!(
            size > 0 && offset + size <= held,
            "{name}: binding {} is not within its buffer",
            binding["index"]
        );
        assert_eq!(offset % 256, 0, "{name}: binding {}", binding["index"]);
        if writable(number(&binding["index"])) {
            let clash = taken.iter().any(|(b, o, s)| *b == buffer && *o < offset + size && offset < o + s);
            assert!(!clash, "{name}: writable binding {} shares bytes with another", binding["index"]);
            taken.push((buffer, offset, size));
        }
    }
    assert!(!taken.is_empty(), "{name} writes nothing");
    for groups in list(&run["passes"]).iter().flat_map(|pass| list(&pass["groups"])) {
        assert!((1..=65_535).contains(&number(groups)), "{name}: {groups} workgroups");
    }
}

#[test]
fn every_case_is_as_webgpu_takes_it() {
    let (all, counts) = everything(std::env::var_os(FOLDER).map(PathBuf::from).as_deref());
    let kernels: BTreeMap<&str, &Value> =
        list(&all["kernels"]).iter().map(|k| (k["name"].as_str().unwrap(), k)).collect();
    assert_eq!(kernels.len(), KERNELS.len());
    let mut ran = BTreeSet::new();
    for (count, case) in counts.into_iter().zip(list(&all["cases"])) {
        let arrays = list(&case["buffers"]).iter().map(|b| &b["words"]);
        let arrays = arrays.chain(list(&case["outputs"]).iter().map(|o| &o["expected"]));
        let words: u64 = arrays.map(|array| number(&array[1])).sum();
        assert_eq!(count as u64, words, "{}", case["name"]);
        assert!(!list(&case["outputs"]).is_empty(), "{} has nothing to compare", case["name"]);
        for run in list(&case["runs"]) {
            let kernel = run["kernel"].as_str().unwrap();
            ran.insert(kernel);
            let bindings = list(&kernels[kernel]["bindings"]);
            let writable =
                |index| bindings.iter().any(|b| number(&b["index"]) == index && b["kind"] == "storage");
            check_run(case, run, writable);
        }
    }
    for (name, kernel) in kernels {
        assert!(!list(&kernel["recipes"]).is_empty(), "{name} has no recipe");
        let plain = list(&kernel["requires"]).is_empty();
        assert_eq!(ran.contains(name), plain, "{name}: kernels that need no feature run, others do not");
        assert_eq!(kernel["text"].as_str().unwrap().starts_with("enable subgroups;"), !plain, "{name}");
    }
}
