//! The named schemes, by the values of `tokenizer.ggml.pre` in GGUF files.

use super::ranges::{CASED_LETTERS, EAST_ASIAN, WIDE_PUNCTUATION};
use super::{Set, Stage, Words};
use crate::text::class::{LETTER, MARK, NUMBER, PUNCT, SPACE};

/// A pre-tokenizer and the habits that go with its name.
pub(crate) struct Scheme {
    pub stages: &'static [Stage],
    /// A word that is a token as a whole is taken without merging.
    pub whole_words: bool,
    /// Whether a beginning-of-sequence token is added where the file does not say.
    pub add_bos: bool,
}

impl Scheme {
    const fn new(stages: &'static [Stage]) -> Scheme {
        Scheme { stages, whole_words: false, add_bos: false }
    }

    const fn whole_words(self) -> Scheme {
        Scheme { whole_words: true, ..self }
    }

    const fn add_bos(self) -> Scheme {
        Scheme { add_bos: true, ..self }
    }
}

const DIGITS: Set = Set::Any(NUMBER);
const ASCII_DIGITS: Set = Set::In(&[('0', '9')]);
const MANY: usize = usize::MAX;
const HAN_AND_KANA: Set = Set::In(&[('\u{3040}', '\u{30ff}'), ('\u{4e00}', '\u{9fa5}')]);
const BLOOM_TEXT: Set = Set::NotSpaceNor("(|.,!?…。，、।۔،)");

static LLAMA3: Scheme = Scheme::new(&[Stage::Words(Words::LLAMA3)]).whole_words().add_bos();
static SMAUG: Scheme = Scheme::new(&[Stage::Words(Words::LLAMA3)]);
static GLM4: Scheme = Scheme::new(&[Stage::Words(Words::LLAMA3)]).whole_words();
static MINICPM5: Scheme =
    Scheme::new(&[Stage::Run { set: DIGITS, max: 3 }, Stage::Words(Words { digits: MANY, ..Words::LLAMA3 })])
        .whole_words();
static QWEN2: Scheme = Scheme::new(&[Stage::Words(Words { digits: 1, ..Words::LLAMA3 })]);
static QWEN35: Scheme = Scheme::new(&[Stage::Words(Words {
    digits: 1,
    word: LETTER | MARK,
    symbols: Set::None(SPACE | LETTER | MARK | NUMBER),
    ..Words::LLAMA3
})]);
static SEED_CODER: Scheme = Scheme::new(&[Stage::Words(Words { digits: 1, tail: "", ..Words::LLAMA3 })]);
static UFAKZEKA: Scheme =
    Scheme::new(&[Stage::Words(Words { digits: 1, contractions: false, ..Words::LLAMA3 })]);
static GPT4O: Scheme = Scheme::new(&[Stage::Words(Words {
    contractions: false,
    cased: Some(true),
    tail: "\r\n/",
    ..Words::LLAMA3
})]);
static TEKKEN: Scheme = Scheme::new(&[Stage::Words(Words {
    contractions: false,
    cased: Some(false),
    digits: 1,
    tail: "\r\n/",
    ..Words::LLAMA3
})])
.whole_words()
.add_bos();
static GPT2: Scheme = Scheme::new(&[Stage::Gpt2]);
static STARCODER: Scheme = Scheme::new(&[Stage::Run { set: DIGITS, max: 1 }, Stage::Gpt2]);
static FALCON: Scheme = Scheme::new(&[
    Stage::Run { set: Set::AnyOr(PUNCT, "$+<=>^~|`"), max: MANY },
    Stage::Gpt2,
    Stage::Exactly { set: ASCII_DIGITS, count: 3 },
]);
static DEFAULT: Scheme = Scheme::new(&[
    Stage::Run { set: Set::AnyOr(PUNCT, "$+<=>^~|"), max: MANY },
    Stage::Gpt2,
    Stage::Run { set: DIGITS, max: MANY },
    Stage::Exactly { set: ASCII_DIGITS, count: 3 },
]);
static DEEPSEEK_LLM: Scheme = Scheme::new(&[
    Stage::Run { set: Set::In(&[('\n', '\n'), ('\r', '\r')]), max: 1 },
    Stage::Led { lead_any_space: true, set: Set::In(CASED_LETTERS) },
    Stage::Led { lead_any_space: true, set: Set::In(WIDE_PUNCTUATION) },
    Stage::TrailingSpace,
    Stage::Run { set: Set::In(EAST_ASIAN), max: MANY },
    Stage::Run { set: DIGITS, max: MANY },
]);
static DEEPSEEK_CODER: Scheme = Scheme::new(&[
    Stage::Run { set: Set::In(&[('\n', '\n'), ('\r', '\r')]), max: 1 },
    Stage::Led { lead_any_space: true, set: Set::Any(LETTER) },
    Stage::Led { lead_any_space: true, set: Set::Any(PUNCT) },
    Stage::Run { set: Set::In(EAST_ASIAN), max: MANY },
    Stage::Run { set: DIGITS, max: 1 },
]);
static DEEPSEEK3: Scheme = Scheme::new(&[
    Stage::Run { set: DIGITS, max: 3 },
    Stage::Run { set: HAN_AND_KANA, max: MANY },
    Stage::Words(Words::DEEPSEEK3),
]);
static BLOOM: Scheme = Scheme::new(&[Stage::Led { lead_any_space: false, set: BLOOM_TEXT }]);
static VIKING: Scheme =
    Scheme::new(&[Stage::Led { lead_any_space: false, set: BLOOM_TEXT }, Stage::Run { set: DIGITS, max: 1 }]);

/// Every name with its scheme. Names for the same scheme stand together.
static SCHEMES: &[(&[&str], &Scheme)] = &[
    (&["default"], &DEFAULT),
    (
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "roberta-bpe",
        ],
        &GPT2,
    ),
    (&["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"], &LLAMA3),
    (&["smaug-bpe", "dbrx", "chatglm-bpe"], &SMAUG),
    (&["glm4", "glm5"], &GLM4),
    (&["minicpm5"], &MINICPM5),
    (
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        &QWEN2,
    ),
    (&["qwen35"], &QWEN35),
    (&["seed-coder"], &SEED_CODER),
    (&["ufakzeka"], &UFAKZEKA),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &GPT4O),
    (&["tekken"], &TEKKEN),
    (
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &STARCODER,
    ),
    (&["falcon"], &FALCON),
    (&["deepseek-llm"], &DEEPSEEK_LLM),
    (&["deepseek-coder"], &DEEPSEEK_CODER),
    (&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &DEEPSEEK3),
    (&["bloom", "poro-chat", "gpt3-finnish"], &BLOOM),
    (&["viking"], &VIKING),
];

/// The scheme of that name.
pub(crate) fn scheme(name: &str) -> Option<&'static Scheme> {
    SCHEMES.iter().find(|(names, _)| names.contains(&name)).map(|&(_, scheme)| scheme)
}

/// All known names, for messages.
pub(crate) fn known_names() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().flat_map(|(names, _)| names.iter().copied())
}
