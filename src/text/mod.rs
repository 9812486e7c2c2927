//! Text and tokens: tokenizers from a model file's own vocabulary, chat templates, and the host side sampler.

mod bpe;
mod bytes;
mod class;
mod config;
mod error;
mod gguf;
mod hold;
mod loops;
mod pair_map;
mod pretok;
mod sampler;
mod special;
mod spm;
mod stop;
mod stream;
mod template;
mod think;
mod tokenizer;
#[cfg(feature = "tokenizer")]
mod train;

pub use config::{SpecialIds, TokenKind, TokenizerConfig, TokenizerModel};
pub use error::TokenizerError;
pub use loops::{LoopGuard, Patience};
pub use sampler::{
    Breakers, Choice, MAX_DRY_LAST_N, MAX_LAST_N, Sampler, SamplerError, SamplerParams, choose,
    choose_with_breakers, from_key, order_key, softmax_scale, uniform,
};
pub use stop::StopStrings;
pub use stream::TokenStream;
#[cfg(feature = "train")]
pub use template::from_json;
pub use template::{ChatTemplate, Message, TemplateError, TemplateValue, TemplateVars, builtin_names, utc};
pub use think::{ThinkMarks, Thoughts, Utterance};
pub use tokenizer::{Segment, Tokenizer};
#[cfg(feature = "tokenizer")]
pub use train::{BpeOptions, BpeTrainingError, TrainedBpe, train_bpe};
