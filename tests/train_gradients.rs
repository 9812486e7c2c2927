//! Gradients of whole tiny models, of adapters and of the models' own weights, against central differences in double
//! precision on the CPU executor.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;

use common::{bounds, golden, none_failed, open};
use emberlm::exec::Executor;
use emberlm::exec::cpu::{self, CpuExecutor};
use emberlm::model::{
    AdapterShape, BranchHead, BuildOptions, KvType, Model, PairShape, Train, TrainPlans, TrainSpec,
    build_training,
};
use emberlm::plan::{Layout, Out, PlanId, Row, Step, TensorId};

const MODELS: [&str; 11] = [
    "llama-tied",
    "llama-untied",
    "llama3-rope",
    "llama-linear-rope",
    "qwen2",
    "qwen3-tied",
    "gemma2",
    "gemma3",
    "yarn",
    "window",
    "odd-sizes",
];
/// Two sequences, one behind another; the first is longer than a window.
const LENGTHS: [usize; 2] = [12, 6];
const CHUNK: usize = 4;

struct Bench {
    executor: CpuExecutor<f64>,
    plans: TrainPlans,
    step: Step,
    outs: Vec<Out>,
}

/// A small random number generator, good enough for test data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as f32 / (1u64 << 31) as f32) * 2.0 - 1.0
    }
}

/// Every linear layer of the decoder, with a rank and a scale of its own.
fn all_linears(model: &Model) -> BTreeMap<String, PairShape> {
    let kinds = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let layers = 0..model.config().layers.len();
    let labels = layers.flat_map(|l| kinds.iter().map(move |k| format!("blk.{l}.{k}")));
    labels.enumerate().map(|(i, l)| (l, PairShape { rank: 1 + i % 3, scale: 0.5 + i as f32 / 8.0 })).collect()
}

impl Bench {
    fn new(model: &Model, train: Train, dropout: f32, recompute: usize, threads: usize) -> Self {
        let pairs = if train == Train::Adapters { all_linears(model) } else { BTreeMap::new() };
        let rows: usize = LENGTHS.iter().map(|l| l - 1).sum();
        let options = BuildOptions {
            ctx: rows,
            slots: 1,
            kv: KvType::F32,
            max_binding: None,
            fused: false,
            adapters: AdapterShape { pairs, dropout },
            train,
            head: BranchHead::Tokens,
            branches: vec![],
        };
        let spec = TrainSpec { rows, outputs: CHUNK, recompute };
        let (program, plans) =
            build_training(model.config(), &*model.weights(), &options, spec, &[]).unwrap();
        let layout = Layout::new(&program, cpu::profile::<f64>());
        let executor = CpuExecutor::<f64>::boot(program, &layout, model.weights(), threads).unwrap();
        let allocated: u64 = executor.allocated().iter().map(|(_, b)| b).sum();
        assert_eq!(allocated, layout.total(), "what is allocated is what the map says");
        let mut bench = Self { executor, plans, step: Step::default(), outs: vec![] };
        bench.make_step(model.config().vocab as u32);
        bench
    }

    /// Every second token of the first sequence and all of the other are targets, with coefficients of both signs.
    fn make_step(&mut self, vocab: u32) {
        self.step.seed = 7;
        for (s, length) in LENGTHS.iter().enumerate() {
            let first = self.step.rows.len() as u32;
            let token = |i: usize| ((i * 37 + s * 11 + 5) as u32) % vocab;
            for i in 0..length - 1 {
                let row = first + i as u32;
                self.step.rows.push(Row { slot: 0, pos: row, first, token: token(i) });
                if s == 1 || i % 2 == 0 {
                    let coef = 0.3 - 0.17 * self.outs.len() as f32;
                    self.outs.push(Out { row, label: token(i + 1), coef, ..Out::default() });
                }
            }
        }
    }

