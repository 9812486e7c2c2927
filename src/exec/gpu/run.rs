//! The executor: the sole place that dispatches.

use std::time::Instant;

use super::arena::Arena;
use super::calls::{Call, prepare};
use super::device::{Device, GpuOptions};
use super::governor::Governor;
use super::launch::Allowed;
use super::ring::{Fetch, Load, Ring};
use super::stopwatch::Stopwatch;
use super::upload::upload_weights;
use crate::exec::{
    Breaker, DeviceInfo, DeviceKind, ExecError, Executor, OpTime, Ticket, Weights, check_access, check_step,
};
use crate::plan::{DType, Layout, PlanId, Program, SegmentKind, Step, TensorId};

/// Runs plans on a GPU.
pub struct GpuExecutor {
    pub(super) device: Device,
    pub(super) program: Program,
    pub(super) arena: Arena,
    /// By plan, by call.
    pub(super) calls: Vec<Vec<Call>>,
    ring: Ring,
    governor: Governor,
    stopwatch: Option<Stopwatch>,
}

impl GpuExecutor {
    pub(super) fn boot(
        device: Device,
        program: Program,
        layout: &Layout,
        weights: &Weights,
        options: &GpuOptions,
        allowed: &Allowed,
    ) -> Result<Self, ExecError> {
        let inputs =
            program.inputs.ok_or_else(|| ExecError::Internal("the program has no step inputs".into()))?;
        let arena = Arena::allocate(&device, layout)?;
        upload_weights(&device, &arena, &program, weights)?;
        let calls = prepare(&device, &arena, &program, allowed, options.checked)?;
        let ring = Ring::new(&arena, inputs)?;
        device.wait_idle()?;
        // What runs on a CPU has no watchdog.
        let governor = Governor::new(options.max_submit_ms, device.info.kind != DeviceKind::Software);
        Ok(Self { device, program, arena, calls, ring, governor, stopwatch: None })
    }

    fn fetch(&self, plan: PlanId, step: &Step) -> Option<Fetch> {
        let id = self.program.plans[plan.index()].fetch?;
        let tensor = self.program.get(id);
        let elements = (step.active(tensor.rows) * tensor.width) as u64;
        let bytes =
            if tensor.dtype == DType::Block16 { (elements * 2).next_multiple_of(4) } else { elements * 4 };
        Some(Fetch { id, bytes })
    }

    /// Records and submits the plan in as many submissions as the governor wants.
    fn dispatch(
        &mut self,
        plan: PlanId,
        step: &Step,
        mut encoder: wgpu::CommandEncoder,
        fetch: Option<Fetch>,
    ) -> Result<(wgpu::SubmissionIndex, f64), ExecError> {
        let calls = &self.calls[plan.index()];
        let budget = self.governor.budget();
        let (mut total, mut at) = (0.0, 0);
        while at < calls.len() {
            let mut load = 0.0;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            while let Some(call) = calls.get(at) {
                let work = call.load(step);
                if load > 0.0 && load + work > budget {
                    break;
                }
                call.record(&mut pass, step);
                load += work;
                at += 1;
            }
            drop(pass);
            total += load;
            if at < calls.len() {
                let next = self.encoder();
                self.device.queue.submit([std::mem::replace(&mut encoder, next).finish()]);
            }
        }
        self.ring.download(&self.arena, fetch, &mut encoder)?;
        Ok((self.device.queue.submit([encoder.finish()]), total))
    }

    /// Whether the device bears every call of a step.
    fn check_watchdog(&self, plan: PlanId, step: &Step) -> Result<(), ExecError> {
        let mut calls = self.calls[plan.index()].iter();
        calls.try_for_each(|call| self.governor.bears(call.op.def().stem, call.load(step)))
    }

    fn start(&mut self, plan: PlanId, step: &Step) -> Result<Ticket, ExecError> {
        let started = Instant::now();
        let fetch = self.fetch(plan, step);
        let mut encoder = self.encoder();
        self.ring.upload(&self.device, &self.arena, step, &mut encoder)?;
        let (submission, work) = match &mut self.stopwatch {
            None => self.dispatch(plan, step, encoder, fetch)?,
            Some(stopwatch) => {
                self.device.queue.submit([encoder.finish()]);
                stopwatch.run(&self.device, &self.calls[plan.index()], step)?;
                let mut encoder = self.encoder();
                self.ring.download(&self.arena, fetch, &mut encoder)?;
                (self.device.queue.submit([encoder.finish()]), 0.0)
            }
        };
        let load = Load { work, patience: self.governor.patience(work) };
        let ticket = self.ring.submitted(submission, fetch, started, load);
        self.device.faults.check()?;
        Ok(ticket)
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }
}

impl Executor for GpuExecutor {
    fn program(&self) -> &Program {
        &self.program
    }

    fn device(&self) -> &DeviceInfo {
        &self.device.info
    }

    fn allocated(&self) -> Vec<(SegmentKind, u64)> {
        self.arena.allocated()
    }

    fn depth(&self) -> usize {
        self.ring.depth()
    }

    fn submit(&mut self, plan: PlanId, step: &Step) -> Result<Ticket, ExecError> {
        check_step(&self.program, plan, step)?;
        self.check_watchdog(plan, step)?;
        self.start(plan, step).map_err(|e| self.device.explain(e))
    }

    fn wait(&mut self, ticket: Ticket, out: &mut Vec<u32>) -> Result<(), ExecError> {
        let waited = self.ring.wait(&self.device, ticket, out);
        let (work, took) = waited.map_err(|e| self.device.explain(e))?;
        self.governor.observe(work, took);
        Ok(())
    }

    fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError> {
        check_access(&self.program, id, values.len())?;
        self.write_tensor(id, bytemuck::cast_slice(values))
    }

    fn read(&mut self, id: TensorId, out: &mut Vec<f32>) -> Result<(), ExecError> {
        check_access(&self.program, id, 0)?;
        out.clear();
        out.extend(self.read_tensor(id)?.into_iter().map(f32::from_bits));
        Ok(())
    }

    fn profile(&mut self, on: bool) {
        self.stopwatch = on.then(|| Stopwatch::new(&self.device));
    }

    fn op_times(&mut self) -> Result<Vec<OpTime>, ExecError> {
        Ok(self.stopwatch.as_ref().map(Stopwatch::times).unwrap_or_default())
    }

    fn bandwidth(&mut self) -> Result<Option<f64>, ExecError> {
        super::bandwidth::measure(&self.device).map(Some)
    }

    fn breaker(&self) -> Option<Breaker> {
        let device = self.device.clone();
        Some(Breaker::new(move || device.lose()))
    }
}
