//! Re-encodes a model file in another block format, tensor by tensor, in bounded memory.
//!
//! Matrices become the target format, except where its blocks do not divide a row (then the nearest format that
//! fits, as llama.cpp chooses it) and the output matrix, which matters more than its share and gets Q6_K. Vectors
//! (norms, biases) stay as they are.

mod merge;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub use merge::{MergeOptions, Merging, merge};

use crate::adapter::{AdapterError, LoraPair};
use crate::gguf::{FileType, Gguf, GgufError, GgufFile, GgufWriter, Metadata, TensorInfo, TensorSpec};
use crate::io::{IoError, Manner, output, write_file};
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
    /// An adapter to merge.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
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
    /// How the file is written.
    pub manner: Manner,
}

impl QuantizeOptions {
    /// The usual choices for a target format.
    pub fn new(format: Format) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { format, output: None, embedding: None, threads, manner: Manner::default() }
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
    /// Where the file is that was there before, if it was to be kept.
    pub backup: Option<PathBuf>,
}

/// What becomes of each tensor, in the order of the file.
///
/// # Errors
/// [`QuantizeError::Unreadable`] for a matrix that cannot be decoded.
pub fn decide(gguf: &Gguf, options: &QuantizeOptions) -> Result<Vec<Decision>, QuantizeError> {
    let tied = gguf.tensor("output.weight").is_none();
    gguf.tensors.iter().map(|tensor| decide_one(tensor, options, tied)).collect()
}

impl Decision {
    /// To leave a tensor as it is.
    fn copied(tensor: &TensorInfo) -> Self {
        let from = tensor.tensor_type().map_or("unknown", |t| t.name);
        Decision { name: tensor.name.clone(), from, to: None, instead_of: None, bytes: tensor.bytes }
    }
}

fn decide_one(tensor: &TensorInfo, options: &QuantizeOptions, tied: bool) -> Result<Decision, QuantizeError> {
    let mut decision = Decision::copied(tensor);
    if !is_matrix(tensor) {
        return Ok(decision);
    }
    let source = readable(tensor)?;
    let wanted = wanted(&tensor.name, options, tied);
    let to = fitting(wanted, tensor.dim(0));
    decision.to = (to != source).then_some(to);
    decision.instead_of = (to != wanted).then_some(wanted);
    Ok(decision)
}

/// The format of a tensor, if it can be decoded.
fn readable(tensor: &TensorInfo) -> Result<Format, QuantizeError> {
    Format::from_ggml_id(tensor.type_id).ok_or_else(|| QuantizeError::Unreadable {
        tensor: tensor.name.clone(),
        format: tensor.tensor_type().map_or("unknown", |t| t.name),
        known: Format::ALL.map(Format::name).join(", "),
    })
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
    watch: Watch<'_>,
) -> Result<Summary, QuantizeError> {
    let decisions = decide(input.header(), options)?;
    let metadata = relabelled(input.header(), options.format);
    let job = Rewrite {
        input,
        sources: input.header().tensors.iter().collect(),
        decisions: &decisions,
        metadata,
        threads: options.threads,
        updates: &|_| Vec::new(),
        check_copied: true,
    };
    job.write(output, options.manner, watch)
}

/// Sees each tensor before it is worked on, with its index, and may stop the work.
pub type Watch<'a> = &'a mut dyn FnMut(usize, &Decision) -> ControlFlow<()>;

/// The metadata of a file whose matrices are now in `format`.
fn relabelled(gguf: &Gguf, format: Format) -> Metadata {
    let mut metadata = gguf.metadata.clone();
    if let Some(file_type) = file_type(format) {
        metadata.set("general.file_type", file_type.0);
    }
    metadata.set("general.quantization_version", 2u32);
    metadata
}

/// An update of one matrix, and what it is multiplied with.
type Update<'a> = (&'a LoraPair, f32);

/// Writing a file again with some of its tensors re-encoded.
struct Rewrite<'a> {
    input: &'a GgufFile,
    /// What each tensor of the output is made of.
    sources: Vec<&'a TensorInfo>,
    /// What becomes of it.
    decisions: &'a [Decision],
    metadata: Metadata,
    threads: usize,
    /// What is added to a tensor that is re-encoded.
    updates: &'a dyn Fn(&str) -> Vec<Update<'a>>,
    /// Whether copied tensors must be finite, too.
    check_copied: bool,
}

