//! Copies of the base's matrices that PEFT saves beside an adapter of the output: they must be what the base has.

use super::tensors::BaseCopy;
use crate::adapter::AdapterError;
use crate::adapter::base::adapted;
use crate::gguf::GgufFile;
use crate::quant::Format;

/// How far a copy may be from the base's matrix, as a share of its length: half floats round by less than 0.004, and
/// blocks of 2 to 8 bits lose up to a quarter.
const FLOATS: f64 = 0.004;
const BLOCKS: f64 = 0.25;

/// Checks that a copy is the base's matrix but for its format's rounding.
pub(super) fn check(copy: &BaseCopy, base: &GgufFile) -> Result<(), AdapterError> {
    let fail = |problem: String, remedy| AdapterError::Copy { target: copy.target.into(), problem, remedy };
    let tensor = adapted(base.header(), copy.target)
        .ok_or_else(|| fail("the base does not have".into(), "give the base it was trained on"))?;
    if tensor.dims != [copy.cols as u64, copy.rows as u64] {
        let problem = format!("is {} x {}, dims {:?} in the base", copy.rows, copy.cols, tensor.dims);
        return Err(fail(
            problem,
            "tokens were added to the vocabulary: merge it into its base and convert that model",
        ));
    }
    let values = |source| AdapterError::Values { tensor: tensor.name.clone(), source };
    let format = Format::from_ggml_id(tensor.type_id)
        .ok_or_else(|| AdapterError::unsupported(format!("the format of the base's `{}`", tensor.name)))?;
    let (bytes, row) = (base.tensor_bytes(tensor)?, format.row_bytes(copy.cols).map_err(values)?);
    let mut own = vec![0.0; copy.cols];
    let (mut apart, mut norm) = (0.0, 0.0);
    for (bytes, copied) in bytes.chunks(row.max(1)).zip(copy.values.chunks(copy.cols.max(1))) {
        format.decode(bytes, &mut own).map_err(values)?;
        for (own, copied) in own.iter().zip(copied) {
            let (own, copied) = (f64::from(*own), f64::from(*copied));
            apart += (own - copied) * (own - copied);
            norm += copied * copied;
        }
    }
    let limit = if format.block_len() == 1 { FLOATS } else { BLOCKS };
    let relative = (apart / norm).sqrt();
    if apart == 0.0 || relative <= limit {
        return Ok(());
    }
    let remedy = "merge it into its base with the tool that made it and convert that model, or give the base it was trained on";
    Err(fail(format!("differs by {:.1} %", 100.0 * relative), remedy))
}