    fn run(&mut self, plan: PlanId) {
        let rowless = Step::default();
        let step = if plan == self.plans.clear { &rowless } else { &self.step };
        let ticket = self.executor.submit(plan, step).unwrap();
        self.executor.wait(ticket, &mut Vec::new()).unwrap();
    }

    fn heads(&mut self, plan: PlanId) -> f64 {
        let fetch = self.executor.program().plans[plan.index()].fetch.unwrap();
        let mut sum = 0.0;
        for chunk in self.outs.clone().chunks(CHUNK) {
            self.step.outs = chunk.to_vec();
            self.run(plan);
            let scores = self.executor.values(fetch).unwrap();
            sum += chunk.iter().zip(scores).map(|(o, l)| f64::from(o.coef) * l).sum::<f64>();
        }
        self.step.outs.clear();
        sum
    }

    /// The sum of coefficients times log-probabilities.
    fn objective(&mut self) -> f64 {
        self.run(self.plans.passes[0].forward);
        self.heads(self.plans.passes[0].score)
    }

    /// Its gradient, in the window's sums; the objective too.
    fn gradient(&mut self) -> f64 {
        self.run(self.plans.clear);
        self.run(self.plans.passes[0].forward);
        let value = self.heads(self.plans.passes[0].head.unwrap());
        self.run(self.plans.passes[0].backward.unwrap());
        value
    }

    fn trained(&self) -> Vec<(TensorId, TensorId)> {
        let program = self.executor.program();
        let find = |name: String| {
            TensorId(program.tensors.iter().position(|t| t.name == name).expect("a gradient") as u32)
        };
        program.trained.iter().map(|id| (*id, find(format!("d {}", program.get(*id).name)))).collect()
    }

    /// Random factors, or the model's own weights as the file has them.
    fn fill(&mut self, model: &Model, train: Train) {
        let mut random = Random(1);
        for (id, _) in self.trained() {
            let program = self.executor.program();
            let (count, name) =
                (program.capacity_rows(id) * program.get(id).width, program.get(id).name.clone());
            let values: Vec<f32> = match train {
                Train::All => {
                    let weights = model.weights();
                    let mut values = vec![0.0; count];
                    weights
                        .shape(&name)
                        .unwrap()
                        .format
                        .decode(weights.bytes(&name).unwrap(), &mut values)
                        .unwrap();
                    values
                }
                _ => (0..count).map(|_| random.next() * 0.2).collect(),
            };
            self.executor.write(id, &values).unwrap();
        }
    }
}

/// Largest difference between a few elements' gradients and central differences, relative to the tensor's gradient.
fn check(bench: &mut Bench, name: &str, failures: &mut Vec<String>) {
    bench.gradient();
    let all = bench.trained();
    let gradients: Vec<Vec<f64>> = all.iter().map(|(_, g)| bench.executor.values(*g).unwrap()).collect();
    let mut worst: f64 = 0.0;
    for ((id, _), gradient) in all.iter().zip(&gradients) {
        let label = bench.executor.program().get(*id).name.clone();
        let original: Vec<f32> = bench.executor.values(*id).unwrap().iter().map(|v| *v as f32).collect();
        let norm = (gradient.iter().map(|g| g * g).sum::<f64>() / gradient.len() as f64).sqrt();
        if norm == 0.0 {
            failures.push(format!("{name}: {label} has no gradient"));
        }
        // The largest element, and one that no rule prefers.
        let largest = (0..gradient.len()).max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs()));
        for at in [largest.unwrap(), gradient.len() * 5 / 7] {
            let mut values = original.clone();
            let mut side = |by: f32| {
                values[at] = original[at] + by;
                bench.executor.write(*id, &values).unwrap();
                (f64::from(values[at]), bench.objective())
            };
            let (high, low) = (side(bounds::SLOPE_MOVE), side(-bounds::SLOPE_MOVE));
            let slope = (high.1 - low.1) / (high.0 - low.0);
            bench.executor.write(*id, &original).unwrap();
            let apart = (slope - gradient[at]).abs() / (norm + gradient[at].abs());
            worst = worst.max(apart);
            if apart > bounds::SLOPE || apart.is_nan() {
                failures.push(format!("{name}: {label}[{at}] is {}, differences give {slope}", gradient[at]));
            }
        }
    }
    println!("{name}: {} tensors, worst {worst:.1e}", all.len());
}

