//! The device's memory: every buffer is made here, at boot, and exactly as the layout says.

use std::num::NonZeroU64;

use super::device::Device;
use crate::exec::ExecError;
use crate::plan::{Layout, Placement, SegmentKind, TensorId};

/// All buffers of an executor.
pub struct Arena {
    segments: Vec<(SegmentKind, Vec<wgpu::Buffer>)>,
    layout: Layout,
}

impl Arena {
    /// Makes every buffer of the layout.
    ///
    /// # Errors
    /// [`ExecError::OutOfMemory`] if the device refuses one, naming it.
    pub fn allocate(device: &Device, layout: &Layout) -> Result<Self, ExecError> {
        let mut segments = Vec::new();
        for segment in &layout.segments {
            let mut buffers = Vec::new();
            for (index, &size) in segment.buffers.iter().enumerate() {
                let label = format!("{} {index}", segment.kind.name());
                let descriptor = wgpu::BufferDescriptor {
                    label: Some(&label),
                    size,
                    usage: usage(segment.kind),
                    mapped_at_creation: segment.kind == SegmentKind::Upload,
                };
                let buffer =
                    device.guarded(|| device.device.create_buffer(&descriptor)).map_err(|e| match e {
                        ExecError::OutOfMemory(why) => {
                            ExecError::OutOfMemory(format!("{label}, {size} bytes: {why}"))
                        }
                        other => other,
                    })?;
                buffers.push(buffer);
            }
            segments.push((segment.kind, buffers));
        }
        let arena = Self { segments, layout: layout.clone() };
        let made: u64 = arena.allocated().iter().map(|(_, bytes)| bytes).sum();
        if made != layout.total() {
            return Err(ExecError::Internal(format!(
                "{made} bytes allocated, the map has {}",
                layout.total()
            )));
        }
        Ok(arena)
    }

    /// Bytes allocated, by kind of memory.
    pub fn allocated(&self) -> Vec<(SegmentKind, u64)> {
        let bytes = |buffers: &[wgpu::Buffer]| buffers.iter().map(wgpu::Buffer::size).sum();
        self.segments.iter().map(|(kind, buffers)| (*kind, bytes(buffers))).collect()
    }

    /// The map.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Buffers of a kind of memory.
    pub fn buffers(&self, kind: SegmentKind) -> &[wgpu::Buffer] {
        let found = self.segments.iter().find(|(k, _)| *k == kind);
        found.map_or(&[], |(_, buffers)| buffers)
    }

    /// Where a tensor lies, and its buffer.
    pub fn locate(&self, id: TensorId) -> Result<(&wgpu::Buffer, Placement), ExecError> {
        let missing = || ExecError::Internal(format!("tensor {} is not in the map", id.0));
        let place = self.layout.placement(id).ok_or_else(missing)?;
        let buffer = self.buffers(place.segment).get(place.buffer).ok_or_else(missing)?;
        Ok((buffer, place))
    }

    /// A piece of the map as a binding.
    pub fn binding(&self, place: Placement) -> Result<wgpu::BindingResource<'_>, ExecError> {
        let missing =
            || ExecError::Internal(format!("the map has no {} {}", place.segment.name(), place.buffer));
        let buffer = self.buffers(place.segment).get(place.buffer).ok_or_else(missing)?;
        Ok(wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset: place.offset,
            size: NonZeroU64::new(place.bytes),
        }))
    }
}

fn usage(kind: SegmentKind) -> wgpu::BufferUsages {
    use wgpu::BufferUsages as U;
    match kind {
        SegmentKind::Weights
        | SegmentKind::State
        | SegmentKind::Trained
        | SegmentKind::Gradients
        | SegmentKind::Moments
        | SegmentKind::Tape
        | SegmentKind::Arena => U::STORAGE | U::COPY_DST | U::COPY_SRC,
        SegmentKind::Inputs => U::STORAGE | U::COPY_DST,
        SegmentKind::Params => U::UNIFORM | U::COPY_DST,
        SegmentKind::Upload => U::MAP_WRITE | U::COPY_SRC,
        SegmentKind::Readback => U::MAP_READ | U::COPY_DST,
    }
}
