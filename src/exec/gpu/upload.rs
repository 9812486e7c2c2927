//! Streams weights into the device's layout, in bounded pieces, and checks samples of what arrived.

use super::arena::Arena;
use super::device::Device;
use crate::exec::cpu::{matrix_rows, vector};
use crate::exec::{ExecError, Weights};
use crate::plan::{DType, Part, Program, TensorId};
use crate::quant::{Format, GROUP_ROWS, Planes};

/// Words repacked at once: 4 MiB.
const PIECE_WORDS: usize = 1 << 20;
/// Words that may be on their way before the queue is flushed: 64 MiB. Very large uploads without a flush have lost data
/// on some drivers.
const FLUSH_WORDS: usize = 16 << 20;
/// Words checked in each piece.
const SAMPLE: usize = 4;

/// Uploads every weight of the program, then reads samples back and compares them.
///
/// # Errors
/// [`ExecError::Weight`] if the model file lacks a tensor, [`ExecError::Device`] if a sample came back changed.
pub fn upload_weights(
    device: &Device,
    arena: &Arena,
    program: &Program,
    weights: &Weights,
) -> Result<(), ExecError> {
    let mut stream = Stream { device, arena, pending: 0, samples: Vec::new(), scratch: Vec::new() };
    for (index, tensor) in program.tensors.iter().enumerate() {
        let id = TensorId(index as u32);
        for part in tensor.parts() {
            match tensor.dtype {
                DType::Matrix(format) => {
                    let whole = format.planes(program.capacity_rows(id), tensor.width);
                    let bytes = matrix_rows(weights, part.source, part.first, part.rows, tensor.width)?;
                    stream.matrix(id, format, &whole, bytes, part, tensor.width)?;
                }
                _ => {
                    let values = vector(weights, part.source, part.first, part.rows)?;
                    stream.write(id, part.at, bytemuck::cast_slice(&values))?;
                }
            }
        }
    }
    stream.flush()?;
    stream.verify()
}

struct Stream<'a> {
    device: &'a Device,
    arena: &'a Arena,
    pending: usize,
    /// (tensor, word offset in it, words expected).
    samples: Vec<(TensorId, usize, [u32; SAMPLE])>,
    scratch: Vec<u32>,
}

impl Stream<'_> {
    /// Uploads the rows of a part, which begins at a multiple of [`GROUP_ROWS`].
    fn matrix(
        &mut self,
        id: TensorId,
        format: Format,
        planes: &Planes,
        bytes: &[u8],
        part: Part<'_>,
        cols: usize,
    ) -> Result<(), ExecError> {
        let internal = |e: crate::quant::QuantError| ExecError::Internal(e.to_string());
        let rows = part.rows;
        if !part.at.is_multiple_of(GROUP_ROWS) {
            return Err(ExecError::Internal(format!("{} begins within a group of rows", part.source)));
        }
        let row_bytes = format.row_bytes(cols).map_err(internal)?;
        let group_words = format.planes(GROUP_ROWS, cols).words.max(1);
        let groups_each = (PIECE_WORDS / group_words).max(1);
        for first_group in (0..rows.div_ceil(GROUP_ROWS)).step_by(groups_each) {
            let first = first_group * GROUP_ROWS;
            let count = (groups_each * GROUP_ROWS).min(rows - first);
            let piece = format.planes(count, cols);
            let mut words = std::mem::take(&mut self.scratch);
            words.resize(piece.words, 0);
            let source = &bytes[first * row_bytes..(first + count) * row_bytes];
            format.repack(source, count, cols, &mut words).map_err(internal)?;
            let at = part.at / GROUP_ROWS + first_group;
            self.planes(id, planes, &piece, at, count.div_ceil(GROUP_ROWS), &words)?;
            self.scratch = words;
        }
        Ok(())
    }

    /// Copies the planes of a piece to where they lie in the whole.
    fn planes(
        &mut self,
        id: TensorId,
        whole: &Planes,
        piece: &Planes,
        first_group: usize,
        groups: usize,
        words: &[u32],
    ) -> Result<(), ExecError> {
        for plane in 0..whole.count {
            let to = whole.range(plane, first_group, groups);
            self.write(id, to.start, &words[piece.range(plane, 0, groups)])?;
        }
        Ok(())
    }

    fn write(&mut self, id: TensorId, at: usize, words: &[u32]) -> Result<(), ExecError> {
        let (buffer, place) = self.arena.locate(id)?;
        if (at + words.len()) as u64 * 4 > place.bytes {
            return Err(ExecError::Internal(format!("weight {} does not fit its place in the map", id.0)));
        }
        self.device.queue.write_buffer(buffer, place.offset + at as u64 * 4, bytemuck::cast_slice(words));
        if let Some(sample) = words.len().checked_sub(SAMPLE).map(|slack| slack / 2) {
            let mut expected = [0; SAMPLE];
            expected.copy_from_slice(&words[sample..sample + SAMPLE]);
            self.samples.push((id, at + sample, expected));
        }
        self.pending += words.len();
        if self.pending >= FLUSH_WORDS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ExecError> {
        self.pending = 0;
        self.device.queue.submit([]);
        self.device.wait_idle()
    }

    /// Copies the samples into one buffer, freed afterwards, and compares.
    fn verify(&self) -> Result<(), ExecError> {
        let stride = (SAMPLE * 4) as u64;
        let size = self.samples.len() as u64 * stride;
        if size == 0 {
            return Ok(());
        }
        let buffer = self.device.guarded(|| {
            self.device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("upload check"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        let mut encoder =
            self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (i, (id, at, _)) in self.samples.iter().enumerate() {
            let (from, place) = self.arena.locate(*id)?;
            encoder.copy_buffer_to_buffer(
                from,
                place.offset + *at as u64 * 4,
                &buffer,
                i as u64 * stride,
                stride,
            );
        }
        self.device.queue.submit([encoder.finish()]);
        let words = self.device.read(&buffer, size)?;
        let wrong = self
            .samples
            .iter()
            .zip(words.chunks_exact(SAMPLE))
            .find(|((_, _, expected), found)| expected != found);
        match wrong {
            None => Ok(()),
            Some(((id, at, _), _)) => Err(ExecError::Device(format!(
                "word {at} of weight {} changed on its way to the device; the driver loses uploads",
                id.0
            ))),
        }
    }
}
