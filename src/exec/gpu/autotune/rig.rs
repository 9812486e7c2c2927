//! Measures ways to run a call on the device, in memory of its own that is freed again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Timer;
use super::trial::{Point, Trial};
use crate::exec::gpu::Gpu;
use crate::exec::gpu::arena::Arena;
use crate::exec::gpu::calls::{Call, each_way};
use crate::exec::gpu::device::Device;
use crate::exec::gpu::governor::Governor;
use crate::exec::gpu::shrink::shrink;
use crate::exec::gpu::stopwatch::Clock;
use crate::exec::{DeviceKind, ExecError, check_step};
use crate::plan::{DType, Layout, PlanId, Profile, Program, Role, Row, Step, Tensor, TensorId};

/// Seconds of one submission: well above the grain of any clock, well below a watchdog's patience.
const SAMPLE: f64 = 4e-3;
/// Most times that a call is repeated in a submission.
const MOST: f64 = 256.0;
/// Samples of each way; of ways that fill a sample with one run.
const SAMPLES: (usize, usize) = (7, 3);
/// Where there is a watchdog, a way first runs with this part of the rows.
const PART: usize = 8;
/// Bytes of weights that are gone through in turns, so that they come from memory, as in a model, and not from a cache; in at
/// most so many copies.
const COLD: (u64, u64) = (96 << 20, 64);
/// Bytes of the content that tensors are filled with, again and again.
const PATTERN: u64 = 1 << 20;

/// A device with one call on it.
pub struct Rig {
    device: Device,
    checked: bool,
    profile: Profile,
    clock: Clock,
    max_submit_ms: u32,
    watched: bool,
    /// The copy whose turn it is.
    turn: usize,
    loaded: Option<Loaded>,
}

/// One call by itself, with copies of its weights, and its memory.
struct Loaded {
    program: Program,
    arena: Arena,
    plan: PlanId,
}

impl Rig {
    /// Nothing is allocated yet.
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            device: gpu.device.clone(),
            checked: gpu.options.checked,
            profile: gpu.profile(),
            clock: Clock::new(&gpu.device, 1),
            max_submit_ms: gpu.options.max_submit_ms,
            watched: gpu.device.info.kind != DeviceKind::Software,
            turn: 0,
            loaded: None,
        }
    }

    /// Seconds of one run, of so many in one submission.
    fn run(&mut self, copies: &[Call], runs: usize, step: &Step) -> Result<f64, ExecError> {
        let calls: Vec<&Call> =
            copies.iter().cycle().skip(self.turn % copies.len().max(1)).take(runs).collect();
        self.turn += runs;
        let mut seconds = self.clock.seconds(&self.device, &[&calls[..]], step)?;
        if seconds.iter().all(|seconds| *seconds <= 0.0) {
            // A clock that stands still.
            self.clock = Clock::waiting();
            seconds = self.clock.seconds(&self.device, &[&calls[..]], step)?;
        }
        Ok(seconds.first().copied().unwrap_or(0.0) / runs as f64)
    }

    /// Whether the device bears a way with all rows, by what a part of them takes.
    fn bears(
        &mut self,
        trial: &Trial<'_>,
        loaded: &Loaded,
        copies: &[Call],
        rows: usize,
    ) -> Result<(), ExecError> {
        if !self.watched {
            return Ok(());
        }
        let (few, all) = (trial.step((rows / PART).max(1)), trial.step(rows));
        loaded.write(&self.device, &few)?;
        self.run(copies, 1, &few)?;
        let took = Duration::from_secs_f64(self.run(copies, 1, &few)?.max(0.0));
        let load = |step: &Step| copies.first().map_or(0.0, |call| call.load(step));
        let mut governor = Governor::new(self.max_submit_ms, true);
        governor.observe(load(&few), took);
        governor.bears(trial.call().def().stem, load(&all))
    }
}

impl Timer for Rig {
    fn begin(&mut self, trial: &Trial<'_>) -> Result<(), ExecError> {
        // The last one's memory first.
        self.loaded = None;
        self.loaded = Some(Loaded::new(&self.device, self.profile, trial)?);
        Ok(())
    }

    fn seconds(&mut self, trial: &Trial<'_>, point: &Point) -> Result<Vec<f64>, ExecError> {
        let loaded = self.loaded.take().ok_or_else(|| ExecError::Internal("nothing is loaded".into()))?;
        let step = trial.step(point.rows);
        check_step(&loaded.program, loaded.plan, &step)?;
        let Loaded { program, arena, plan } = &loaded;
        let ways = each_way(&self.device, arena, program, *plan, &point.ways, self.checked)?;
        let mut runs = Vec::new();
        for copies in &ways {
            self.bears(trial, &loaded, copies, point.rows)?;
            loaded.write(&self.device, &step)?;
            // The first run also pays for what is made when it is first needed.
            self.run(copies, 1, &step)?;
            let once = self.run(copies, 1, &step)?;
            runs.push((SAMPLE / once.max(1e-9)).clamp(1.0, MOST) as usize);
        }
        let rounds = if runs.iter().all(|runs| *runs > 1) { SAMPLES.0 } else { SAMPLES.1 };
        let mut samples = vec![Vec::new(); ways.len()];
        // In turns, so that a clock that rises or falls meets all.
        for _ in 0..rounds {
            for ((copies, runs), samples) in ways.iter().zip(&runs).zip(&mut samples) {
                samples.push(self.run(copies, *runs, &step)?);
            }
        }
        self.loaded = Some(loaded);
        Ok(samples.into_iter().map(median).collect())
    }

