//! The CPU executor: the op's twins on threads that walk the plan together.

pub mod bandwidth;
mod memory;
mod pool;

#[cfg(feature = "gpu")]
pub(crate) use memory::{matrix_rows, vector};

use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use memory::Memory;
use pool::{Pool, Work};

use crate::exec::{
    DeviceInfo, DeviceKind, ExecError, Executor, OpTime, Ticket, Weights, check_access, check_step,
};
use crate::ops::Op;
use crate::ops::cpu::{Context, Real, View};
use crate::plan::{Layout, Plan, PlanId, Profile, Program, SegmentKind, Step, TensorId};

/// What the executor needs of the memory map. `F` is f32 to run, f64 to check.
pub fn profile<F: Real>() -> Profile {
    Profile {
        align: 64,
        mapped_weights: true,
        params_stride: 0,
        max_binding: u64::MAX,
        max_buffer: u64::MAX,
        ring: 0,
        element_scale: size_of::<F>() as u64 / 4,
    }
}

/// The CPU executor as a device, for people.
pub fn info(threads: usize, why: String) -> DeviceInfo {
    DeviceInfo { name: name(), kind: DeviceKind::Cpu, driver: format!("{threads} threads"), why }
}

/// Runs plans on the CPU.
pub struct CpuExecutor<F: CpuReal> {
    pool: Pool<Shared<F>>,
    layout: Layout,
    info: DeviceInfo,
    next: u64,
    fetched: Vec<u32>,
}

/// Picks the op's twin for the float type.
pub trait CpuReal: Real {
    /// The twin.
    fn twin(op: Op) -> fn(&Context<'_, Self>);
}

impl CpuReal for f32 {
    fn twin(op: Op) -> fn(&Context<'_, f32>) {
        op.twin().single
    }
}

impl CpuReal for f64 {
    fn twin(op: Op) -> fn(&Context<'_, f64>) {
        op.twin().double
    }
}

struct Shared<F> {
    program: Program,
    /// By plan, by call: one view per argument.
    views: Vec<Vec<Vec<View<F>>>>,
    /// By plan: whether its products round nothing.
    exact: Vec<bool>,
    memory: Memory<F>,
    job: RwLock<Job>,
    times: RwLock<Option<Times>>,
    _weights: Weights,
}

/// Calls and seconds of each op, and when the last call was done.
struct Times {
    ops: Vec<(u64, f64)>,
    since: Instant,
}

struct Job {
    plan: PlanId,
    step: Step,
    exact: bool,
}

impl<F: CpuReal> CpuExecutor<F> {
    /// Allocates what the map says and maps the weights. `threads` counts the calling thread.
    pub fn boot(
        program: Program,
        layout: &Layout,
        weights: Weights,
        threads: usize,
    ) -> Result<Self, ExecError> {
        let threads = threads.max(1);
        let memory = Memory::allocate(&program, layout, &weights)?;
        let views = views(&program, &memory, &weights)?;
        let capacity = |f: fn(&crate::plan::Plan) -> usize| program.plans.iter().map(f).max().unwrap_or(0);
        let step = Step::with_capacity(capacity(|p| p.tokens), capacity(|p| p.outputs));
        let fetch_words =
            program.plans.iter().filter_map(|p| p.fetch).map(|t| words(&program, t)).max().unwrap_or(0);
        let shared = Shared {
            exact: exact_plans(&program),
            program,
            views,
            memory,
            job: RwLock::new(Job { plan: PlanId(0), step, exact: false }),
            times: RwLock::new(None),
            _weights: weights,
        };
        let pool = Pool::start(threads, shared)
            .map_err(|e| ExecError::Device(format!("cannot start {threads} threads: {e}")))?;
        let info = info(threads, String::new());
        Ok(Self { pool, layout: layout.clone(), info, next: 0, fetched: Vec::with_capacity(fetch_words) })
    }

    /// All values of a float tensor as the last step left them: what gradients are checked with in double precision.
    ///
    /// # Errors
    /// [`ExecError::Internal`] if it is not in the map.
    pub fn values(&self, id: TensorId) -> Result<Vec<F>, ExecError> {
        self.pool.work().memory.floats(id, words(&self.pool.work().program, id)).map(<[F]>::to_vec)
    }

    /// Products with encoded weights take activations as they are from here on; or round them, as they do at first, unless a
    /// plan scores or learns.
    pub fn set_exact(&mut self, exact: bool) {
        self.pool.work().job.write().unwrap_or_else(PoisonError::into_inner).exact = exact;
    }

    /// Why this device was chosen, for people.
    pub fn set_why(&mut self, why: String) {
        self.info.why = why;
    }

    fn fetch(&mut self, plan: PlanId, step: &Step) {
        self.fetched.clear();
        let Some(id) = self.pool.work().program.plans[plan.index()].fetch else { return };
        let tensor = self.pool.work().program.get(id);
        let active = step.active(tensor.rows) * tensor.width;
        self.pool.work().memory.read_words(id, tensor.dtype, active, &mut self.fetched);
    }
}

impl<F: CpuReal> Executor for CpuExecutor<F> {
    fn program(&self) -> &Program {
        &self.pool.work().program
    }

    fn device(&self) -> &DeviceInfo {
        &self.info
    }

    fn allocated(&self) -> Vec<(SegmentKind, u64)> {
        self.layout.segments.iter().map(|s| (s.kind, self.pool.work().memory.allocated(s.kind))).collect()
    }

    fn depth(&self) -> usize {
        1
    }

