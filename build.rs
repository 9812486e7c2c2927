//! Generates the parameter structs from the shader sources, so that no layout is typed twice, and the table of ops from their
//! descriptions. With the feature `gpu` it expands
//! shader imports, validates every shader in every variant, format and cache type with naga, and generates the kernel table.
//!
//! Files: `shaders/<op>.wgsl` (baseline) and `shaders/<op>.<variant>.wgsl`; shared text in
//! `shaders/lib`, parameters in `shaders/params/<op>.wgsl`, block formats in `shaders/quant`.
//! Directives, one a line: `#import <name>` (a file of `shaders/lib`), `#import params` (this op's
//! parameters, or the file that `#params` names), `#import weight` (one kernel per block format), `#import second`
//! (one kernel per pair of formats: all that is there once a format again, under names that begin with `w2`), `#import kv` (one kernel per cache type);
//! `#require <feature>` of the device; `#candidate …`, see `build/candidates.rs`.
#[cfg(feature = "gpu")]
#[path = "build/candidates.rs"]
mod candidates;
#[path = "build/ops.rs"]
mod ops;
#[path = "build/params.rs"]
mod params;
#[cfg(feature = "gpu")]
#[path = "build/shaders.rs"]
mod shaders;

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=shaders");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/ops");
    println!("cargo::rerun-if-changed=src/quant/list.rs");
    if let Err(message) = generate() {
        println!("cargo::error={}", message.replace('\n', "\ncargo::error="));
        std::process::exit(1);
    }
}

/// Writes `params.rs` (parameter and step structs), `ops.rs` (the table of ops) and, for the GPU, `kernels.rs` (the kernel table) to `OUT_DIR`.
fn generate() -> Result<(), String> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let root = Path::new("shaders");
    let structs = params::module(root)?;
    #[cfg(feature = "gpu")]
    {
        shaders::generate(root, &out)?;
        if shaders::params_module(&params::files(root)?)? != structs {
            return Err("shaders/params: naga lays the structs out otherwise than build/params.rs".into());
        }
    }
    let path = out.join("ops.rs");
    std::fs::write(&path, ops::table(Path::new("src/ops"))?)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let path = out.join("params.rs");
    std::fs::write(&path, structs).map_err(|e| format!("{}: {e}", path.display()))
}
