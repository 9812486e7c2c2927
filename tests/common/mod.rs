//! What the whole-model tests share: where reference data is, the default model, and how results are compared.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../src/bounds.rs"]
pub mod bounds;
#[cfg(feature = "cli")]
pub mod default_model;
pub mod npy;
pub mod reference;

use std::path::{Path, PathBuf};

use emberlm::model::{KvType, Model};
use emberlm::plan::{Layout, Program, Role};
use emberlm::session::{DeviceChoice, Modes, Session, SessionOptions};

/// The folder of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A committed golden file or folder.
pub fn golden(name: &str) -> PathBuf {
    project().join("tests/golden").join(name)
}

/// Larger reference data beside the project, where there is any.
pub fn shared() -> Option<PathBuf> {
    let path = project().parent()?.join("shared");
    path.is_dir().then_some(path)
}

/// Opens a model file.
pub fn open(path: &Path) -> Model {
    Model::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Options that only name the device, the KV cache's type and what will be asked for.
pub fn options(device: DeviceChoice, kv: KvType, modes: Modes) -> SessionOptions {
    SessionOptions { device, kv, modes, ..SessionOptions::default() }
}

/// Boots, and fails with the reason.
pub fn boot(model: &Model, options: &SessionOptions) -> Session {
    Session::new(model, options).unwrap_or_else(|e| {
        let hint =
            if options.device == DeviceChoice::Cpu { "" } else { " (scripts/setup installs a software GPU)" };
        panic!(
            "{}: cannot boot on {:?}, profile {}: {e}{hint}",
            model.path().display(),
            options.device,
            options.profile
        )
    })
}

/// ‖got − want‖ / ‖want‖; infinite where a value is not a number.
pub fn relative_l2(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "lengths");
    let square = |v: f64| v * v;
    let apart: f64 = got.iter().zip(want).map(|(g, w)| square(f64::from(*g) - f64::from(*w))).sum();
    let norm: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    let relative = (apart / norm).sqrt();
    if relative.is_nan() { f64::INFINITY } else { relative }
}

/// Mean negative log-likelihood.
pub fn mean_nll(log_probs: &[f32]) -> f64 {
    -log_probs.iter().map(|l| f64::from(*l)).sum::<f64>() / log_probs.len() as f64
}

/// Fails with every line of `failures`, if there is one.
pub fn none_failed(failures: &[String]) {
    assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
}

/// No two arguments of a call that a shader may write share bytes: WebGPU refuses to bind them. (Weights and step inputs are
/// only read.)
pub fn assert_arguments_are_apart(program: &Program, layout: &Layout) {
    let mut calls = 0;
    for call in program.plans.iter().flat_map(|plan| &plan.calls) {
        let only_read = Role::is_frozen;
        let args = call.def().args.iter().zip(call.args());
        let places: Vec<_> = args
            .filter_map(|(arg, id)| Some((arg.name, id.filter(|id| !only_read(&program.get(*id).role))?)))
            .filter_map(|(name, id)| Some((name, layout.placement(id)?)))
            .collect();
        for (at, (name, a)) in places.iter().enumerate() {
            for (other, b) in &places[at + 1..] {
                let apart = (a.segment, a.buffer) != (b.segment, b.buffer)
                    || a.offset + a.bytes <= b.offset
                    || b.offset + b.bytes <= a.offset;
                assert!(apart, "{}: `{name}` and `{other}` share bytes", call.label);
            }
        }
        calls += 1;
    }
    assert!(calls > 10, "{calls} calls");
}
