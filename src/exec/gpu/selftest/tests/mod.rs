//! The shaders elsewhere than on wgpu's Vulkan: in the languages of other systems, and as files for a browser
//! (`scripts/test portability`).

mod backends;
mod export;

use super::bench::{Bench, Case};
use super::cases;
use crate::exec::gpu::Tuning;
use crate::exec::gpu::launch::{Allowed, Choice, choices};

/// Every case.
fn all() -> (Bench, Vec<Case>) {
    cases::all(true).unwrap()
}

/// The ways to run a case's call on a device with these features.
fn ways(bench: &Bench, case: &Case, tuning: Tuning, features: wgpu::Features) -> Vec<Choice> {
    let plan = &bench.program.plans[case.plan.index()];
    let call = &plan.calls[0];
    let allowed = Allowed::new(tuning, features);
    choices(&bench.program, call, (call.def().over)(call).capacity(plan), &allowed).unwrap()
}
