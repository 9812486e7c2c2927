//! Text and tokens: tokenizers from a model file's own vocabulary, chat templates, and the host side sampler.

mod bpe;
mod bytes;
mod class;
mod config;
mod error;
mod gguf;
mod pair_map;
mod pretok;
mod sampler;
mod special;
mod spm;
mod stream;
mod template;
mod tokenizer;

pub use config::{SpecialIds, TokenKind, TokenizerConfig, TokenizerModel};
pub use error::TokenizerError;
pub use sampler::{
    Choice, MAX_LAST_N, Sampler, SamplerError, SamplerParams, choose, from_key, order_key, softmax_scale,
    uniform,
};
pub use stream::TokenStream;
pub use template::{ChatTemplate, Message, TemplateError, TemplateValue, TemplateVars, builtin_names, utc};
pub use tokenizer::{Segment, Tokenizer};
