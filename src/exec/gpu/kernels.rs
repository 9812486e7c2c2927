//! The kernel table, generated from `shaders/`, and the pipelines made from it.

use std::collections::HashMap;
use std::sync::Arc;

use super::candidates::{Candidate, Condition, Expression, Term, Tuning};
use super::device::Device;
use crate::exec::ExecError;

/// How a shader uses a binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindingKind {
    /// Parameters.
    Uniform,
    /// Read only: weights and step inputs.
    Read,
    /// Anything in the arena or the state, which share buffers.
    ReadWrite,
}

/// One binding of a shader; the name is the op's argument.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Argument name; `p` for the parameters.
    pub name: &'static str,
    /// Number in the bind group.
    pub index: u32,
    /// Use.
    pub kind: BindingKind,
}

/// One entry point.
#[derive(Clone, Copy, Debug)]
pub struct EntryPoint {
    /// Name.
    pub entry: &'static str,
    /// Size as written; zero where an override constant gives it.
    pub workgroup: [u32; 3],
}

/// One shader, in one weight format and cache type.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Op stem.
    pub op: &'static str,
    /// `base`, or the variant in the file's name.
    pub variant: &'static str,
    /// Weight format stem.
    pub weight: Option<&'static str>,
    /// Stem of the second weight's format.
    pub second: Option<&'static str>,
    /// Cache type stem.
    pub kv: Option<&'static str>,
    /// Expanded text.
    pub source: &'static str,
    /// Entry points in the order in which they run.
    pub passes: &'static [EntryPoint],
    /// Bindings by number.
    pub bindings: &'static [Binding],
    /// Device features it needs, as its `#require` lines say.
    pub requires: &'static [&'static str],
    /// When it is taken, and how, as its `#candidate` lines say.
    pub candidates: &'static [Candidate],
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

impl Kernel {
    /// Name for people: `linear.tiled.q4_1`.
    pub fn name(&self) -> String {
        let parts = [Some(self.op), Some(self.variant), self.weight, self.second, self.kv];
        parts.into_iter().flatten().collect::<Vec<_>>().join(".")
    }

    /// Whether a device with these features can run it.
    pub fn runs_with(&self, features: wgpu::Features) -> bool {
        self.requires.iter().all(|name| match *name {
            "subgroup" => features.contains(wgpu::Features::SUBGROUP),
            _ => false,
        })
    }

    /// Whether it computes this op with weights of these formats, in the order of the arguments, and this type of cache.
    pub fn fits(&self, op: &str, weights: [Option<&str>; 2], kv: Option<&str>) -> bool {
        let axis = |has: Option<&str>, wanted: Option<&str>| has.is_none() || has == wanted;
        self.op == op && axis(self.weight, weights[0]) && axis(self.second, weights[1]) && axis(self.kv, kv)
    }
}

/// A shader with its override constants: what a pipeline is made from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Recipe {
    /// Index into [`KERNELS`].
    pub kernel: usize,
    /// Override constants.
    pub constants: Vec<(&'static str, u32)>,
}

/// A compiled shader: one pipeline per entry point, all with one bind group layout.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// By entry point.
    pub pipelines: Arc<[wgpu::ComputePipeline]>,
    /// Shared by them.
    pub layout: wgpu::BindGroupLayout,
}

/// Compiles recipes, each once, on a few threads.
pub fn compile(
    device: &Device,
    recipes: &[Recipe],
    checked: bool,
) -> Result<HashMap<Recipe, Compiled>, ExecError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(recipes.len()).max(1);
    let share = recipes.len().div_ceil(threads).max(1);
    let results: Vec<Result<Vec<_>, ExecError>> = std::thread::scope(|scope| {
        let start = |part: &'_ [Recipe]| {
            let part = part.to_vec();
            scope.spawn(move || {
                part.into_iter()
                    .map(|r| build(device, &KERNELS[r.kernel], &r.constants, checked).map(|c| (r, c)))
                    .collect::<Result<Vec<_>, _>>()
            })
        };
        let workers: Vec<_> = recipes.chunks(share).map(start).collect();
        let crashed = || Err(ExecError::Internal("a thread that compiled shaders failed".into()));
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| crashed())).collect()
    });
    let mut compiled = HashMap::new();
    for result in results {
        compiled.extend(result?);
    }
    Ok(compiled)
}

/// Makes the pipelines of a shader.
///
/// # Errors
/// [`ExecError::Shader`] if it does not compile.
fn build(
    device: &Device,
    kernel: &Kernel,
    constants: &[(&'static str, u32)],
    checked: bool,
) -> Result<Compiled, ExecError> {
    let name = kernel.name();
    let make = || {
        let module = module(&device.device, kernel, &name, checked);
        let layout = bind_group_layout(&device.device, kernel, &name);
        let pipeline_layout = device.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&name),
            bind_group_layouts: &[Some(&layout)],
            ..wgpu::PipelineLayoutDescriptor::default()
        });
        let constants: Vec<(&str, f64)> = constants.iter().map(|(n, v)| (*n, f64::from(*v))).collect();
        let pipeline = |pass: &EntryPoint| {
            device.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(pass.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &constants,
                    // Every kernel writes what it reads of workgroup memory.
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })
        };
        Compiled { pipelines: kernel.passes.iter().map(pipeline).collect(), layout }
    };
    device.guarded(make).map_err(|e| match e {
        ExecError::Device(why) => ExecError::Shader { kernel: name.clone(), why },
        other => other,
    })
}

fn module(device: &wgpu::Device, kernel: &Kernel, name: &str, checked: bool) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(kernel.source.into()),
    };
    if checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: the sources are this crate's own. Every index they form is bounded by parameters that the plan's
    // checks relate to the tensors' sizes and by step rows that `check_step` bounds; token ids that they read back
    // from the table were put there by them or checked; every loop counts to such a bound. The tests run them checked.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

fn bind_group_layout(device: &wgpu::Device, kernel: &Kernel, name: &str) -> wgpu::BindGroupLayout {
    let entry = |b: &Binding| wgpu::BindGroupLayoutEntry {
        binding: b.index,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match b.kind {
                BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
                BindingKind::Read => wgpu::BufferBindingType::Storage { read_only: true },
                BindingKind::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = kernel.bindings.iter().map(entry).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries: &entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::gpu::{AdapterChoice, GpuOptions};

    #[test]
    fn a_shader_that_does_not_compile_is_named() {
        let options = GpuOptions { choice: AdapterChoice::Any, ..GpuOptions::default() };
        let device = Device::open(&options).unwrap();
        let good = KERNELS.iter().find(|kernel| kernel.op == "add").unwrap();
        let constants = |kernel: &Kernel| -> Vec<(&'static str, u32)> {
            let one = &kernel.candidates[0];
            one.constants.iter().map(|(name, value)| (*name, value.most)).collect()
        };
        build(&device, good, &constants(good), true).unwrap();
        for (what, source) in
            [("no WGSL", "fn main( {"), ("another entry point", "@compute @workgroup_size(64) fn other() {}")]
        {
            let broken = Kernel { source, ..*good };
            match build(&device, &broken, &constants(good), true) {
                Err(ExecError::Shader { kernel, why }) => {
                    assert!(kernel.starts_with("add.") && !why.is_empty(), "{what}: {kernel}: {why}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
        // The device is as good as it was.
        build(&device, good, &constants(good), true).unwrap();
    }
}
