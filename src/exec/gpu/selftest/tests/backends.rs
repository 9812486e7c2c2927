//! Every shader, with every set of constants that a case gives it, in the languages that naga writes: what Windows, macOS, iOS
//! and devices with nothing but OpenGL would be given.

use std::collections::{BTreeMap, HashSet};

use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

use super::{all, ways};
use crate::exec::gpu::kernels::Recipe;
use crate::exec::gpu::{KERNELS, Tuning};

/// A language and its version.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Language {
    Hlsl(hlsl::ShaderModel),
    Msl(u8, u8),
    Spirv(u8, u8),
    Glsl(glsl::Version),
}

/// The oldest and the newest that matters of each; subgroups need HLSL's model 6 and SPIR-V 1.3.
const LANGUAGES: [Language; 7] = [
    Language::Hlsl(hlsl::ShaderModel::V5_1),
    Language::Hlsl(hlsl::ShaderModel::V6_0),
    Language::Msl(2, 1),
    Language::Msl(2, 4),
    Language::Spirv(1, 3),
    Language::Glsl(glsl::Version::Embedded { version: 310, is_webgl: false }),
    Language::Glsl(glsl::Version::Desktop(430)),
];

/// Every way that the cases are run, on devices with and without subgroups, once.
fn recipes() -> HashSet<Recipe> {
    let (bench, cases) = all();
    let mut found = HashSet::new();
    for case in &cases {
        for tuning in [Tuning::Hardware, Tuning::Software] {
            for features in [wgpu::Features::empty(), wgpu::Features::SUBGROUP] {
                found.extend(ways(&bench, case, tuning, features).into_iter().map(|way| way.recipe));
            }
        }
    }
    found
}

/// Writes an entry point whose overrides are resolved; with the checks of indices and loops, or without.
fn write(
    language: Language,
    module: &Module,
    info: &ModuleInfo,
    entry: &str,
    checked: bool,
) -> Result<usize, String> {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    let policies =
        BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy };
    let stage = (ShaderStage::Compute, entry.to_owned());
    let mut text = String::new();
    match language {
        Language::Hlsl(shader_model) => {
            let options = hlsl::Options {
                shader_model,
                restrict_indexing: checked,
                force_loop_bounding: checked,
                ..Default::default()
            };
            let pipeline = hlsl::PipelineOptions { entry_point: Some(stage) };
            let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None);
            let names = written.map_err(|e| e.to_string())?.entry_point_names;
            names.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        }
        Language::Msl(major, minor) => {
            let options = msl::Options {
                lang_version: (major, minor),
                bounds_check_policies: policies,
                zero_initialize_workgroup_memory: false,
                force_loop_bounding: checked,
                ..Default::default()
            };
            let pipeline = msl::PipelineOptions { entry_point: Some(stage), ..Default::default() };
            let (out, info) =
                msl::write_string(module, info, &options, &pipeline).map_err(|e| e.to_string())?;
            info.entry_point_names.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
            text = out;
        }
        Language::Spirv(major, minor) => {
            let options = spv::Options {
                lang_version: (major, minor),
                bounds_check_policies: policies,
                zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
                force_loop_bounding: checked,
                ..Default::default()
            };
            let pipeline = spv::PipelineOptions { shader_stage: stage.0, entry_point: stage.1 };
            return spv::write_vec(module, info, &options, Some(&pipeline))
                .map(|words| words.len())
                .map_err(|e| e.to_string());
        }
        Language::Glsl(version) => {
            let options =
                glsl::Options { version, zero_initialize_workgroup_memory: false, ..Default::default() };
            let pipeline =
                glsl::PipelineOptions { shader_stage: stage.0, entry_point: stage.1, multiview: None };
            let writer = glsl::Writer::new(&mut text, module, info, &options, &pipeline, policies);
            writer.map_err(|e| e.to_string())?.write().map_err(|e| e.to_string())?;
        }
    }
    Ok(text.len())
}

#[test]
fn every_shader_is_written_in_every_language() {
    let recipes = recipes();
    let mut failed = BTreeMap::new();
    let mut seen = HashSet::new();
    for recipe in &recipes {
        let kernel = &KERNELS[recipe.kernel];
        seen.insert(recipe.kernel);
        let module = naga::front::wgsl::parse_str(kernel.source).unwrap();
        let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).unwrap();
        let constants: naga::back::PipelineConstants =
            recipe.constants.iter().map(|(name, value)| ((*name).to_owned(), f64::from(*value))).collect();
        for pass in kernel.passes {
            let stage = Some((ShaderStage::Compute, pass.entry));
            let (module, info) =
                naga::back::pipeline_constants::process_overrides(&module, &info, stage, &constants).unwrap();
            for language in LANGUAGES {
                for checked in [true, false] {
                    let written = write(language, &module, &info, pass.entry, checked);
                    if written.as_ref().is_ok_and(|length| *length > 100) {
                        continue;
                    }
                    let why = format!("{language:?}, {:?}, checked {checked}: {written:?}", recipe.constants);
                    failed.entry(format!("{} {}", kernel.name(), pass.entry)).or_insert(why);
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let missed = (0..KERNELS.len()).filter(|k| !seen.contains(k)).map(|k| KERNELS[k].name());
    assert_eq!(missed.collect::<Vec<_>>(), Vec::<String>::new(), "in no case");
}

#[test]
fn what_a_language_has_not_is_noticed() {
    let source = "enable f16; @group(0) @binding(0) var<storage, read_write> x: array<f16>;
        @compute @workgroup_size(1) fn main() { x[0] = f16(x[1]) * 2h; }";
    let module = naga::front::wgsl::parse_str(source).unwrap();
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).unwrap();
    let of = |language| write(language, &module, &info, "main", true);
    assert!(of(LANGUAGES[6]).is_err() && of(LANGUAGES[3]).is_ok(), "{:?}", LANGUAGES.map(of));
}
