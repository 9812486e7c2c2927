//! Re-encodes a model file in another block format, tensor by tensor, in bounded memory.
//!
//! Matrices become the target format, except where its blocks do not divide a row (then the nearest format that
//! fits, as llama.cpp chooses it) and the output matrix, which matters more than its share and gets Q6_K. Vectors
//! (norms, biases) stay as they are.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::gguf::{FileType, Gguf, GgufError, GgufFile, GgufWriter, TensorInfo, TensorSpec};
use crate::io::{IoError, replace_file};
use crate::quant::{Format, QuantError};

/// Weights decoded at once, over all threads: what bounds the memory.
const CHUNK: usize = 1 << 20;

/// Why a file could not be re-encoded.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// Reading the input or writing the output.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The output file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A tensor's values cannot be coded so.
    #[error("tensor `{tensor}`: {source}")]
    Values {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        source: QuantError,
    },
    /// A matrix in a format that cannot be decoded here.
    #[error("tensor `{tensor}` is {format}, which cannot be read; start from a file in {known}")]
    Unreadable {
        /// The tensor.
        tensor: String,
        /// Its format.
        format: &'static str,
        /// Formats that can be read.
        known: String,
    },
    /// Input and output are the same file.
    #[error("`{path}` would be overwritten while it is read; choose another name for the output")]
    SameFile {
        /// The file.
        path: PathBuf,
    },
    /// The caller stopped it; no output was written.
    #[error("stopped")]
    Stopped,
}

/// What to make of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizeOptions {
    /// Format of the matrices.
    pub format: Format,
    /// Format of the output matrix; `None` for Q6_K where the target is smaller.
    pub output: Option<Format>,
    /// Format of the token embedding; `None` for the target's, or the output's where they are one matrix.
    pub embedding: Option<Format>,
    /// Threads that encode.
    pub threads: usize,
}

impl QuantizeOptions {
    /// The usual choices for a target format.
    pub fn new(format: Format) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { format, output: None, embedding: None, threads }
    }
}

/// What becomes of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Name.
    pub name: String,
    /// Format name in the input.
    pub from: &'static str,
    /// Format in the output; `None`: copied as it is.
    pub to: Option<Format>,
    /// The format wanted, where its blocks did not divide the row.
    pub instead_of: Option<Format>,
    /// Bytes in the input.
    pub bytes: u64,
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of tensors before.
    pub before: u64,
    /// Bytes of tensors after.
    pub after: u64,
    /// Tensors that were re-encoded.
    pub encoded: usize,
    /// Tensors that were copied.
    pub copied: usize,
    /// Tensors that could not have the wanted format.
    pub fallbacks: usize,
}

/// What becomes of each tensor, in the order of the file.
///
/// # Errors
/// [`QuantizeError::Unreadable`] for a matrix that cannot be decoded.
pub fn decide(gguf: &Gguf, options: &QuantizeOptions) -> Result<Vec<Decision>, QuantizeError> {
    let tied = gguf.tensor("output.weight").is_none();
    gguf.tensors.iter().map(|tensor| decide_one(tensor, options, tied)).collect()
}

fn decide_one(tensor: &TensorInfo, options: &QuantizeOptions, tied: bool) -> Result<Decision, QuantizeError> {
    let from = tensor.tensor_type().map_or("unknown", |t| t.name);
    let mut decision =
        Decision { name: tensor.name.clone(), from, to: None, instead_of: None, bytes: tensor.bytes };
    if !is_matrix(tensor) {
        return Ok(decision);
    }
    let known = || Format::ALL.map(Format::name).join(", ");
    let source = Format::from_ggml_id(tensor.type_id).ok_or_else(|| QuantizeError::Unreadable {
        tensor: tensor.name.clone(),
        format: from,
        known: known(),
    })?;
    let wanted = wanted(&tensor.name, options, tied);
    let to = fitting(wanted, tensor.dim(0));
    decision.to = (to != source).then_some(to);
    decision.instead_of = (to != wanted).then_some(wanted);
    Ok(decision)
}

