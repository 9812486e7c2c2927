//! A model in several files, as llama.cpp's `gguf-split` cuts it: the first part has the metadata, each its own tensors.
//! They are read as one file, each part's bytes behind those of the one before it.

use std::path::{Path, PathBuf};

use super::error::GgufError;
use super::file::{GgufFile, PartFile};
use super::index::NameIndex;
use super::quoted::quoted;
use super::{Gguf, Metadata};

/// What the keys about the parts begin with.
const PREFIX: &str = "split.";

/// Which part of how many a file is, if it is one of several.
fn place(metadata: &Metadata) -> Result<Option<(u16, u16)>, GgufError> {
    let count = metadata.find::<u16>("split.count")?.unwrap_or(0);
    let number = metadata.find::<u16>("split.no")?.unwrap_or(0);
    Ok((count > 1).then_some((number, count)))
}

/// The file itself if it is whole, all parts together if it is one of them.
pub(super) fn join(path: &Path, part: PartFile, header: Gguf) -> Result<GgufFile, GgufError> {
    let Some((number, count)) = place(&header.metadata)? else {
        return Ok(GgufFile { parts: vec![part], header });
    };
    let paths = paths(path, number, count)?;
    let mut joined: Option<GgufFile> = None;
    for (index, path) in (0..count).zip(&paths) {
        let (mut part, mut header) = PartFile::open(path).map_err(|e| missing(number, count, path, &e))?;
        if place(&header.metadata)? != Some((index, count)) {
            let problem = format!("`{}` is not part {} of it", path.display(), u32::from(index) + 1);
            return Err(GgufError::Part { number: u32::from(number) + 1, count: count.into(), problem });
        }
        let Some(whole) = &mut joined else {
            joined = Some(GgufFile { parts: vec![part], header });
            continue;
        };
        part.start = whole.header.file_len;
        header.tensors.iter_mut().for_each(|tensor| tensor.offset += part.start);
        whole.header.tensors.append(&mut header.tensors);
        whole.header.file_len += header.file_len;
        whole.parts.push(part);
    }
    let mut joined = joined.ok_or_else(|| no_name(number, count))?;
    finish(&mut joined.header, number, count)?;
    Ok(joined)
}

/// Checks that all tensors are there, each once, and leaves out what says that this is a part.
fn finish(header: &mut Gguf, number: u16, count: u16) -> Result<(), GgufError> {
    let promised = header.metadata.find::<usize>("split.tensors.count")?;
    if let Some(promised) = promised.filter(|promised| *promised != header.tensors.len()) {
        let problem = format!("the parts have {} tensors and should have {promised}", header.tensors.len());
        return Err(GgufError::Part { number: u32::from(number) + 1, count: count.into(), problem });
    }
    let mut index = NameIndex::with_room(header.tensors.len());
    for (position, tensor) in header.tensors.iter().enumerate() {
        if !index.insert(&tensor.name, position as u32, |i| &header.tensors[i].name) {
            return Err(GgufError::DuplicateTensor { offset: tensor.offset, tensor: quoted(&tensor.name) });
        }
    }
    header.index = index;
    let kept = header.metadata.iter().filter(|(key, _)| !key.starts_with(PREFIX));
    header.metadata = kept.map(|(key, value)| (key, value.clone())).collect();
    Ok(())
}

/// The paths of all parts, by the name of one: `name-00002-of-00003.gguf`.
fn paths(path: &Path, number: u16, count: u16) -> Result<Vec<PathBuf>, GgufError> {
    let ending = |index: u16| format!("-{:05}-of-{count:05}.gguf", u32::from(index) + 1);
    let name = path.file_name().and_then(|name| name.to_str());
    let stem = name.and_then(|name| name.strip_suffix(&ending(number)));
    let stem = stem.ok_or_else(|| no_name(number, count))?;
    Ok((0..count).map(|index| path.with_file_name(format!("{stem}{}", ending(index)))).collect())
}

fn no_name(number: u16, count: u16) -> GgufError {
    let problem = format!(
        "its name must end in -{:05}-of-{count:05}.gguf for the others to be found",
        u32::from(number) + 1
    );
    GgufError::Part { number: u32::from(number) + 1, count: count.into(), problem }
}

fn missing(number: u16, count: u16, path: &Path, error: &GgufError) -> GgufError {
    let problem = match error {
        GgufError::File(_) => format!("`{}` cannot be opened", path.display()),
        other => format!("`{}`: {other}", path.display()),
    };
    GgufError::Part { number: u32::from(number) + 1, count: count.into(), problem }
}

#[cfg(test)]
mod tests {
    use super::super::{GgufWriter, TensorSpec};
    use super::*;

    /// A part with the tensors `names`, each of which holds its own letter.
    fn part(dir: &Path, file: &str, place: (u16, u16), total: i32, names: &[&str]) -> PathBuf {
        let mut metadata = Metadata::new();
        if place.0 == 0 {
            metadata.set("general.architecture", "llama");
        }
        metadata.set("split.no", super::super::Value::U16(place.0));
        metadata.set("split.count", super::super::Value::U16(place.1));
        metadata.set("split.tensors.count", total);
        let specs: Vec<_> = names.iter().map(|name| TensorSpec::new(*name, [2], 0)).collect();
        let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
        names.iter().for_each(|name| writer.tensor(name, &[name.as_bytes()[0]; 8]).unwrap());
        let path = dir.join(file);
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        path
    }

    #[test]
    fn parts_that_lie_together_are_one_file_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = part(dir.path(), "m-00001-of-00003.gguf", (0, 3), 4, &["a"]);
        let second = part(dir.path(), "m-00002-of-00003.gguf", (1, 3), 4, &["b", "c"]);
        part(dir.path(), "m-00003-of-00003.gguf", (2, 3), 4, &["d"]);
        for path in [&first, &second] {
            let file = GgufFile::open(path).unwrap();
            assert_eq!((file.path(), file.paths().count()), (first.as_path(), 3));
            let header = file.header();
            assert_eq!(
                header.metadata.iter().map(|(key, _)| key).collect::<Vec<_>>(),
                ["general.architecture"]
            );
            for name in ["a", "b", "c", "d"] {
                let tensor = header.require_tensor(name).unwrap();
                assert_eq!(file.tensor_bytes(tensor).unwrap(), [name.as_bytes()[0]; 8], "{name}");
            }
            let total: u64 = file.paths().map(|p| std::fs::metadata(p).unwrap().len()).sum();
            assert_eq!(header.file_len, total);
        }
    }

    #[test]
    fn parts_that_are_not_together_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| GgufFile::open(path).unwrap_err().to_string();
        let second = part(dir.path(), "m-00002-of-00002.gguf", (1, 2), 2, &["b"]);
        let missing = said(&second);
        assert!(missing.contains("part 2 of 2") && missing.contains("m-00001-of-00002.gguf"), "{missing}");
        let renamed = said(&part(dir.path(), "model.gguf", (0, 2), 2, &["a"]));
        assert!(renamed.contains("part 1 of 2") && renamed.contains("-00001-of-00002.gguf"), "{renamed}");
        part(dir.path(), "m-00001-of-00002.gguf", (0, 2), 3, &["a"]);
        assert!(said(&second).contains("should have 3"), "{}", said(&second));
        part(dir.path(), "m-00001-of-00002.gguf", (0, 2), 2, &["b"]);
        assert!(said(&second).contains("\"b\""), "{}", said(&second));
        part(dir.path(), "m-00001-of-00002.gguf", (1, 2), 2, &["a"]);
        assert!(said(&second).contains("is not part 1"), "{}", said(&second));
    }
}
