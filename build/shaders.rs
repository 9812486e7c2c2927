//! Shader expansion, validation and the table of kernels.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use crate::candidates::candidates;
use crate::params::fields;
use naga::{AddressSpace, ScalarKind, StorageAccess, TypeInner};

macro_rules! formats {
    ($($(#[$doc:meta])* $format:ident = $name:literal, $stem:literal, $id:literal, $kind:ident, $file:ident::$codec:ident;)*) => {
        /// Weight formats: file stems under `shaders/quant`.
        const FORMATS: &[&str] = &[$($stem),*];
    };
}
include!("../src/quant/list.rs");
macro_rules! pairs {
    ($($first:literal and $second:literal;)*) => {
        /// Formats that a product takes together: file stems under `shaders/quant`.
        const PAIRS: &[(&str, &str)] = &[$(($first, $second)),*];
    };
}
include!("../src/quant/pairs.rs");
/// What a shader has once for each weight format: renamed where it has a second one, as is all that begins with `w_`.
const OF_A_FORMAT: [&str; 4] = ["w", "Oct", "Scale", "SHARED"];
/// Cache types: file stems under `shaders/kv`.
const CACHES: [&str; 2] = ["f32", "block16"];

/// Directives of a shader's head, read by [`read_source`] and [`candidates`].
const HEADER: [&str; 3] = ["#require ", "#params ", "#candidate "];

/// What the axes of a kernel are in one expansion of its shader.
#[derive(Clone, Copy)]
struct Axes {
    weight: Option<&'static str>,
    second: Option<&'static str>,
    kv: Option<&'static str>,
}

struct Source {
    op: String,
    params: PathBuf,
    variant: String,
    text: String,
    requires: Vec<String>,
    weight: bool,
    second: bool,
    kv: bool,
}

/// Writes `kernels.rs`, the kernel table, and the expanded shaders that it includes.
pub fn generate(root: &Path, out: &Path) -> Result<(), String> {
    let mut kernels = String::from(
        "/// Every shader in every weight format and cache type.\npub static KERNELS: &[Kernel] = &[\n",
    );
    // Of the texts and of their heads, which say how they are run.
    let mut hash = DefaultHasher::new();
    for path in wgsl_files(root)? {
        let source = read_source(root, &path)?;
        source.text.hash(&mut hash);
        let pairs = PAIRS.iter().map(|(first, second)| (Some(*first), Some(*second)));
        let weights: Vec<_> = match source.second {
            true => pairs.collect(),
            false => axis(source.weight, FORMATS).into_iter().map(|weight| (weight, None)).collect(),
        };
        for (weight, second) in weights {
            for kv in axis(source.kv, &CACHES) {
                kernels.push_str(&expand_kernel(root, out, &source, Axes { weight, second, kv }, &mut hash)?);
            }
        }
    }
    kernels.push_str("];\n");
    let _ =
        writeln!(kernels, "/// A hash of all shaders.\npub const SHADERS: u64 = {:#018x};", hash.finish());
    write(&out.join("kernels.rs"), &kernels)
}

fn axis(used: bool, values: &'static [&'static str]) -> Vec<Option<&'static str>> {
    if used { values.iter().map(|v| Some(*v)).collect() } else { vec![None] }
}

fn wgsl_files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|x| x == "wgsl"))
        .collect();
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read_source(root: &Path, path: &Path) -> Result<Source, String> {
    let text = read(path)?;
    let stem = stem(path);
    let (op, variant) = stem.split_once('.').map_or((stem.as_str(), "base"), |(o, v)| (o, v));
    let has = |what: &str| imports(root, &text, what, &mut BTreeSet::new());
    let requires = text
        .lines()
        .filter_map(|l| l.trim().strip_prefix("#require "))
        .map(|f| f.trim().to_owned())
        .collect();
    let shared = text.lines().find_map(|l| l.trim().strip_prefix("#params "));
    let params = root.join("params").join(format!("{}.wgsl", shared.map_or(op, str::trim)));
    if !params.exists() {
        return Err(format!("{}: no parameters at {}", path.display(), params.display()));
    }
    Ok(Source {
        op: op.into(),
        params,
        variant: variant.into(),
        weight: has("weight"),
        second: has("second"),
        kv: has("kv"),
        text,
        requires,
    })
}