/// Matrices that take a block format: not norms, biases, rope factors or expert routers.
fn is_matrix(tensor: &TensorInfo) -> bool {
    let kept = ["_norm.weight", "ffn_gate_inp.weight"];
    tensor.dims.len() >= 2
        && tensor.name.ends_with("weight")
        && !kept.iter().any(|part| tensor.name.contains(part))
}

fn wanted(name: &str, options: &QuantizeOptions, tied: bool) -> Format {
    // Formats of 8 bits and more are already good enough for the output.
    let small = !matches!(options.format, Format::F32 | Format::F16 | Format::BF16 | Format::Q8_0);
    let output = || options.output.unwrap_or(if small { Format::Q6K } else { options.format });
    match name {
        "output.weight" => output(),
        "token_embd.weight" if tied => options.embedding.unwrap_or_else(output),
        "token_embd.weight" => options.embedding.unwrap_or(options.format),
        _ => options.format,
    }
}

/// The format, or the nearest one whose blocks divide rows of `width` weights.
fn fitting(format: Format, width: u64) -> Format {
    let fits = |f: Format| width.is_multiple_of(f.block_len() as u64);
    let nearest = match format {
        Format::Q2K | Format::Q3K => Format::Iq4Nl,
        Format::Q4K => Format::Q5_0,
        Format::Q5K => Format::Q5_1,
        Format::Q6K => Format::Q8_0,
        _ => Format::F16,
    };
    [format, nearest].into_iter().find(|f| fits(*f)).unwrap_or(Format::F16)
}

/// Writes `input` re-encoded to `output`, which appears whole or not at all. `watch` sees each tensor before it is
/// worked on, with its index, and may stop the work.
///
/// # Errors
/// Any [`QuantizeError`]; the output is then as it was.
pub fn quantize(
    input: &GgufFile,
    output: &Path,
    options: &QuantizeOptions,
    watch: &mut dyn FnMut(usize, &Decision) -> ControlFlow<()>,
) -> Result<Summary, QuantizeError> {
    refuse_same_file(input.path(), output)?;
    let gguf = input.header();
    let decisions = decide(gguf, options)?;
    let specs: Vec<TensorSpec> = gguf.tensors.iter().zip(&decisions).map(|(t, d)| spec(t, d)).collect();
    let mut metadata = gguf.metadata.clone();
    if let Some(file_type) = file_type(options.format) {
        metadata.set("general.file_type", file_type.0);
    }
    metadata.set("general.quantization_version", 2u32);
    replace_file(output, |sink| {
        let mut writer = GgufWriter::new(sink, &metadata, &specs)?;
        for (index, (tensor, decision)) in gguf.tensors.iter().zip(&decisions).enumerate() {
            if watch(index, decision).is_break() {
                return Err(QuantizeError::Stopped);
            }
            let bytes = input.tensor_bytes(tensor)?;
            writer.begin(&tensor.name)?;
            match (decision.to, Format::from_ggml_id(tensor.type_id)) {
                (Some(to), Some(from)) => recode(&mut writer, tensor, bytes, from, to, options.threads)?,
                _ => writer.write(bytes)?,
            }
        }
        writer.finish()?;
        Ok(())
    })?;
    let after = specs.iter().filter_map(spec_bytes).sum();
    let encoded = decisions.iter().filter(|d| d.to.is_some()).count();
    Ok(Summary {
        before: gguf.tensors.iter().map(|t| t.bytes).sum(),
        after,
        encoded,
        copied: decisions.len() - encoded,
        fallbacks: decisions.iter().filter(|d| d.instead_of.is_some()).count(),
    })
}

fn refuse_same_file(input: &Path, output: &Path) -> Result<(), QuantizeError> {
    let same =
        |a: &Path, b: &Path| a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b);
    if same(input, output) { Err(QuantizeError::SameFile { path: output.to_owned() }) } else { Ok(()) }
}

