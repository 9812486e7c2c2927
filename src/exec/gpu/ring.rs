//! Upload and readback buffers that steps take in turn, so that a step allocates nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::arena::Arena;
use super::device::Device;
use crate::exec::{ExecError, Ticket};
use crate::plan::{Inputs, Placement, Row, SegmentKind, Step, TensorId};

/// State of a mapping, set by the driver's callback.
#[derive(Clone, Default)]
struct Mapping(Arc<AtomicU8>);

const UNMAPPED: u8 = 0;
const PENDING: u8 = 1;
const MAPPED: u8 = 2;
const FAILED: u8 = 3;

impl Mapping {
    fn request(&self, buffer: &wgpu::Buffer, mode: wgpu::MapMode, bytes: u64) {
        self.0.store(PENDING, Ordering::Release);
        let state = Arc::clone(&self.0);
        buffer.map_async(mode, 0..bytes, move |result| {
            state.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Release);
    }
}

/// What a step's fetched tensor is, and how much of it is active.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// Tensor.
    pub id: TensorId,
    /// Active bytes.
    pub bytes: u64,
}

/// A step in flight.
pub struct Flight {
    ticket: Ticket,
    fetched: u64,
    submission: wgpu::SubmissionIndex,
    started: Instant,
    load: Load,
}

/// How much work a step is, and how long it is waited for at most.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Multiply-adds.
    pub work: f64,
    /// Longest wait.
    pub patience: Duration,
}

struct Slot {
    upload: wgpu::Buffer,
    uploading: Mapping,
    readback: Option<wgpu::Buffer>,
    reading: Mapping,
    last: Option<(wgpu::SubmissionIndex, Duration)>,
    flight: Option<Flight>,
}

/// All slots.
pub struct Ring {
    slots: Vec<Slot>,
    next: u64,
    inputs: Inputs,
    rows: Placement,
    outs: Placement,
    outs_at: u64,
    /// Where the optimizer's numbers go, and where they lie in the upload buffer.
    scalars: Option<(TensorId, Placement, u64)>,
    idle_since: Instant,
}

impl Ring {
    /// Takes the ring's buffers from the arena; the upload buffers are mapped already.
    pub fn new(arena: &Arena, inputs: Inputs) -> Result<Self, ExecError> {
        let (_, rows) = arena.locate(inputs.rows)?;
        let (_, outs) = arena.locate(inputs.outs)?;
        let readback = arena.buffers(SegmentKind::Readback);
        let slot = |(i, upload): (usize, &wgpu::Buffer)| {
            let uploading = Mapping::default();
            uploading.set(MAPPED);
            Slot {
                upload: upload.clone(),
                uploading,
                readback: readback.get(i).cloned(),
                reading: Mapping::default(),
                last: None,
                flight: None,
            }
        };
        let slots: Vec<Slot> = arena.buffers(SegmentKind::Upload).iter().enumerate().map(slot).collect();
        if slots.is_empty() {
            return Err(ExecError::Internal("the map has no upload ring".into()));
        }
        let align = arena.layout().profile.align;
        let outs_at = rows.bytes.next_multiple_of(align);
        let scalars_at = outs_at + outs.bytes.next_multiple_of(align);
        let scalars = match inputs.scalars {
            Some(id) => Some((id, arena.locate(id)?.1, scalars_at)),
            None => None,
        };
        Ok(Self { slots, next: 0, inputs, rows, outs, outs_at, scalars, idle_since: Instant::now() })
    }

    /// Steps that may be in flight.
    pub fn depth(&self) -> usize {
        self.slots.len()
    }

    fn slot_of(&self, ticket: u64) -> usize {
        (ticket % self.slots.len() as u64) as usize
    }

