//! The CPU executor's memory: one allocation per segment, as the layout says.

use std::cell::UnsafeCell;

use crate::exec::{ExecError, Weights};
use crate::ops::cpu::{Raw, Real, View};
use crate::plan::{DType, Layout, Part, Placement, Program, Role, SegmentKind, TensorId, WeightError};

/// A cache line, so that every segment starts aligned.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// All segments. Written by the twins through [`Raw`] views only.
pub struct Memory<F> {
    segments: Vec<(SegmentKind, Vec<UnsafeCell<Line>>)>,
    placements: Vec<Option<Placement>>,
    float: std::marker::PhantomData<F>,
}

// SAFETY: the threads of the executor reach the memory only through `Context`, whose pieces are disjoint, and the
// calls are separated by barriers.
unsafe impl<F: Send> Sync for Memory<F> {}

impl<F: Real> Memory<F> {
    /// Allocates every segment and fills the vectors among the weights.
    pub fn allocate(program: &Program, layout: &Layout, weights: &Weights) -> Result<Self, ExecError> {
        let mut segments = Vec::new();
        for segment in &layout.segments {
            let lines = segment.bytes().div_ceil(size_of::<Line>() as u64) as usize;
            let mut memory: Vec<UnsafeCell<Line>> = Vec::new();
            memory.try_reserve_exact(lines).map_err(|e| {
                ExecError::OutOfMemory(format!("{} of {} bytes: {e}", segment.kind.name(), segment.bytes()))
            })?;
            memory.resize_with(lines, UnsafeCell::default);
            segments.push((segment.kind, memory));
        }
        let memory =
            Self { segments, placements: layout.placements.clone(), float: std::marker::PhantomData };
        for (index, tensor) in program.tensors.iter().enumerate() {
            let id = TensorId(index as u32);
            for part in tensor.parts() {
                match (tensor.dtype, &tensor.role) {
                    (DType::F32, _) => memory.load_vector(id, part, weights)?,
                    (_, Role::Joined { .. }) => memory.load_rows(id, part, tensor.width, weights)?,
                    _ => {}
                }
            }
        }
        Ok(memory)
    }

    /// Bytes allocated for a kind of memory.
    pub fn allocated(&self, kind: SegmentKind) -> u64 {
        let of_kind = self.segments.iter().filter(|(k, _)| *k == kind);
        of_kind.map(|(_, m)| (m.len() * size_of::<Line>()) as u64).sum()
    }

    /// A tensor as an op argument.
    pub fn view(&self, program: &Program, weights: &Weights, id: TensorId) -> Result<View<F>, ExecError> {
        let tensor = program.get(id);
        if let (DType::Matrix(format), Role::Weight { source, first_row }) = (tensor.dtype, &tensor.role) {
            let bytes = matrix_rows(weights, source, *first_row, program.capacity_rows(id), tensor.width)?;
            // SAFETY: the weights are held by the executor as long as its views, and never written.
            return Ok(View::Matrix(format, unsafe { Raw::new(bytes.as_ptr().cast_mut(), bytes.len()) }));
        }
        let (start, bytes) = self.locate(id)?;
        let len = program.capacity_rows(id) * tensor.width;
        // SAFETY: `locate` checked the bounds; lines are 64-byte aligned and so are the offsets.
        unsafe {
            Ok(match tensor.dtype {
                DType::Matrix(format) => View::Matrix(format, Raw::new(start, bytes)),
                DType::U32 if len * 4 <= bytes => View::Word(Raw::new(start.cast(), len)),
                DType::Block16 if len * 2 <= bytes => View::Block16(Raw::new(start.cast(), len)),
                DType::F32 if len * size_of::<F>() <= bytes => View::Float(Raw::new(start.cast(), len)),
                _ => return Err(ExecError::Internal(format!("`{}` is too small in the map", tensor.name))),
            })
        }
    }

    /// The first `len` elements as words: floats as the bits of their f32.
    pub fn read_words(&self, id: TensorId, dtype: DType, len: usize, out: &mut Vec<u32>) {
        let Ok((start, bytes)) = self.locate(id) else { return };
        // SAFETY: in bounds (clamped to the placement); no thread runs between steps.
        unsafe {
            if dtype == DType::U32 {
                out.extend_from_slice(std::slice::from_raw_parts(start.cast::<u32>(), len.min(bytes / 4)));
            } else {
                let values = std::slice::from_raw_parts(start.cast::<F>(), len.min(bytes / size_of::<F>()));
                out.extend(values.iter().map(|v| v.to_f32().to_bits()));
            }
        }
    }

