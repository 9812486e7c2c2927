//! The memory map: liveness gives every tensor an offset before anything is allocated.

use crate::plan::{DType, PlanId, Program, Role, TensorId};

/// What an executor needs of the map: alignment, limits, and how it keeps weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Alignment of every tensor, in bytes (a power of two).
    pub align: u64,
    /// Matrices stay in the mapped file (CPU; but for those that are joined) instead of being repacked into device memory.
    pub mapped_weights: bool,
    /// Bytes of one op call's parameters on the device, alignment included; 0 where they stay on the host.
    pub params_stride: u64,
    /// Largest single binding, in bytes: no tensor exceeds it.
    pub max_binding: u64,
    /// Largest single buffer, in bytes.
    pub max_buffer: u64,
    /// Steps that may be in flight: upload and readback slots.
    pub ring: usize,
    /// Size factor of float storage: 1, or 2 for the double-precision executor.
    pub element_scale: u64,
}

/// Kinds of memory, in the order of the map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum SegmentKind {
    /// Frozen weights.
    Weights,
    /// KV cache, token table.
    State,
    /// What is trained: adapters, or a model's own weights.
    Trained,
    /// Their gradients.
    Gradients,
    /// The optimizer's moments.
    Moments,
    /// Activations that the forward keeps for the gradient.
    Tape,
    /// Step inputs.
    Inputs,
    /// Op parameters.
    Params,
    /// Activations and outputs of all plans, overlaid.
    Arena,
    /// Host-visible upload ring.
    Upload,
    /// Host-visible readback ring.
    Readback,
}

impl SegmentKind {
    /// All kinds in map order.
    pub const ALL: [SegmentKind; 11] = [
        SegmentKind::Weights,
        SegmentKind::State,
        SegmentKind::Trained,
        SegmentKind::Gradients,
        SegmentKind::Moments,
        SegmentKind::Tape,
        SegmentKind::Inputs,
        SegmentKind::Params,
        SegmentKind::Arena,
        SegmentKind::Upload,
        SegmentKind::Readback,
    ];

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            SegmentKind::Weights => "weights",
            SegmentKind::State => "state",
            SegmentKind::Trained => "trained",
            SegmentKind::Gradients => "gradients",
            SegmentKind::Moments => "moments",
            SegmentKind::Tape => "tape",
            SegmentKind::Inputs => "inputs",
            SegmentKind::Params => "params",
            SegmentKind::Arena => "arena",
            SegmentKind::Upload => "upload",
            SegmentKind::Readback => "readback",
        }
    }
}

/// One kind of memory: the sizes of its buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which.
    pub kind: SegmentKind,
    /// Bytes of each buffer (for the rings: of each slot).
    pub buffers: Vec<u64>,
}

impl Segment {
    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().sum()
    }
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Kind of memory.
    pub segment: SegmentKind,
    /// Buffer within the segment.
    pub buffer: usize,
    /// Byte offset in the buffer.
    pub offset: u64,
    /// Bytes, without alignment.
    pub bytes: u64,
}

/// The whole map.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// All segments, in the order of [`SegmentKind::ALL`].
    pub segments: Vec<Segment>,
    /// By [`TensorId`]; `None` for matrices that stay in the mapped file.
    pub placements: Vec<Option<Placement>>,
    /// Bytes of matrices that stay in the mapped file.
    pub mapped: u64,
    /// What it was drawn for.
    pub profile: Profile,
}

impl Layout {
    /// Draws the map of a program.
    pub fn new(program: &Program, profile: Profile) -> Self {
        let mut layout =
            Self { segments: Vec::new(), placements: vec![None; program.tensors.len()], mapped: 0, profile };
        for kind in SegmentKind::ALL {
            let buffers = match kind {
                SegmentKind::Weights
                | SegmentKind::State
                | SegmentKind::Trained
                | SegmentKind::Gradients
                | SegmentKind::Moments
                | SegmentKind::Inputs => layout.place_shared(program, kind, |_| true),
                SegmentKind::Tape => layout.place_tapes(program),
                SegmentKind::Params => nonzero(params_bytes(program, profile)),
                SegmentKind::Arena => layout.place_plans(program),
                SegmentKind::Upload => vec![layout.upload_slot(program); profile.ring],
                SegmentKind::Readback => vec![layout.readback_slot(program); profile.ring],
            };
            layout.segments.push(Segment { kind, buffers });
        }
        layout.place_views(program);
        layout
    }

