//! Runs a case's CPU twin on a copy of the state segment. Weights are decoded for it: the CPU's own products round
//! activations, which is not to count against the device.

use super::State;
use super::bench::{Bench, Case};
use crate::exec::cpu::{matrix_rows, vector};
use crate::exec::{ExecError, Weights};
use crate::ops::Op;
use crate::ops::cpu::{Context, Raw, View};
use crate::plan::{DType, Layout, Role, TensorId};
use crate::quant::Format;

/// An argument's storage while the twin runs.
enum Storage {
    Absent,
    Float(Vec<f32>),
    Word(Vec<u32>),
    Block16(Vec<u16>),
    Matrix(Vec<u8>),
}

impl Storage {
    fn view(&mut self) -> View<f32> {
        // SAFETY: each storage outlives the context made from it and is an allocation of its own.
        unsafe {
            match self {
                Storage::Absent => View::Absent,
                Storage::Float(v) => View::Float(Raw::new(v.as_mut_ptr(), v.len())),
                Storage::Word(v) => View::Word(Raw::new(v.as_mut_ptr(), v.len())),
                Storage::Block16(v) => View::Block16(Raw::new(v.as_mut_ptr(), v.len())),
                Storage::Matrix(v) => View::Matrix(Format::F32, Raw::new(v.as_mut_ptr(), v.len())),
            }
        }
    }

    fn words(&self) -> Vec<u32> {
        match self {
            Storage::Float(v) => v.iter().map(|f| f.to_bits()).collect(),
            Storage::Word(v) => v.clone(),
            Storage::Block16(v) => {
                v.chunks_exact(2).map(|h| u32::from(h[0]) | u32::from(h[1]) << 16).collect()
            }
            Storage::Absent | Storage::Matrix(_) => vec![],
        }
    }
}

/// Applies the case's call to `state`.
pub fn run(bench: &Bench, layout: &Layout, case: &Case, state: &mut State) -> Result<(), ExecError> {
    let call = &bench.program.plans[case.plan.index()].calls[0];
    let weights = bench.weights();
    let mut storage = Vec::new();
    for id in call.args() {
        storage.push(match id {
            Some(id) => load(bench, layout, &weights, *id, state)?,
            None => Storage::Absent,
        });
    }
    let views: Vec<View<f32>> = storage.iter_mut().map(Storage::view).collect();
    (Op::of(call).twin().single)(&Context::new(call, &case.step, &views, 0, 1));
    for (id, storage) in call.args().iter().zip(&storage) {
        if let Some(id) = id.filter(|id| bench.program.get(*id).role == Role::State) {
            state.tensor(layout, id).copy_from_slice(&storage.words());
        }
    }
    Ok(())
}

fn load(
    bench: &Bench,
    layout: &Layout,
    weights: &Weights,
    id: TensorId,
    state: &mut State,
) -> Result<Storage, ExecError> {
    let tensor = bench.program.get(id);
    let rows = bench.program.capacity_rows(id);
    match (&tensor.role, tensor.dtype) {
        (Role::Weight { source, .. }, DType::Matrix(format)) => {
            let mut decoded = vec![0f32; rows * tensor.width];
            let encoded = matrix_rows(weights, source, 0, rows, tensor.width)?;
            format.decode(encoded, &mut decoded).map_err(|e| ExecError::Internal(e.to_string()))?;
            Ok(Storage::Matrix(bytemuck::cast_slice(&decoded).to_vec()))
        }
        (Role::Weight { source, .. }, _) => Ok(Storage::Float(vector(weights, source, 0, tensor.width)?)),
        (Role::State, dtype) => {
            let held = &*state.tensor(layout, id);
            Ok(match dtype {
                DType::U32 => Storage::Word(held.to_vec()),
                DType::Block16 => {
                    Storage::Block16(held.iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]).collect())
                }
                _ => Storage::Float(held.iter().map(|w| f32::from_bits(*w)).collect()),
            })
        }
        // The twins read the step itself.
        _ => Ok(Storage::Word(vec![])),
    }
}
