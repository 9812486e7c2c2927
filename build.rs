//! Expands shader imports, validates every shader in every variant, format and cache type with
//! naga, and generates the kernel table and the parameter structs, so that no layout is typed twice.
//!
//! Files: `shaders/<op>.wgsl` (baseline) and `shaders/<op>.<variant>.wgsl`; shared text in
//! `shaders/lib`, parameters in `shaders/params/<op>.wgsl`, block formats in `shaders/quant`.
//! Directives, one a line: `#import <name>` (a file of `shaders/lib`), `#import params` (this op's
//! parameters), `#import weight` (one kernel per block format), `#import kv` (one kernel per cache type).
#[path = "build/shaders.rs"]
mod shaders;

fn main() {
    println!("cargo::rerun-if-changed=shaders");
    println!("cargo::rerun-if-changed=build");
    if let Err(message) = shaders::generate() {
        println!("cargo::error={}", message.replace('\n', "\ncargo::error="));
        std::process::exit(1);
    }
}