impl Rewrite<'_> {
    fn write(self, output: &Path, manner: Manner, watch: Watch<'_>) -> Result<Summary, QuantizeError> {
        if self.input.paths().any(|part| output::same_file(part, output)) {
            return Err(QuantizeError::SameFile { path: output.to_owned() });
        }
        let (sources, decisions) = (&self.sources, self.decisions);
        let specs: Vec<TensorSpec> = sources.iter().zip(decisions).map(|(t, d)| spec(t, d)).collect();
        let written = write_file(output, manner, |sink| -> Result<(), QuantizeError> {
            let mut writer = GgufWriter::new(sink, &self.metadata, &specs)?;
            for (index, (tensor, decision)) in sources.iter().zip(decisions).enumerate() {
                if watch(index, decision).is_break() {
                    return Err(QuantizeError::Stopped);
                }
                let bytes = self.input.tensor_bytes(tensor)?;
                writer.begin(&decision.name)?;
                match (decision.to, Format::from_ggml_id(tensor.type_id)) {
                    (Some(to), Some(from)) => {
                        let updates = (self.updates)(&decision.name);
                        let recode = Recode { width: tensor.dim(0) as usize, from, to, updates: &updates };
                        recode.tensor(&mut writer, &decision.name, bytes, self.threads)?;
                    }
                    (None, Some(format)) if self.check_copied => {
                        check_finite(tensor, format, bytes)?;
                        writer.write(bytes)?;
                    }
                    _ => writer.write(bytes)?,
                }
            }
            writer.finish()?;
            Ok(())
        })?;
        let after = specs.iter().filter_map(spec_bytes).sum();
        let encoded = decisions.iter().filter(|d| d.to.is_some()).count();
        Ok(Summary {
            before: sources.iter().map(|t| t.bytes).sum(),
            after,
            encoded,
            copied: decisions.len() - encoded,
            fallbacks: decisions.iter().filter(|d| d.instead_of.is_some()).count(),
            backup: written.backup,
        })
    }
}

/// Refuses a tensor that holds infinities or what is no number, chunk by chunk.
fn check_finite(tensor: &TensorInfo, format: Format, bytes: &[u8]) -> Result<(), QuantizeError> {
    let fail = |source: QuantError| QuantizeError::Values { tensor: tensor.name.clone(), source };
    let width = tensor.dim(0) as usize;
    let row = format.row_bytes(width).map_err(fail)?;
    let rows = (CHUNK / width).max(1);
    let mut values = vec![0.0; rows * width];
    for (index, chunk) in bytes.chunks(rows * row).enumerate() {
        let values = &mut values[..chunk.len() / row * width];
        format.decode(chunk, values).map_err(fail)?;
        Format::F32.check_finite(values).map_err(|e| fail(e.offset(index * rows * width)))?;
    }
    Ok(())
}

fn spec(tensor: &TensorInfo, decision: &Decision) -> TensorSpec {
    let type_id = decision.to.map_or(tensor.type_id, Format::ggml_id);
    TensorSpec::new(decision.name.clone(), tensor.dims.clone(), type_id)
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

/// Decoding and encoding the rows of a tensor.
#[derive(Clone, Copy)]
struct Recode<'a> {
    width: usize,
    from: Format,
    to: Format,
    /// Added in between.
    updates: &'a [Update<'a>],
}

impl Recode<'_> {
    /// A whole tensor, in chunks of whole rows.
    fn tensor<W: embedded_io::Write>(
        self,
        writer: &mut GgufWriter<W>,
        name: &str,
        bytes: &[u8],
        threads: usize,
    ) -> Result<(), QuantizeError> {
        let fail = |source: QuantError| QuantizeError::Values { tensor: name.to_owned(), source };
        let (row_in, row_out) = self.row_bytes().map_err(fail)?;
        let rows = (CHUNK / self.width).max(1);
        let mut encoded = vec![0u8; rows * row_out];
        let mut first = 0;
        for chunk in bytes.chunks(rows * row_in) {
            let count = chunk.len() / row_in;
            let out = &mut encoded[..count * row_out];
            self.rows(chunk, out, first, count.div_ceil(threads.max(1))).map_err(fail)?;
            writer.write(out)?;
            first += count;
        }
        Ok(())
    }

    fn row_bytes(self) -> Result<(usize, usize), QuantError> {
        Ok((self.from.row_bytes(self.width)?, self.to.row_bytes(self.width)?))
    }

    /// Rows from `first` on, one thread per `share` of them.
    fn rows(self, bytes: &[u8], out: &mut [u8], first: usize, share: usize) -> Result<(), QuantError> {
        let (row_in, row_out) = self.row_bytes()?;
        std::thread::scope(|scope| {
            let parts = bytes.chunks(share * row_in).zip(out.chunks_mut(share * row_out));
            let work = |(bytes, out): (&[u8], &mut [u8]), first: usize| {
                let mut values = vec![0f32; self.width];
                let rows = bytes.chunks_exact(row_in).zip(out.chunks_exact_mut(row_out));
                for (row, (bytes, out)) in (first..).zip(rows) {
                    self.from.decode(bytes, &mut values)?;
                    self.updates.iter().for_each(|(pair, scale)| pair.add_row(*scale, row, &mut values));
                    let coded = self.to.check_finite(&values).and_then(|()| self.to.encode(&values, out));
                    coded.map_err(|e| e.offset(row * self.width))?;
                }
                Ok(())
            };
            let starts = (first..).step_by(share);
            let threads: Vec<_> =
                parts.zip(starts).map(|(part, at)| scope.spawn(move || work(part, at))).collect();
            // A panic in an encoder is a defect; it goes on in this thread.
            threads
                .into_iter()
                .try_for_each(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }
}

#[cfg(test)]
mod tests;
