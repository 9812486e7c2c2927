//! The Rust mirrors of the parameter structs, read from the shader sources by themselves: both executors need them, and a build
//! without a GPU should not need a compiler of shaders. `shaders.rs` makes the same with naga, which must agree.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A struct of a shader file.
struct Struct {
    name: String,
    fields: Vec<(String, String)>,
}

/// The module of parameters: one Rust module for each of `shaders/params/*.wgsl`, and `step`.
///
/// # Errors
/// A file that cannot be read, or has more than structs of plain numbers without padding.
pub fn module(root: &Path) -> Result<String, String> {
    let mut out = String::new();
    for (name, path) in files(root)? {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let structs = parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        let _ = writeln!(out, "/// Generated from the shader sources.\npub mod {name} {{");
        for one in &structs {
            out.push_str(&mirror(one).map_err(|why| format!("{}: {why}", path.display()))?);
        }
        out.push_str("}\n");
    }
    Ok(out)
}

/// The files of parameters, and their modules' names.
pub fn files(root: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let folder = root.join("params");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.filter(|p| p.extension().is_some_and(|x| x == "wgsl")).collect();
    paths.sort();
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut all: Vec<(String, PathBuf)> = paths.into_iter().map(|path| (stem(&path), path)).collect();
    all.push(("step".into(), root.join("lib/step_types.wgsl")));
    Ok(all)
}

/// The fields of a parameter struct that are plain words, with the number of the word.
///
/// # Errors
/// As [`module`].
#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
pub fn fields(text: &str) -> Result<Vec<(String, u32)>, String> {
    let (mut fields, mut offset) = (vec![], 0);
    for (field, ty) in parse(text)?.iter().flat_map(|one| &one.fields) {
        let (_, bytes, _) = rust_type(ty).ok_or_else(|| format!("type `{ty}` of {field}"))?;
        if ty == "u32" {
            fields.push((field.clone(), offset / 4));
        }
        offset += bytes;
    }
    Ok(fields)
}

fn parse(text: &str) -> Result<Vec<Struct>, String> {
    let mut structs = Vec::new();
    let mut open: Option<Struct> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split("//").next().unwrap_or_default().trim();
        let unknown = || format!("line {number}: `{line}` is no line of a struct of numbers");
        match (&mut open, line) {
            (_, "") => {}
            (None, _) => {
                let name = line.strip_prefix("struct ").and_then(|rest| rest.strip_suffix('{'));
                let name = name.ok_or_else(unknown)?.trim().to_owned();
                open = Some(Struct { name, fields: Vec::new() });
            }
            (Some(_), "}" | "};") => structs.extend(open.take()),
            (Some(one), _) => {
                let field = line.trim_end_matches(',').split_once(':').ok_or_else(unknown)?;
                one.fields.push((field.0.trim().to_owned(), field.1.trim().to_owned()));
            }
        }
    }
    match open {
        Some(one) => Err(format!("struct {} is not closed", one.name)),
        None => Ok(structs),
    }
}

/// The Rust struct of the same layout.
fn mirror(one: &Struct) -> Result<String, String> {
    let name = &one.name;
    let mut out = format!(
        "#[repr(C)]\n#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]\n#[allow(missing_docs)]\npub struct {name} {{\n"
    );
    let (mut offset, mut widest) = (0, 4);
    for (field, ty) in &one.fields {
        let (ty, bytes, align) = rust_type(ty).ok_or_else(|| format!("type `{ty}` of {name}.{field}"))?;
        if offset % align != 0 {
            return Err(format!(
                "{name}.{field} is padded after {offset}: order fields so that none is padded"
            ));
        }
        let _ = writeln!(out, "pub {field}: {ty},");
        (offset, widest) = (offset + bytes, widest.max(align));
    }
    if offset % widest != 0 {
        return Err(format!(
            "{name} has {offset} bytes of fields and is aligned to {widest}: pad it by hand"
        ));
    }
    out.push_str("}\n");
    Ok(out)
}

/// A type of WGSL in Rust, with its bytes and its alignment.
fn rust_type(ty: &str) -> Option<(String, u32, u32)> {
    let scalar = |name: &str| matches!(name, "u32" | "i32" | "f32").then(|| name.to_owned());
    if let Some(plain) = scalar(ty) {
        return Some((plain, 4, 4));
    }
    let (count, rest) = ty.strip_prefix("vec")?.split_at_checked(1)?;
    let count: u32 = count.parse().ok().filter(|n| (2..=4).contains(n))?;
    let element = scalar(rest.strip_prefix('<')?.strip_suffix('>')?.trim())?;
    Some((format!("[{element}; {count}]"), 4 * count, if count == 2 { 8 } else { 16 }))
}