    /// Bytes of a segment.
    pub fn segment(&self, kind: SegmentKind) -> &Segment {
        // The constructor pushes every kind in order.
        &self.segments[kind as usize]
    }

    /// Bytes that booting allocates.
    pub fn total(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// Where a tensor lies; `None` if it stays in the mapped file.
    pub fn placement(&self, id: TensorId) -> Option<Placement> {
        self.placements[id.index()]
    }

    /// Byte offset of a call's parameters in the params buffer.
    pub fn params_offset(&self, program: &Program, plan: PlanId, call: usize) -> u64 {
        let before: usize = program.plans[..plan.index()].iter().map(|p| p.calls.len()).sum();
        (before + call) as u64 * self.profile.params_stride
    }

    fn align(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.profile.align) * self.profile.align
    }

    /// Overlays the tapes of the branches: one begins when another is done with.
    fn place_tapes(&mut self, program: &Program) -> Vec<u64> {
        let branches = program.plans.iter().map(|p| p.branch + 1).max().unwrap_or(0);
        let mut buffers: Vec<u64> = Vec::new();
        for branch in 0..branches {
            let own = |role: &Role| *role == Role::Tape { branch };
            for (index, bytes) in self.place_shared(program, SegmentKind::Tape, own).into_iter().enumerate() {
                match buffers.get_mut(index) {
                    Some(held) => *held = bytes.max(*held),
                    None => buffers.push(bytes),
                }
            }
        }
        buffers
    }

    fn place_shared(
        &mut self,
        program: &Program,
        kind: SegmentKind,
        belongs: impl Fn(&Role) -> bool,
    ) -> Vec<u64> {
        let mut buffers: Vec<u64> = Vec::new();
        for (index, tensor) in program.tensors.iter().enumerate() {
            if shared_segment(&tensor.role) != Some(kind) || !belongs(&tensor.role) {
                continue;
            }
            let bytes = tensor_bytes(program, TensorId(index as u32), self.profile);
            let whole = matches!(tensor.role, Role::Weight { .. });
            if self.profile.mapped_weights && whole && matches!(tensor.dtype, DType::Matrix(_)) {
                self.mapped += bytes;
                continue;
            }
            let padded = self.align(bytes);
            match buffers.last_mut() {
                Some(last) if *last + padded <= self.profile.max_buffer => *last += padded,
                _ => buffers.push(padded),
            }
            let buffer = buffers.len() - 1;
            self.placements[index] =
                Some(Placement { segment: kind, buffer, offset: buffers[buffer] - padded, bytes });
        }
        buffers
    }

    fn place_views(&mut self, program: &Program) {
        for (index, tensor) in program.tensors.iter().enumerate() {
            let Role::View { of, first } = tensor.role else { continue };
            let bytes = tensor_bytes(program, TensorId(index as u32), self.profile);
            let skip = first as u64 * 4 * self.profile.element_scale;
            self.placements[index] =
                self.placement(of).map(|p| Placement { offset: p.offset + skip, bytes, ..p });
        }
    }

    /// Overlays all plans in one arena; within a plan, tensors whose lives overlap do not share bytes.
    fn place_plans(&mut self, program: &Program) -> Vec<u64> {
        let mut top = 0;
        for plan in 0..program.plans.len() {
            let mut lives = lives(program, PlanId(plan as u32));
            for life in &mut lives {
                life.bytes = tensor_bytes(program, life.tensor, self.profile);
            }
            // Largest first, then by birth: a fixed order, so that the map is the same on every run.
            lives.sort_by_key(|l| (std::cmp::Reverse(l.bytes), l.first, l.tensor));
            let mut placed: Vec<(Life, u64)> = Vec::new();
            for life in lives {
                let offset = self.lowest_gap(&placed, &life);
                top = top.max(offset + self.align(life.bytes));
                self.placements[life.tensor.index()] =
                    Some(Placement { segment: SegmentKind::Arena, buffer: 0, offset, bytes: life.bytes });
                placed.push((life, offset));
            }
        }
        nonzero(top)
    }