/// Whether a text imports something, directly or through `shaders/lib`.
fn imports(root: &Path, text: &str, what: &str, seen: &mut BTreeSet<String>) -> bool {
    text.lines().filter_map(|l| l.trim().strip_prefix("#import ")).map(str::trim).any(|name| {
        let lib = || read(&root.join("lib").join(format!("{name}.wgsl"))).unwrap_or_default();
        name == what || (seen.insert(name.to_owned()) && imports(root, &lib(), what, seen))
    })
}

/// Replaces import lines, each file at most once; an unknown import or directive is an error.
fn expand(
    root: &Path,
    source: &Source,
    text: &str,
    axes: Axes,
    seen: &mut BTreeSet<PathBuf>,
    out: &mut String,
) -> Result<(), String> {
    for line in text.lines() {
        let trimmed = line.trim();
        if !trimmed.starts_with('#') {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        if HEADER.iter().any(|header| trimmed.starts_with(header)) {
            continue;
        }
        let Some(name) = trimmed.strip_prefix("#import ") else {
            return Err(format!("{}.{}: unknown directive `{trimmed}`", source.op, source.variant));
        };
        let quant = |format: &str| {
            vec![root.join("quant/common.wgsl"), root.join("quant").join(format!("{format}.wgsl"))]
        };
        let files = match (name.trim(), axes) {
            ("params", _) => vec![source.params.clone()],
            ("weight", Axes { weight: Some(format), .. }) => quant(format),
            ("second", Axes { second: Some(format), .. }) => {
                // All that is there once a format, again under other names.
                let of_format = |name: &str| format!("#import {name}\n");
                let text = of_format("weight") + &of_format("normed_sums");
                let mut again = String::new();
                let axes = Axes { weight: Some(format), ..axes };
                expand(root, source, &text, axes, &mut BTreeSet::new(), &mut again)?;
                out.push_str(&renamed(&again));
                continue;
            }
            ("kv", Axes { kv: Some(kv), .. }) => vec![root.join("kv").join(format!("{kv}.wgsl"))],
            (lib, _) => vec![root.join("lib").join(format!("{lib}.wgsl"))],
        };
        for file in files {
            if seen.insert(file.clone()) {
                let text = read(&file).map_err(|e| format!("{}: import `{name}`: {e}", source.op))?;
                expand(root, source, &text, axes, seen, out)?;
            }
        }
    }
    Ok(())
}

/// A text about one weight format under the names of a second: `w2_oct` of `w_oct`, `Scale2` of `Scale`.
fn renamed(text: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        let mut rest = code;
        while let Some(c) = rest.chars().next() {
            let end = rest.find(|other: char| part(other) != part(c)).unwrap_or(rest.len());
            let (word, later) = rest.split_at(end);
            let of_format = part(c) && !out.ends_with('.');
            match word.strip_prefix("w_") {
                Some(name) if of_format => out.push_str(&format!("w2_{name}")),
                _ if of_format && OF_A_FORMAT.contains(&word) => out.push_str(&format!("{word}2")),
                _ => out.push_str(word),
            }
            rest = later;
        }
        out.push('\n');
    }
    out
}