    /// Writes a step into the next upload buffer and records its copy to the device's inputs.
    pub fn upload(
        &mut self,
        device: &Device,
        arena: &Arena,
        step: &Step,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<(), ExecError> {
        let at = self.slot_of(self.next);
        let slot = &mut self.slots[at];
        if slot.flight.is_some() {
            return Err(ExecError::Step(format!(
                "{} steps are in flight; wait for the oldest",
                self.slots.len()
            )));
        }
        if let (PENDING, Some((submission, patience))) = (slot.uploading.get(), slot.last.clone()) {
            device.poll(Some(submission), patience)?;
        }
        if slot.uploading.get() != MAPPED {
            return Err(ExecError::Device("the driver did not give an upload buffer back".into()));
        }
        let header = Row::header(step.rows.len(), step.outs.len(), step.seed);
        let rows_bytes = (1 + step.rows.len() as u64) * size_of::<Row>() as u64;
        let outs_bytes = size_of_val(step.outs.as_slice()) as u64;
        write(&slot.upload, 0, bytemuck::bytes_of(&header))?;
        write(&slot.upload, size_of::<Row>() as u64, bytemuck::cast_slice(&step.rows))?;
        write(&slot.upload, self.outs_at, bytemuck::cast_slice(&step.outs))?;
        if let Some((_, _, at)) = self.scalars {
            write(&slot.upload, at, bytemuck::bytes_of(&step.scalars))?;
        }
        slot.upload.unmap();
        slot.uploading.set(UNMAPPED);
        let (rows, _) = arena.locate(self.inputs.rows)?;
        let (outs, _) = arena.locate(self.inputs.outs)?;
        encoder.copy_buffer_to_buffer(&slot.upload, 0, rows, self.rows.offset, rows_bytes);
        if outs_bytes > 0 {
            encoder.copy_buffer_to_buffer(&slot.upload, self.outs_at, outs, self.outs.offset, outs_bytes);
        }
        if let Some((id, place, at)) = self.scalars {
            let (to, _) = arena.locate(id)?;
            let bytes = size_of_val(&step.scalars) as u64;
            encoder.copy_buffer_to_buffer(&slot.upload, at, to, place.offset, bytes);
        }
        Ok(())
    }

    /// Records the copy of the fetched tensor to this step's readback buffer.
    pub fn download(
        &self,
        arena: &Arena,
        fetch: Option<Fetch>,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<(), ExecError> {
        let Some(Fetch { id, bytes }) = fetch.filter(|f| f.bytes > 0) else { return Ok(()) };
        let (from, place) = arena.locate(id)?;
        let missing = || ExecError::Internal("the map has no readback ring".into());
        let to = self.slots[self.slot_of(self.next)].readback.as_ref().ok_or_else(missing)?;
        encoder.copy_buffer_to_buffer(from, place.offset, to, 0, bytes);
        Ok(())
    }

    /// The step recorded since [`Ring::upload`] has been submitted.
    pub fn submitted(
        &mut self,
        submission: wgpu::SubmissionIndex,
        fetch: Option<Fetch>,
        started: Instant,
        load: Load,
    ) -> Ticket {
        let ticket = Ticket(self.next);
        let at = self.slot_of(self.next);
        let slot = &mut self.slots[at];
        let fetched = fetch.map_or(0, |f| f.bytes);
        slot.uploading.request(&slot.upload, wgpu::MapMode::Write, slot.upload.size());
        if let (Some(readback), true) = (&slot.readback, fetched > 0) {
            slot.reading.request(readback, wgpu::MapMode::Read, fetched);
        }
        slot.last = Some((submission.clone(), load.patience));
        slot.flight = Some(Flight { ticket, fetched, submission, started, load });
        self.next += 1;
        ticket
    }

    /// Waits for a step and puts its words into `out`; how much work took how long since the device had nothing else
    /// to do.
    pub fn wait(
        &mut self,
        device: &Device,
        ticket: Ticket,
        out: &mut Vec<u32>,
    ) -> Result<(f64, Duration), ExecError> {
        out.clear();
        let at = self.slot_of(ticket.0);
        let slot = &mut self.slots[at];
        let Some(flight) = slot.flight.take_if(|f| f.ticket == ticket) else {
            return Err(ExecError::Step(format!("step {} is no longer held", ticket.0)));
        };
        device.poll(Some(flight.submission), flight.load.patience)?;
        let took = flight.started.max(self.idle_since).elapsed();
        self.idle_since = Instant::now();
        if let (Some(readback), true) = (&slot.readback, flight.fetched > 0) {
            if slot.reading.get() != MAPPED {
                return Err(ExecError::Device("the driver did not map a result".into()));
            }
            let view =
                readback.get_mapped_range(0..flight.fetched).map_err(|e| ExecError::Device(e.to_string()))?;
            out.extend(view.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])));
            drop(view);
            readback.unmap();
            slot.reading.set(UNMAPPED);
        }
        Ok((flight.load.work, took))
    }
}

fn write(buffer: &wgpu::Buffer, at: u64, bytes: &[u8]) -> Result<(), ExecError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let range = at..at + bytes.len() as u64;
    buffer.get_mapped_range_mut(range).map_err(|e| ExecError::Device(e.to_string()))?.copy_from_slice(bytes);
    Ok(())
}