fn spec(tensor: &TensorInfo, decision: &Decision) -> TensorSpec {
    let type_id = decision.to.map_or(tensor.type_id, Format::ggml_id);
    TensorSpec::new(tensor.name.clone(), tensor.dims.clone(), type_id)
}

fn spec_bytes(spec: &TensorSpec) -> Option<u64> {
    let kind = crate::gguf::TensorType::by_id(spec.type_id)?;
    Some(spec.dims.iter().product::<u64>() / kind.block_len * kind.block_bytes)
}

/// `general.file_type` of a file whose matrices are in `format`.
fn file_type(format: Format) -> Option<FileType> {
    let name = match format {
        Format::Q3K => "Q3_K_S",
        Format::Q4K => "Q4_K_S",
        Format::Q5K => "Q5_K_S",
        other => other.name(),
    };
    FileType::by_name(name)
}

/// Decodes and encodes a tensor in chunks of whole rows.
fn recode<W: embedded_io::Write>(
    writer: &mut GgufWriter<W>,
    tensor: &TensorInfo,
    bytes: &[u8],
    from: Format,
    to: Format,
    threads: usize,
) -> Result<(), QuantizeError> {
    let fail = |source: QuantError| QuantizeError::Values { tensor: tensor.name.clone(), source };
    let width = tensor.dim(0) as usize;
    let (row_in, row_out) = (from.row_bytes(width).map_err(fail)?, to.row_bytes(width).map_err(fail)?);
    let rows = (CHUNK / width).max(1);
    let mut encoded = vec![0u8; rows * row_out];
    for chunk in bytes.chunks(rows * row_in) {
        let count = chunk.len() / row_in;
        let out = &mut encoded[..count * row_out];
        recode_rows(chunk, out, width, from, to, count.div_ceil(threads.max(1))).map_err(fail)?;
        writer.write(out)?;
    }
    Ok(())
}

