//! The vocabulary and chat templates of a GGUF file. Keys are those of ggml's specification (`tokenizer.ggml.*`).

use super::config::{SpecialIds, TokenKind, TokenizerConfig, TokenizerModel};
use super::error::TokenizerError;
use super::tokenizer::Tokenizer;
use crate::gguf::{Metadata, StringArray};

impl Tokenizer {
    /// The tokenizer of a model file.
    ///
    /// # Errors
    /// [`TokenizerError`] if the file has no vocabulary, one of an unknown kind, or a broken one.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        Self::new(TokenizerConfig::from_metadata(metadata)?)
    }
}

impl TokenizerConfig {
    /// The vocabulary of a model file, as it stands there.
    ///
    /// # Errors
    /// [`TokenizerError`] if a needed key is missing or of the wrong type, or the model is unknown.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let model: Option<&str> = metadata.find("tokenizer.ggml.model")?;
        let model = model.ok_or(TokenizerError::Missing { key: "tokenizer.ggml.model" })?;
        let model = TokenizerModel::from_name(model)?;
        let tokens = strings(metadata, "tokenizer.ggml.tokens")?
            .ok_or(TokenizerError::Missing { key: "tokenizer.ggml.tokens" })?;
        let mut config = Self::new(model, tokens);
        let pre: Option<&str> = metadata.find("tokenizer.ggml.pre")?;
        config.pre = pre.map(str::to_owned);
        let kinds: Option<Vec<i64>> = metadata.find("tokenizer.ggml.token_type")?;
        config.kinds = kinds.unwrap_or_default().into_iter().map(TokenKind::from_number).collect();
        match model {
            TokenizerModel::Gpt2 => {
                config.merges = strings(metadata, "tokenizer.ggml.merges")?
                    .ok_or(TokenizerError::Missing { key: "tokenizer.ggml.merges" })?;
            }
            TokenizerModel::Llama => {
                let scores: Option<Vec<f32>> = metadata.find("tokenizer.ggml.scores")?;
                config.scores = scores.ok_or(TokenizerError::Missing { key: "tokenizer.ggml.scores" })?;
            }
        }
        config.special = special_ids(metadata, model)?;
        config.add_bos = metadata.find("tokenizer.ggml.add_bos_token")?;
        config.add_eos = metadata.find("tokenizer.ggml.add_eos_token")?;
        config.add_space_prefix = metadata.find("tokenizer.ggml.add_space_prefix")?;
        let name: Option<&str> = metadata.find("general.name")?;
        config.apply_model_name(name.unwrap_or_default());
        Ok(config)
    }
}

fn strings(metadata: &Metadata, key: &str) -> Result<Option<Vec<Vec<u8>>>, TokenizerError> {
    let found: Option<&StringArray> = metadata.find(key)?;
    Ok(found.map(|list| list.iter().map(|text| text.as_bytes().to_vec()).collect()))
}

fn special_ids(metadata: &Metadata, model: TokenizerModel) -> Result<SpecialIds, TokenizerError> {
    let id = |key: &str| metadata.find::<u32>(key);
    // Llama's own vocabulary, from which files without these keys were made.
    let llama = |id| (model == TokenizerModel::Llama).then_some(id);
    Ok(SpecialIds {
        bos: id("tokenizer.ggml.bos_token_id")?.or(llama(1)),
        eos: id("tokenizer.ggml.eos_token_id")?.or(llama(2)),
        eot: id("tokenizer.ggml.eot_token_id")?,
        eom: id("tokenizer.ggml.eom_token_id")?,
        unk: id("tokenizer.ggml.unknown_token_id")?.or(llama(0)),
        pad: id("tokenizer.ggml.padding_token_id")?,
    })
}
