//! The order of rows that rope turns. Hugging Face turns row `i` of a head with row `i + d/2`; GGUF files of
//! architecture `llama` hold such two next to each other (`LlamaModel.permute` of llama.cpp's converter).

use super::names::{Place, Roped};
use crate::adapter::AdapterError;
use crate::adapter::error::short;
use crate::gguf::{Gguf, Value};

const QUERIES: &str = "llama.attention.head_count";
const KEYS: &str = "llama.attention.head_count_kv";

/// A count of heads: one for all layers, or one for each, all alike in models that are supported.
fn heads(base: &Gguf, key: &str) -> Result<usize, AdapterError> {
    match base.metadata.value(key) {
        Some(Value::Array(_)) => {
            let each = base.metadata.get::<Vec<usize>>(key)?;
            let first = each.first().copied().filter(|first| each.iter().all(|n| n == first));
            first.ok_or_else(|| AdapterError::setting(key, "differs from layer to layer in the model"))
        }
        _ => Ok(base.metadata.get(key)?),
    }
}

/// How many heads' rows must be reordered in B of `place`; none where the orders agree.
pub(super) fn permuted_heads(base: &Gguf, place: Place, rows: usize) -> Result<Option<usize>, AdapterError> {
    let architecture = base.metadata.get::<&str>("general.architecture")?;
    let Some(roped) = place.is_roped().filter(|_| architecture == "llama") else { return Ok(None) };
    let heads = match roped {
        Roped::Query => heads(base, QUERIES)?,
        Roped::Key => heads(base, KEYS).or_else(|_| heads(base, QUERIES))?,
    };
    let halves = heads.checked_mul(2).filter(|halves| *halves > 0 && rows.is_multiple_of(*halves));
    if halves.is_none() {
        let problem = format!("has {rows} rows, which are no {heads} heads of an even width");
        return Err(AdapterError::Shape { target: short(&place.target()), problem });
    }
    Ok(Some(heads))
}

/// B (rows, rank) with its rows from Hugging Face's order to GGUF's.
pub(super) fn to_gguf(b: &[f32], heads: usize, rank: usize) -> Vec<f32> {
    reorder(b, heads, rank, |row, half| (row % 2) * half + row / 2)
}

/// B (rows, rank) with its rows from GGUF's order to Hugging Face's.
pub(super) fn to_hf(b: &[f32], heads: usize, rank: usize) -> Vec<f32> {
    reorder(b, heads, rank, |row, half| 2 * (row % half) + row / half)
}

/// Each head's rows, taken from where `from` says.
fn reorder(b: &[f32], heads: usize, rank: usize, from: impl Fn(usize, usize) -> usize) -> Vec<f32> {
    let (rank, head) = (rank.max(1), (b.len() / heads.max(1)).max(1));
    let width = head / rank;
    b.chunks(head)
        .flat_map(|head| (0..width).map(move |row| (head, row)))
        .flat_map(|(head, row)| &head[from(row, width / 2) * rank..][..rank])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_neighbours_and_back() {
        // Two heads of six rows, rank 2: row i holds 10 i and 10 i + 1.
        let hf: Vec<f32> = (0..12).flat_map(|i| [10.0 * i as f32, 10.0 * i as f32 + 1.0]).collect();
        let gguf = to_gguf(&hf, 2, 2);
        let rows: Vec<f32> = gguf.chunks(2).map(|row| row[0] / 10.0).collect();
        assert_eq!(rows, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
        assert!(gguf.chunks(2).all(|row| row[1] == row[0] + 1.0));
        assert_eq!(to_hf(&gguf, 2, 2), hf);
    }
}
