//! Tensors read and written by the host. Nothing here runs in normal use, and what it allocates is freed again.

use super::run::GpuExecutor;
use crate::exec::ExecError;
use crate::plan::{SegmentKind, TensorId};

impl GpuExecutor {
    /// Writes words from the start of a tensor on.
    ///
    /// # Errors
    /// [`ExecError::Step`] if they do not fit it.
    pub fn write_tensor(&mut self, id: TensorId, words: &[u32]) -> Result<(), ExecError> {
        let (buffer, place) = self.arena.locate(id)?;
        if words.len() as u64 * 4 > place.bytes.next_multiple_of(4) {
            return Err(ExecError::Step(format!(
                "{} words do not fit `{}`",
                words.len(),
                self.program.get(id).name
            )));
        }
        self.device.guarded(|| {
            self.device.queue.write_buffer(buffer, place.offset, bytemuck::cast_slice(words));
        })
    }

    /// All words of a tensor.
    pub fn read_tensor(&mut self, id: TensorId) -> Result<Vec<u32>, ExecError> {
        let (buffer, place) = self.arena.locate(id)?;
        self.copy_out(buffer, place.offset, place.bytes.next_multiple_of(4))
    }

    /// Fills words of a segment's buffer.
    pub fn fill_words(
        &mut self,
        kind: SegmentKind,
        buffer: usize,
        words: std::ops::Range<usize>,
        word: u32,
    ) -> Result<(), ExecError> {
        let (buffer, values) = (self.buffer(kind, buffer)?, vec![word; words.len()]);
        self.device.guarded(|| {
            self.device.queue.write_buffer(buffer, words.start as u64 * 4, bytemuck::cast_slice(&values));
        })
    }

    /// Words of a segment's buffer.
    pub fn read_words(
        &mut self,
        kind: SegmentKind,
        buffer: usize,
        words: std::ops::Range<usize>,
    ) -> Result<Vec<u32>, ExecError> {
        self.copy_out(self.buffer(kind, buffer)?, words.start as u64 * 4, words.len() as u64 * 4)
    }

    fn buffer(&self, kind: SegmentKind, index: usize) -> Result<&wgpu::Buffer, ExecError> {
        let missing = || ExecError::Internal(format!("{} has no buffer {index}", kind.name()));
        self.arena.buffers(kind).get(index).ok_or_else(missing)
    }

    fn copy_out(&self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u32>, ExecError> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("probe"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let readback = self.device.guarded(|| self.device.device.create_buffer(&descriptor))?;
        let mut encoder =
            self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, offset, &readback, 0, bytes);
        self.device.queue.submit([encoder.finish()]);
        self.device.read(&readback, bytes)
    }
}
