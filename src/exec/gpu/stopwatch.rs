//! Time per op, by the device's own clock where it has one. Only when it is asked for; what it allocates is freed again.

use std::time::Instant;

use super::calls::Call;
use super::device::Device;
use crate::exec::{ExecError, OpTime};
use crate::ops::Op;
use crate::plan::Step;

/// Calls timed with one set of queries.
const CALLS: usize = 1024;

/// Times calls one by one, and adds up.
pub struct Stopwatch {
    totals: Vec<(u64, f64)>,
    clock: Clock,
}

/// Times calls: by the device's own clock where it has one, else by waiting for each.
pub struct Clock {
    queries: Option<Queries>,
}

struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
    period: f64,
}

impl Clock {
    /// A clock for at most so many times at once.
    pub fn new(device: &Device, most: usize) -> Self {
        let timed = device.features.contains(wgpu::Features::TIMESTAMP_QUERY);
        let queries = if timed { device.guarded(|| Queries::new(device, most)).ok() } else { None };
        Self { queries }
    }

    /// One that waits for each.
    pub fn waiting() -> Self {
        Self { queries: None }
    }

    /// Runs calls of a step, a few at a time; the seconds of each few.
    ///
    /// # Errors
    /// That the device failed.
    pub fn seconds(&self, device: &Device, runs: &[&[&Call]], step: &Step) -> Result<Vec<f64>, ExecError> {
        match &self.queries {
            Some(queries) => queries.run(device, runs, step),
            None => by_waiting(device, runs, step),
        }
    }
}

impl Stopwatch {
    /// A stopwatch at zero.
    pub fn new(device: &Device) -> Self {
        Self { totals: vec![(0, 0.0); Op::ALL.len()], clock: Clock::new(device, CALLS) }
    }

    /// Runs all calls of a step and adds up their times.
    pub fn run(&mut self, device: &Device, calls: &[Call], step: &Step) -> Result<(), ExecError> {
        for calls in calls.chunks(CALLS) {
            let each: Vec<&Call> = calls.iter().collect();
            let each: Vec<&[&Call]> = each.chunks(1).collect();
            for (call, seconds) in calls.iter().zip(self.clock.seconds(device, &each, step)?) {
                let entry = &mut self.totals[call.op as usize];
                entry.0 += 1;
                entry.1 += seconds;
            }
        }
        Ok(())
    }

    /// Times so far, longest first.
    pub fn times(&self) -> Vec<OpTime> {
        let ops = Op::ALL.iter().zip(&self.totals).filter(|(_, (calls, _))| *calls > 0);
        let mut list: Vec<OpTime> = ops
            .map(|(op, (calls, seconds))| OpTime { op: op.def().stem, calls: *calls, seconds: *seconds })
            .collect();
        list.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        list
    }
}

impl Queries {
    fn new(device: &Device, most: usize) -> Self {
        let bytes = most as u64 * 16;
        let buffer = |usage| {
            let label = Some("op times");
            device.device.create_buffer(&wgpu::BufferDescriptor {
                label,
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        };
        let set = wgpu::QuerySetDescriptor {
            label: Some("op times"),
            ty: wgpu::QueryType::Timestamp,
            count: most as u32 * 2,
        };
        Self {
            set: device.device.create_query_set(&set),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            readback: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            period: f64::from(device.queue.get_timestamp_period()) * 1e-9,
        }
    }

    /// Seconds of each few calls.
    fn run(&self, device: &Device, runs: &[&[&Call]], step: &Step) -> Result<Vec<f64>, ExecError> {
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (i, calls) in runs.iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &self.set,
                    beginning_of_pass_write_index: Some(2 * i as u32),
                    end_of_pass_write_index: Some(2 * i as u32 + 1),
                }),
            });
            calls.iter().for_each(|call| call.record(&mut pass, step));
        }
        let bytes = runs.len() as u64 * 16;
        encoder.resolve_query_set(&self.set, 0..runs.len() as u32 * 2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, bytes);
        device.queue.submit([encoder.finish()]);
        let words = device.read(&self.readback, bytes)?;
        let stamps: Vec<u64> =
            words.chunks_exact(2).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32).collect();
        Ok(stamps.chunks_exact(2).map(|s| s[1].saturating_sub(s[0]) as f64 * self.period).collect())
    }
}

fn by_waiting(device: &Device, runs: &[&[&Call]], step: &Step) -> Result<Vec<f64>, ExecError> {
    let mut seconds = Vec::with_capacity(runs.len());
    for calls in runs {
        let start = Instant::now();
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        calls.iter().for_each(|call| call.record(&mut pass, step));
        drop(pass);
        device.queue.submit([encoder.finish()]);
        device.wait_idle()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(seconds)
}