#[test]
fn adapters_of_every_architecture() {
    let mut failures = vec![];
    for name in MODELS {
        let model = open(&golden(&format!("arch/{name}.gguf")));
        let layers = model.config().layers.len();
        for (dropout, recompute) in [(0.0, 0), (0.3, layers)] {
            let mut bench = Bench::new(&model, Train::Adapters, dropout, recompute, 2);
            bench.fill(&model, Train::Adapters);
            check(&mut bench, &format!("{name}, dropout {dropout}, {recompute} again"), &mut failures);
        }
    }
    none_failed(&failures);
}

#[test]
fn log_probabilities_at_temperatures() {
    let model = open(&golden("arch/llama-tied.gguf"));
    let mut failures = vec![];
    for temperatures in [[0.5, 0.7, 1.0, 1.3], [0.05, 8.0, 2.5, 0.3]] {
        let mut bench = Bench::new(&model, Train::Adapters, 0.0, 0, 2);
        bench.fill(&model, Train::Adapters);
        let turns = temperatures.into_iter().cycle();
        bench.outs.iter_mut().zip(turns).for_each(|(out, t)| out.temperature = t);
        check(&mut bench, &format!("at {temperatures:?}"), &mut failures);
    }
    none_failed(&failures);
}

#[test]
fn own_weights_of_every_architecture() {
    let mut failures = vec![];
    for name in MODELS {
        let model = open(&golden(&format!("arch/{name}.gguf")));
        for recompute in [0, 1] {
            let mut bench = Bench::new(&model, Train::All, 0.0, recompute, 2);
            bench.fill(&model, Train::All);
            check(&mut bench, &format!("{name}, all weights, {recompute} again"), &mut failures);
        }
    }
    none_failed(&failures);
}

#[test]
fn recompute_and_window_do_not_change_a_bit() {
    let model = open(&golden("arch/llama-tied.gguf"));
    let gradients = |recompute: usize| {
        let mut bench = Bench::new(&model, Train::Adapters, 0.2, recompute, 2);
        bench.fill(&model, Train::Adapters);
        bench.gradient();
        let ids = bench.trained();
        ids.iter().flat_map(|(_, g)| bench.executor.values(*g).unwrap()).collect::<Vec<f64>>()
    };
    let kept = gradients(0);
    assert!(kept.iter().any(|g| *g != 0.0));
    for recompute in 1..=model.config().layers.len() {
        assert_eq!(gradients(recompute), kept, "{recompute} layers run again");
    }
}

#[test]
fn gradients_of_a_window_add_up() {
    let model = open(&golden("arch/qwen3-tied.gguf"));
    let mut bench = Bench::new(&model, Train::Adapters, 0.0, 1, 1);
    bench.fill(&model, Train::Adapters);
    let once = bench.gradient();
    let ids = bench.trained();
    let read = |bench: &Bench| -> Vec<f64> {
        ids.iter().flat_map(|(_, g)| bench.executor.values(*g).unwrap()).collect()
    };
    let single = read(&bench);
    bench.run(bench.plans.passes[0].forward);
    let again = bench.heads(bench.plans.passes[0].head.unwrap());
    bench.run(bench.plans.passes[0].backward.unwrap());
    assert_eq!(once, again);
    for (two, one) in read(&bench).iter().zip(&single) {
        // Small ones are what is left of larger terms.
        assert!(
            (two - 2.0 * one).abs() <= 2.0 * bounds::DOUBLES * one.abs().max(1e-4),
            "{two} is not twice {one}"
        );
    }
}
