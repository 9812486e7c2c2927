//! The table of ops, from the files that describe one: `op! { Name(Params) "stem" { ...` in `src/ops`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The table as a call of `op_table!`, by the stems' order.
///
/// # Errors
/// A folder or file that cannot be read; an op whose stem is not its file's.
pub fn table(folder: &Path) -> Result<String, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut ops = Vec::new();
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some((_, described)) = text.split_once("\nop! {\n") else { continue };
        let head = described.lines().find(|line| !line.trim_start().starts_with("//")).unwrap_or_default();
        let name = head.trim().split_once('(').map(|(name, _)| name.to_owned());
        match (name, head.contains(&format!("\"{file}\""))) {
            (Some(name), true) => ops.push((file, name)),
            _ => return Err(format!("{}: `{head}` is no op with this file's stem", path.display())),
        }
    }
    ops.sort();
    let mut out = String::from("op_table! {\n");
    for (file, name) in &ops {
        let _ = writeln!(out, "    {name} => {file},");
    }
    out.push_str("}\n");
    Ok(out)
}