    fn lowest_gap(&self, placed: &[(Life, u64)], life: &Life) -> u64 {
        let mut busy: Vec<(u64, u64)> = placed
            .iter()
            .filter(|(other, _)| other.first <= life.last && life.first <= other.last)
            .map(|(other, offset)| (*offset, offset + self.align(other.bytes)))
            .collect();
        busy.sort_unstable();
        let mut at = 0;
        for (from, to) in busy {
            if at + life.bytes <= from {
                break;
            }
            at = at.max(to);
        }
        at
    }

    fn upload_slot(&self, program: &Program) -> u64 {
        let inputs = program.inputs.into_iter().flat_map(|i| [Some(i.rows), Some(i.outs), i.scalars]);
        inputs.flatten().filter_map(|i| self.placement(i)).map(|p| self.align(p.bytes)).sum()
    }

    fn readback_slot(&self, program: &Program) -> u64 {
        let fetched = program.plans.iter().filter_map(|p| p.fetch);
        fetched.filter_map(|t| self.placement(t)).map(|p| self.align(p.bytes)).max().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Life {
    tensor: TensorId,
    first: usize,
    last: usize,
    bytes: u64,
}

fn nonzero(bytes: u64) -> Vec<u64> {
    if bytes == 0 { vec![] } else { vec![bytes] }
}

fn shared_segment(role: &Role) -> Option<SegmentKind> {
    match role {
        Role::Weight { .. } | Role::Joined { .. } => Some(SegmentKind::Weights),
        Role::State => Some(SegmentKind::State),
        Role::Trained => Some(SegmentKind::Trained),
        Role::Gradient => Some(SegmentKind::Gradients),
        Role::Moment => Some(SegmentKind::Moments),
        Role::Tape { .. } => Some(SegmentKind::Tape),
        Role::Input => Some(SegmentKind::Inputs),
        Role::View { .. } | Role::Activation | Role::Output => None,
    }
}

fn params_bytes(program: &Program, profile: Profile) -> u64 {
    program.plans.iter().map(|p| p.calls.len() as u64 * profile.params_stride).sum()
}

/// Bytes of a tensor as the executor of this profile stores it.
fn tensor_bytes(program: &Program, id: TensorId, profile: Profile) -> u64 {
    let tensor = program.get(id);
    let rows = program.capacity_rows(id) as u64;
    let elements = rows * tensor.width as u64;
    match tensor.dtype {
        DType::F32 | DType::U32 => elements * 4 * profile.element_scale,
        DType::Block16 => (elements * 2).next_multiple_of(4),
        DType::Matrix(format) if profile.mapped_weights => {
            rows * (tensor.width as u64 / format.block_len() as u64) * format.block_bytes() as u64
        }
        DType::Matrix(format) => format.planes(rows as usize, tensor.width).words as u64 * 4,
    }
}

/// First write to last use of each of the plan's own tensors.
fn lives(program: &Program, plan: PlanId) -> Vec<Life> {
    let calls = &program.plans[plan.index()].calls;
    let mut span: Vec<Option<(usize, usize)>> = vec![None; program.tensors.len()];
    for (at, call) in calls.iter().enumerate() {
        for id in call.args().iter().flatten() {
            let entry = span[id.index()].get_or_insert((at, at));
            entry.1 = at;
        }
    }
    let own = |(index, tensor): &(usize, &crate::plan::Tensor)| {
        tensor.plan == Some(plan) && span[*index].is_some() && shared_segment(&tensor.role).is_none()
    };
    let life = |(index, tensor): (usize, &crate::plan::Tensor)| {
        let (first, last) = span[index].unwrap_or_default();
        let last = if tensor.role == Role::Output { calls.len() } else { last };
        Life { tensor: TensorId(index as u32), first, last, bytes: 0 }
    };
    program.tensors.iter().enumerate().filter(own).map(life).collect()
}