    /// Sets the first elements of a float tensor. No step may be running.
    pub fn write_floats(&self, id: TensorId, values: &[f32]) -> Result<(), ExecError> {
        let (start, bytes) = self.locate(id)?;
        if values.len() * size_of::<F>() > bytes {
            return Err(ExecError::Internal(format!("tensor {} is too small in the map", id.0)));
        }
        for (i, v) in values.iter().enumerate() {
            // SAFETY: in bounds (checked above); the caller sees to it that nothing else runs.
            unsafe { start.cast::<F>().add(i).write(F::from_f32(*v)) };
        }
        Ok(())
    }

    /// The first `len` elements of a float tensor. No step may be running.
    pub fn floats(&self, id: TensorId, len: usize) -> Result<&[F], ExecError> {
        let (start, bytes) = self.locate(id)?;
        if len * size_of::<F>() > bytes {
            return Err(ExecError::Internal(format!("tensor {} is too small in the map", id.0)));
        }
        // SAFETY: in bounds (checked above); the caller sees to it that nothing else runs.
        Ok(unsafe { std::slice::from_raw_parts(start.cast::<F>(), len) })
    }

    fn locate(&self, id: TensorId) -> Result<(*mut u8, usize), ExecError> {
        let missing = || ExecError::Internal(format!("tensor {} is not in the map", id.0));
        let place = self.placements[id.index()].ok_or_else(missing)?;
        let (_, memory) =
            self.segments.iter().find(|(kind, _)| *kind == place.segment).ok_or_else(missing)?;
        // Buffers of a segment lie behind each other; with unlimited buffer size there is one.
        let end = place.offset + place.bytes;
        if place.buffer != 0 || end > (memory.len() * size_of::<Line>()) as u64 {
            return Err(missing());
        }
        // SAFETY: `offset` lies inside the segment.
        let start = unsafe { memory.as_ptr().cast::<u8>().cast_mut().add(place.offset as usize) };
        Ok((start, place.bytes as usize))
    }

    fn load_vector(&self, id: TensorId, part: Part<'_>, weights: &Weights) -> Result<(), ExecError> {
        let values = vector(weights, part.source, part.first, part.rows)?;
        let (start, bytes) = self.locate(id)?;
        if (part.at + values.len()) * size_of::<F>() > bytes {
            return Err(ExecError::Internal(format!("tensor {} is too small in the map", id.0)));
        }
        for (i, v) in values.iter().enumerate() {
            // SAFETY: in bounds (checked above); nothing else runs at boot.
            unsafe { start.cast::<F>().add(part.at + i).write(F::from_f32(*v)) };
        }
        Ok(())
    }

    /// Copies rows of a matrix to their place in a joined one.
    fn load_rows(
        &self,
        id: TensorId,
        part: Part<'_>,
        cols: usize,
        weights: &Weights,
    ) -> Result<(), ExecError> {
        let source = matrix_rows(weights, part.source, part.first, part.rows, cols)?;
        let (start, bytes) = self.locate(id)?;
        let at = source.len() / part.rows.max(1) * part.at;
        if at + source.len() > bytes {
            return Err(ExecError::Internal(format!("tensor {} is too small in the map", id.0)));
        }
        // SAFETY: in bounds (checked above), and the model file is elsewhere; nothing else runs at boot.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), start.add(at), source.len()) };
        Ok(())
    }
}

/// Encoded bytes of rows of a matrix in the model file.
pub fn matrix_rows<'a>(
    weights: &'a Weights,
    name: &str,
    first_row: usize,
    rows: usize,
    cols: usize,
) -> Result<&'a [u8], ExecError> {
    let fail = |why: String| ExecError::Weight(WeightError { name: name.into(), why });
    let shape = weights.shape(name).ok_or_else(|| fail("is missing in the model file".into()))?;
    let row_bytes = shape.format.row_bytes(shape.cols).map_err(|e| fail(e.to_string()))?;
    let bytes = weights.bytes(name)?;
    if shape.cols != cols || first_row + rows > shape.rows || bytes.len() < shape.rows * row_bytes {
        return Err(fail(format!("is {} x {}, the model needs {rows} x {cols}", shape.rows, shape.cols)));
    }
    Ok(&bytes[first_row * row_bytes..(first_row + rows) * row_bytes])
}

/// `width` values of a vector of the model file, from element `first` on, decoded.
pub fn vector(weights: &Weights, name: &str, first: usize, width: usize) -> Result<Vec<f32>, ExecError> {
    let fail = |why: String| ExecError::Weight(WeightError { name: name.into(), why });
    let shape = weights.shape(name).ok_or_else(|| fail("is missing in the model file".into()))?;
    let total = shape.rows * shape.cols;
    if first + width > total {
        return Err(fail(format!("has {total} elements, the model needs {}", first + width)));
    }
    let mut values = vec![0f32; total];
    shape.format.decode(weights.bytes(name)?, &mut values).map_err(|e| fail(e.to_string()))?;
    Ok(values[first..first + width].to_vec())
}