    fn end(&mut self) {
        self.loaded = None;
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}

impl Loaded {
    fn new(device: &Device, profile: Profile, trial: &Trial<'_>) -> Result<Self, ExecError> {
        let (program, used) = alone(trial, profile)?;
        let layout = Layout::new(&program, profile);
        let arena = Arena::allocate(device, &layout)?;
        let loaded = Self { program, arena, plan: trial.plan };
        device.guarded(|| loaded.fill(device, &used))??;
        Ok(loaded)
    }

    /// Puts numbers into all tensors that hold any: small ones, in whichever format they are read.
    fn fill(&self, device: &Device, used: &HashSet<TensorId>) -> Result<(), ExecError> {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let words: Vec<u32> = (0..PATTERN / 4)
            .map(|_| {
                random ^= random >> 12;
                random ^= random << 25;
                random ^= random >> 27;
                // Exponents of halves and of floats that are neither 0 nor the largest.
                ((random >> 16) as u32 & 0x8fff_8fff) | 0x3000_3000
            })
            .collect();
        let pattern = device.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("tuning"),
            size: PATTERN,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        device.queue.write_buffer(&pattern, 0, bytemuck::cast_slice(&words));
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let numbers = |id: &&TensorId| {
            let tensor = self.program.get(**id);
            tensor.dtype != DType::U32 && tensor.role != Role::Input
        };
        for id in used.iter().filter(numbers) {
            let (buffer, place) = self.arena.locate(*id)?;
            for at in (0..place.bytes).step_by(PATTERN as usize) {
                let bytes = PATTERN.min(place.bytes - at) & !3;
                encoder.copy_buffer_to_buffer(&pattern, 0, buffer, place.offset + at, bytes);
            }
        }
        device.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Puts a step where the shaders read it.
    fn write(&self, device: &Device, step: &Step) -> Result<(), ExecError> {
        let missing = || ExecError::Internal("the program has no step inputs".into());
        let inputs = self.program.inputs.ok_or_else(missing)?;
        let header = Row::header(step.rows.len(), step.outs.len(), step.seed);
        let rows = [&[header][..], &step.rows].concat();
        let mut parts = vec![
            (inputs.rows, bytemuck::cast_slice::<_, u8>(&rows)),
            (inputs.outs, bytemuck::cast_slice(&step.outs)),
        ];
        parts.extend(inputs.scalars.map(|id| (id, bytemuck::bytes_of(&step.scalars))));
        for (id, bytes) in parts.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let (buffer, place) = self.arena.locate(id)?;
            device.guarded(|| device.queue.write_buffer(buffer, place.offset, bytes))?;
        }
        Ok(())
    }
}

/// The program of one call, again and again with weights of its own, and its tensors: the others, and the other plans, are as
/// good as not there.
fn alone(trial: &Trial<'_>, profile: Profile) -> Result<(Program, HashSet<TensorId>), ExecError> {
    let mut program = trial.program.clone();
    let mut used: HashSet<TensorId> = trial.call().args().iter().flatten().copied().collect();
    let wholes = used.iter().filter_map(|id| match program.get(*id).role {
        Role::View { of, .. } => Some(of),
        _ => None,
    });
    used.extend(wholes.collect::<Vec<_>>());
    shrink(&mut program, &HashSet::from([trial.plan]), &used);
    for plan in &mut program.plans {
        plan.fetch = None;
    }
    let mut calls = vec![trial.call().clone()];
    for copy in 1..copies(trial, profile) {
        let mut others = HashMap::new();
        for id in weights(trial) {
            let weight = program.get(id).clone();
            let name = format!("{} again {copy}", weight.name);
            let other = program.tensor(Tensor { name, ..weight });
            others.insert(id, other.map_err(|e| ExecError::Internal(e.to_string()))?);
        }
        used.extend(others.values());
        calls.push(trial.call().with(&others));
    }
    program.plans[trial.plan.index()].calls = calls;
    Ok((program, used))
}

/// The matrices that a call reads.
fn weights(trial: &Trial<'_>) -> Vec<TensorId> {
    let matrix = |id: &TensorId| matches!(trial.program.get(*id).dtype, DType::Matrix(_));
    trial.call().args().iter().flatten().copied().filter(matrix).collect()
}

/// How many copies of a call's weights there are.
fn copies(trial: &Trial<'_>, profile: Profile) -> u64 {
    let bytes = |id: TensorId| {
        let weight = trial.program.get(id);
        let words = match weight.dtype {
            DType::Matrix(format) => format.planes(trial.program.capacity_rows(id), weight.width).words,
            _ => 0,
        };
        (words as u64 * 4).next_multiple_of(profile.align)
    };
    match weights(trial).into_iter().map(bytes).sum::<u64>() {
        0 => 1,
        each => COLD.0.div_ceil(each).clamp(1, COLD.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_sample_does_not_count() {
        assert_eq!(median(vec![5.0, 900.0, 4.0, 3.0, 6.0]), 5.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
