//! LoRA adapters: low-rank updates of a frozen model's matrices, in memory and as files.
//!
//! An adapted matrix computes `y = W x + s * B (A x)` with `A` (rank, inputs), `B` (outputs, rank) and
//! `s = alpha / rank`. The native file is GGUF exactly as llama.cpp reads and writes adapters, with a fingerprint of
//! the base model in keys of its own; PEFT and MLX folders are read and written with the feature `train`.
//!
//! ```
//! use emberlm::adapter::{Adapter, LoraPair};
//! use emberlm::io::MemStream;
//!
//! # fn main() -> Result<(), emberlm::adapter::AdapterError> {
//! let pair = LoraPair {
//!     target: "blk.0.attn_q".into(), rank: 1, inputs: 2, outputs: 2, a: vec![1.0, 0.0], b: vec![0.0, 3.0],
//! };
//! let adapter = Adapter { architecture: "llama".into(), alpha: 2.0, pairs: vec![pair], ..Adapter::default() };
//! assert_eq!(adapter.scale(&adapter.pairs[0]), 2.0);
//! let file = adapter.write_gguf(Vec::new())?;
//! assert_eq!(Adapter::read_gguf(&mut MemStream::new(&file))?, adapter);
//! # Ok(())
//! # }
//! ```

mod base;
mod error;
mod gguf;
#[cfg(feature = "train")]
pub mod hf;
mod pair;
#[cfg(test)]
pub(crate) mod testing;

pub use base::BaseFingerprint;
pub use error::AdapterError;
pub use pair::LoraPair;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::io::{Access, Existing, Manner, write_file};

/// What a base matrix's name ends with; targets are named without it.
const WEIGHT: &str = ".weight";

/// The target of the output matrix.
const OUTPUT: &str = "output";

/// A LoRA adapter: pairs of small matrices that update matrices of one base model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    /// `general.name`, for people; may be empty.
    pub name: String,
    /// `general.architecture` of the base model.
    pub architecture: String,
    /// The scale of a pair times its rank (a square root that rsLoRA takes is folded in); 0 means a scale of 1, as
    /// in llama.cpp.
    pub alpha: f32,
    /// The adapted matrices, each once.
    pub pairs: Vec<LoraPair>,
    /// Of a reward model: the vector, as wide as the model, whose product with the last token's normed state is the
    /// reward.
    pub head: Option<Vec<f32>>,
    /// Which file it was trained on, where that is known.
    pub base: Option<BaseFingerprint>,
    /// What training notes: data hash, settings, losses. Keys of letters, digits, dots and underscores.
    pub info: BTreeMap<String, String>,
    /// Tensors that were in the file and have no effect, as in llama.cpp: updates of norms.
    pub ignored: Vec<String>,
}

impl Adapter {
    /// What `B A` of `pair` is multiplied with.
    pub fn scale(&self, pair: &LoraPair) -> f32 {
        if self.alpha == 0.0 { 1.0 } else { self.alpha / pair.rank as f32 }
    }

    /// The pair that updates `target` (a tensor's name without `.weight`).
    pub fn pair(&self, target: &str) -> Option<&LoraPair> {
        self.pairs.iter().find(|pair| pair.target == target)
    }

    /// Numbers in all pairs.
    pub fn parameters(&self) -> u64 {
        self.pairs.iter().map(|pair| (pair.a.len() + pair.b.len()) as u64).sum()
    }

    /// Opens a GGUF adapter.
    ///
    /// # Errors
    /// [`AdapterError`] if the file cannot be read or is not a sound adapter.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AdapterError> {
        let mapped = crate::io::MappedFile::open(path)?;
        Self::read_gguf(&mut crate::io::MemStream::new(&mapped))
    }

    /// Writes a GGUF adapter in f32, which appears whole or not at all and takes the place of a file that is there. It is
    /// for its owner alone, as what it was trained on may be.
    ///
    /// # Errors
    /// [`AdapterError`] if it is not sound ([`Adapter::check`]) or cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), AdapterError> {
        self.save_as(path, Existing::Replace).map(drop)
    }

    /// As [`Adapter::save`]; `existing` says what becomes of a file that is there. Gives the name under which that is kept.
    ///
    /// # Errors
    /// As [`Adapter::save`], and [`IoError::Exists`](crate::io::IoError::Exists) for one that is to stay.
    pub fn save_as(
        &self,
        path: impl AsRef<Path>,
        existing: Existing,
    ) -> Result<Option<PathBuf>, AdapterError> {
        let manner = Manner { existing, access: Access::Private };
        let written =
            write_file(path, manner, |sink| -> Result<(), AdapterError> { self.write_gguf(sink).map(drop) })?;
        Ok(written.backup)
    }

    /// Checks that it can be used and written: at least one pair, no target twice, sizes that agree, finite numbers.
    ///
    /// # Errors
    /// [`AdapterError::Tensor`] or [`AdapterError::Setting`] naming what is wrong.
    pub fn check(&self) -> Result<(), AdapterError> {
        if !self.alpha.is_finite() {
            return Err(AdapterError::setting(gguf::ALPHA, format!("is {}, it must be finite", self.alpha)));
        }
        if self.pairs.is_empty() {
            return Err(AdapterError::Empty);
        }
        if let Some(head) = &self.head
            && (head.is_empty() || head.iter().any(|v| !v.is_finite()))
        {
            return Err(AdapterError::tensor(gguf::HEAD, "must have finite numbers, and some"));
        }
        let mut seen = BTreeSet::new();
        for pair in &self.pairs {
            pair.check()?;
            if !seen.insert(&pair.target) {
                return Err(AdapterError::tensor(&pair.target, "is adapted twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{adapter, pair};
    use super::*;

    #[test]
    fn scale_is_alpha_over_rank_of_the_pair() {
        let mut adapter = adapter(&[("blk.0.attn_q", 2, 4, 4), ("blk.0.ffn_up", 4, 4, 8)]);
        adapter.alpha = 8.0;
        let scales = |a: &Adapter| a.pairs.iter().map(|p| a.scale(p)).collect::<Vec<_>>();
        assert_eq!(scales(&adapter), [4.0, 2.0]);
        adapter.alpha = 0.0;
        assert_eq!(scales(&adapter), [1.0, 1.0]);
        assert_eq!(adapter.parameters(), 2 * (4 + 4) + 4 * (4 + 8));
        assert_eq!(adapter.pair("blk.0.ffn_up").map(|p| p.rank), Some(4));
        assert!(adapter.pair("blk.1.ffn_up").is_none());
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let sound = adapter(&[("blk.0.attn_q", 2, 4, 4)]);
        sound.check().unwrap();
        let refused = |change: &dyn Fn(&mut Adapter), says: &str| {
            let mut adapter = sound.clone();
            change(&mut adapter);
            let said = adapter.check().unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
            assert!(adapter.write_gguf(Vec::new()).is_err());
        };
        refused(&|a| a.alpha = f32::NAN, "adapter.lora.alpha");
        refused(&|a| a.pairs.clear(), "no matrix");
        refused(&|a| a.pairs.push(pair("blk.0.attn_q", 1, 4, 4, 0)), "twice");
        refused(&|a| a.pairs[0].a[3] = f32::INFINITY, "not finite");
        refused(&|a| a.pairs[0].b.truncate(7), "lora_b");
        refused(&|a| a.pairs[0].rank = 0, "rank");
        refused(&|a| a.pairs[0].target.clear(), "name");
        refused(&|a| a.pairs[0].target = "token_embd".into(), "token_embd");
    }
}