    fn submit(&mut self, plan: PlanId, step: &Step) -> Result<Ticket, ExecError> {
        check_step(&self.pool.work().program, plan, step)?;
        {
            let mut job = self.pool.work().job.write().unwrap_or_else(PoisonError::into_inner);
            job.plan = plan;
            job.step.rows.clone_from(&step.rows);
            job.step.outs.clone_from(&step.outs);
            (job.step.scalars, job.step.seed) = (step.scalars, step.seed);
        }
        if let Some(times) = &mut *self.pool.work().times.write().unwrap_or_else(PoisonError::into_inner) {
            times.since = Instant::now();
        }
        let calls = self.pool.work().program.plans[plan.index()].calls.len();
        if !self.pool.run(calls) {
            return Err(ExecError::Internal("an op failed on a CPU thread".into()));
        }
        self.fetch(plan, step);
        self.next += 1;
        Ok(Ticket(self.next))
    }

    fn wait(&mut self, ticket: Ticket, out: &mut Vec<u32>) -> Result<(), ExecError> {
        if ticket.0 != self.next {
            return Err(ExecError::Step(format!("step {} is no longer held", ticket.0)));
        }
        out.clear();
        out.extend_from_slice(&self.fetched);
        Ok(())
    }

    fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError> {
        check_access(&self.pool.work().program, id, values.len())?;
        // `&mut self`: no step runs, so that nothing else reaches the memory.
        self.pool.work().memory.write_floats(id, values)
    }

    fn read(&mut self, id: TensorId, out: &mut Vec<f32>) -> Result<(), ExecError> {
        check_access(&self.pool.work().program, id, 0)?;
        out.clear();
        let values = self.pool.work().memory.floats(id, words(&self.pool.work().program, id))?;
        out.extend(values.iter().map(|v| v.to_f32()));
        Ok(())
    }

    fn profile(&mut self, on: bool) {
        let mut times = self.pool.work().times.write().unwrap_or_else(PoisonError::into_inner);
        *times = on.then(|| Times { ops: vec![(0, 0.0); Op::ALL.len()], since: Instant::now() });
    }

    fn op_times(&mut self) -> Result<Vec<OpTime>, ExecError> {
        let times = self.pool.work().times.read().unwrap_or_else(PoisonError::into_inner);
        let all = times.iter().flat_map(|times| &times.ops).zip(Op::ALL);
        let mut list: Vec<OpTime> = all
            .filter(|((calls, _), _)| *calls > 0)
            .map(|((calls, seconds), op)| OpTime { op: op.def().stem, calls: *calls, seconds: *seconds })
            .collect();
        list.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(list)
    }

    fn bandwidth(&mut self) -> Result<Option<f64>, ExecError> {
        Ok(Some(bandwidth::measure(self.layout.mapped, self.pool.threads())))
    }
}

impl<F: CpuReal> Work for Shared<F> {
    fn part(&self, call: usize, part: usize, parts: usize) {
        // Nobody writes while a part is taken.
        let job = self.job.read().unwrap_or_else(PoisonError::into_inner);
        let plan = job.plan.index();
        let (call, views) = (&self.program.plans[plan].calls[call], &self.views[plan][call]);
        F::twin(Op::of(call))(
            &Context::new(call, &job.step, views, part, parts).exact(job.exact || self.exact[plan]),
        );
    }

    fn done(&self, call: usize) {
        if self.times.read().is_ok_and(|times| times.is_none()) {
            return;
        }
        let plan = self.job.read().unwrap_or_else(PoisonError::into_inner).plan.index();
        let op = self.program.plans[plan].calls[call].op.number as usize;
        if let Some(times) = &mut *self.times.write().unwrap_or_else(PoisonError::into_inner) {
            times.ops[op].0 += 1;
            times.ops[op].1 += times.since.elapsed().as_secs_f64();
            times.since = Instant::now();
        }
    }
}

/// By plan: what is scored or learnt takes activations as they are, as sums over many tokens, and small differences of them, see
/// what rounding adds to each. What is only written or looked at is rounded.
fn exact_plans(program: &Program) -> Vec<bool> {
    let any = |plan: &Plan, ops: &[Op]| plan.calls.iter().any(|call| ops.contains(&Op::of(call)));
    // A pass of training is cut into several plans: of its program, only what samples is rounded.
    let learns = program.plans.iter().any(|plan| any(plan, &[Op::LinearBack, Op::ProjectBack, Op::Outer]));
    let exact = |plan: &Plan| any(plan, &[Op::LogProb]) || (learns && !any(plan, &[Op::Sample]));
    program.plans.iter().map(exact).collect()
}

fn words(program: &Program, id: TensorId) -> usize {
    program.capacity_rows(id) * program.get(id).width
}

fn views<F: CpuReal>(
    program: &Program,
    memory: &Memory<F>,
    weights: &Weights,
) -> Result<Vec<Vec<Vec<View<F>>>>, ExecError> {
    let view = |id: &Option<TensorId>| id.map_or(Ok(View::Absent), |id| memory.view(program, weights, id));
    let calls = |plan: &crate::plan::Plan| {
        plan.calls.iter().map(|call| call.args().iter().map(view).collect()).collect::<Result<Vec<_>, _>>()
    };
    program.plans.iter().map(calls).collect()
}

/// The processor's name where the system tells it.
pub fn name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = info
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, n)| n.trim().to_owned()));
    named.unwrap_or_else(|| format!("{} CPU", std::env::consts::ARCH))
}