/// One thread per `share` rows.
fn recode_rows(
    bytes: &[u8],
    out: &mut [u8],
    width: usize,
    from: Format,
    to: Format,
    share: usize,
) -> Result<(), QuantError> {
    let (row_in, row_out) = (from.row_bytes(width)?, to.row_bytes(width)?);
    std::thread::scope(|scope| {
        let parts = bytes.chunks(share * row_in).zip(out.chunks_mut(share * row_out));
        let work = |(bytes, out): (&[u8], &mut [u8])| {
            let mut values = vec![0f32; width];
            for (bytes, out) in bytes.chunks_exact(row_in).zip(out.chunks_exact_mut(row_out)) {
                from.decode(bytes, &mut values)?;
                to.encode(&values, out)?;
            }
            Ok(())
        };
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        // A panic in an encoder is a defect; it goes on in this thread.
        threads
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Metadata;

    fn model(width: u64, tied: bool) -> Vec<u8> {
        let mut specs = vec![
            TensorSpec::new("token_embd.weight", [width, 8], Format::F32.ggml_id()),
            TensorSpec::new("blk.0.attn_norm.weight", [width], Format::F32.ggml_id()),
            TensorSpec::new("blk.0.ffn_up.weight", [width, 16], Format::F16.ggml_id()),
        ];
        if !tied {
            specs.push(TensorSpec::new("output.weight", [width, 8], Format::F32.ggml_id()));
        }
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", "llama");
        let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
        for spec in &specs {
            let count = spec.dims.iter().product::<u64>() as usize;
            let values: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            let format = Format::from_ggml_id(spec.type_id).unwrap();
            let mut bytes = vec![0; count / format.block_len() * format.block_bytes()];
            format.encode(&values, &mut bytes).unwrap();
            writer.tensor(&spec.name, &bytes).unwrap();
        }
        writer.finish().unwrap()
    }

    fn opened(bytes: &[u8]) -> (tempfile::TempDir, GgufFile) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("in.gguf"), bytes).unwrap();
        let file = GgufFile::open(dir.path().join("in.gguf")).unwrap();
        (dir, file)
    }

    fn values(file: &GgufFile, name: &str) -> Vec<f32> {
        let tensor = file.header().tensor(name).unwrap();
        let mut out = vec![0.0; tensor.elements() as usize];
        Format::from_ggml_id(tensor.type_id)
            .unwrap()
            .decode(file.tensor_bytes(tensor).unwrap(), &mut out)
            .unwrap();
        out
    }

    fn run(file: &GgufFile, dir: &tempfile::TempDir, options: &QuantizeOptions) -> (Summary, GgufFile) {
        let out = dir.path().join("out.gguf");
        let summary = quantize(file, &out, options, &mut |_, _| ControlFlow::Continue(())).unwrap();
        (summary, GgufFile::open(out).unwrap())
    }

    #[test]
    fn every_format_is_a_target_and_keeps_the_values() {
        let (dir, file) = opened(&model(512, true));
        for format in Format::ALL {
            let options =
                QuantizeOptions { embedding: Some(format), threads: 3, ..QuantizeOptions::new(format) };
            let (summary, out) = run(&file, &dir, &options);
            assert_eq!(summary.fallbacks, 0);
            for name in ["token_embd.weight", "blk.0.ffn_up.weight"] {
                assert_eq!(out.header().tensor(name).unwrap().type_id, format.ggml_id());
                let (a, b) = (values(&file, name), values(&out, name));
                let error: f32 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
                let norm: f32 = a.iter().map(|a| a * a).sum();
                assert!((error / norm).sqrt() < 0.35, "{format} {name}: {}", (error / norm).sqrt());
            }
            assert_eq!(values(&out, "blk.0.attn_norm.weight"), values(&file, "blk.0.attn_norm.weight"));
            assert_eq!(out.header().tensors.iter().map(|t| t.bytes).sum::<u64>(), summary.after);
            assert!(out.header().file_type().unwrap().is_some());
        }
    }

    #[test]
    fn blocks_that_do_not_divide_the_row_fall_back() {
        let (dir, file) = opened(&model(96, false));
        let (summary, out) = run(&file, &dir, &QuantizeOptions::new(Format::Q4K));
        let format = |name: &str| Format::from_ggml_id(out.header().tensor(name).unwrap().type_id).unwrap();
        assert_eq!(format("blk.0.ffn_up.weight"), Format::Q5_0);
        assert_eq!(format("output.weight"), Format::Q8_0);
        assert_eq!(format("blk.0.attn_norm.weight"), Format::F32);
        assert_eq!((summary.fallbacks, summary.encoded, summary.copied), (3, 3, 1));
        assert_eq!(fitting(Format::Q4_0, 40), Format::F16);
        assert_eq!(fitting(Format::Q2K, 64), Format::Iq4Nl);
    }

    #[test]
    fn the_output_matrix_gets_more_bits() {
        let (dir, file) = opened(&model(512, true));
        let (_, out) = run(&file, &dir, &QuantizeOptions::new(Format::Q4_0));
        assert_eq!(out.header().tensor("token_embd.weight").unwrap().type_id, Format::Q6K.ggml_id());
        let (dir, file) = opened(&model(512, false));
        let (_, out) = run(&file, &dir, &QuantizeOptions::new(Format::Q4_0));
        assert_eq!(out.header().tensor("token_embd.weight").unwrap().type_id, Format::Q4_0.ggml_id());
        assert_eq!(out.header().tensor("output.weight").unwrap().type_id, Format::Q6K.ggml_id());
    }

    #[test]
    fn what_cannot_be_done_leaves_the_output_alone() {
        let (dir, file) = opened(&model(512, true));
        let options = QuantizeOptions::new(Format::Q8_0);
        let stopped =
            quantize(&file, &dir.path().join("out.gguf"), &options, &mut |_, _| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(QuantizeError::Stopped)));
        let same =
            quantize(&file, &dir.path().join("in.gguf"), &options, &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(same, Err(QuantizeError::SameFile { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