fn expand_kernel(
    root: &Path,
    out: &Path,
    source: &Source,
    axes: Axes,
    hash: &mut DefaultHasher,
) -> Result<String, String> {
    let Axes { weight, second, kv } = axes;
    let mut text = String::new();
    expand(root, source, &source.text, axes, &mut BTreeSet::new(), &mut text)?;
    text.hash(hash);
    let name = [Some(source.op.as_str()), Some(source.variant.as_str()), weight, second, kv]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(".");
    let module = validate(&name, &text)?;
    let file = out.join(format!("{name}.wgsl"));
    write(&file, &text)?;

    let mut bindings = String::new();
    let mut globals: Vec<_> =
        module.global_variables.iter().filter_map(|(_, g)| Some((g.binding?, g))).collect();
    globals.sort_by_key(|(b, _)| b.binding);
    for (binding, global) in globals {
        let kind = match global.space {
            AddressSpace::Uniform => "Uniform",
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => "ReadWrite",
            AddressSpace::Storage { .. } => "Read",
            _ => return Err(format!("{name}: binding {} is neither uniform nor storage", binding.binding)),
        };
        let var = global.name.as_deref().unwrap_or_default();
        let _ = write!(
            bindings,
            "Binding {{ name: {var:?}, index: {}, kind: BindingKind::{kind} }}, ",
            binding.binding
        );
    }
    let mut passes = String::new();
    for entry in &module.entry_points {
        let [x, y, z] = entry.workgroup_size;
        let _ = write!(passes, "EntryPoint {{ entry: {:?}, workgroup: [{x}, {y}, {z}] }}, ", entry.name);
    }
    let overrides: Vec<String> = module.overrides.iter().filter_map(|(_, o)| o.name.clone()).collect();
    let fields = fields(&read(&source.params)?)?;
    let candidates = candidates(&source.text, &fields, &overrides, module.entry_points.len())
        .map_err(|why| format!("{name}: {why}"))?;
    Ok(format!(
        "    Kernel {{ op: {:?}, variant: {:?}, weight: {weight:?}, second: {second:?}, kv: {kv:?}, source: include_str!({:?}), \
         passes: &[{passes}], bindings: &[{bindings}], requires: &{:?}, candidates: &[{candidates}] }},\n",
        source.op, source.variant, file, source.requires
    ))
}

fn validate(name: &str, text: &str) -> Result<naga::Module, String> {
    let module = naga::front::wgsl::parse_str(text)
        .map_err(|e| e.emit_to_string_with_path(text, &format!("{name}.wgsl")))?;
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string_with_path(text, &format!("{name}.wgsl")))?;
    Ok(module)
}

/// The module of parameters as naga lays the structs of these files out.
pub fn params_module(files: &[(String, PathBuf)]) -> Result<String, String> {
    let mut out = String::new();
    for (name, path) in files {
        let module = validate(name, &read(path)?)?;
        let _ = writeln!(out, "/// Generated from the shader sources.\npub mod {name} {{");
        for (_, ty) in module.types.iter() {
            if let (Some(struct_name), TypeInner::Struct { members, span }) = (&ty.name, &ty.inner) {
                out.push_str(&rust_struct(&module, name, struct_name, members, *span)?);
            }
        }
        out.push_str("}\n");
    }
    Ok(out)
}

fn rust_struct(
    module: &naga::Module,
    file: &str,
    name: &str,
    members: &[naga::StructMember],
    span: u32,
) -> Result<String, String> {
    let mut out = format!(
        "#[repr(C)]\n#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]\n#[allow(missing_docs)]\npub struct {name} {{\n"
    );
    let mut offset = 0;
    for member in members {
        let field = member.name.as_deref().unwrap_or_default();
        if member.offset != offset {
            return Err(format!(
                "{file}: {name}.{field} sits at {} after {offset}: order fields so that none is padded",
                member.offset
            ));
        }
        let (ty, bytes) =
            rust_type(module, member.ty).ok_or_else(|| format!("{file}: type of {name}.{field}"))?;
        let _ = writeln!(out, "pub {field}: {ty},");
        offset += bytes;
    }
    if offset != span {
        return Err(format!("{file}: {name} spans {span} bytes but its fields {offset}: pad it by hand"));
    }
    out.push_str("}\n");
    Ok(out)
}

fn rust_type(module: &naga::Module, ty: naga::Handle<naga::Type>) -> Option<(String, u32)> {
    let scalar = |s: naga::Scalar| match (s.kind, s.width) {
        (ScalarKind::Uint, 4) => Some("u32"),
        (ScalarKind::Sint, 4) => Some("i32"),
        (ScalarKind::Float, 4) => Some("f32"),
        _ => None,
    };
    match module.types[ty].inner {
        TypeInner::Scalar(s) => Some((scalar(s)?.into(), 4)),
        TypeInner::Vector { size, scalar: s } => {
            Some((format!("[{}; {}]", scalar(s)?, size as u32), 4 * size as u32))
        }
        _ => None,
    }
}
