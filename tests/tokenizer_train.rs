//! Vocabularies learnt from text: the same ids as the crate's own encoder, the same bytes every time, and refusals.
#![cfg(feature = "tokenizer")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;

use emberlm::gguf::{Gguf, GgufWriter, Metadata};
use emberlm::io::MemStream;
use emberlm::text::{BpeOptions, BpeTrainingError, ChatTemplate, Tokenizer, TrainedBpe, train_bpe};
use proptest::prelude::*;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

/// Texts of several kinds and scripts.
fn corpus() -> Vec<String> {
    let own = |name: &str| {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
    };
    let scripts =
        "Größe, naïve café — 世界您好，こんにちは。 Привет, мир! 🦙🔥 مرحبا\u{301} ½ ٣٤ १२\r\n\t\tend  ";
    vec![own("README.md"), own("ARCHITECTURE.md"), own("src/text/bpe.rs"), scripts.repeat(40), String::new()]
}

fn train(options: &BpeOptions, texts: &[String]) -> Result<TrainedBpe, BpeTrainingError> {
    train_bpe(options, |each| {
        texts.iter().for_each(|text| each(text));
        Ok(())
    })
}

fn small() -> BpeOptions {
    BpeOptions { vocab: 1500, ..BpeOptions::default() }
}

fn file(trained: &TrainedBpe) -> Vec<u8> {
    let metadata: Metadata = trained.metadata().into_iter().collect();
    let mut bytes = Vec::new();
    GgufWriter::new(&mut bytes, &metadata, &[]).unwrap().finish().unwrap();
    bytes
}

/// The crate's own encoder of the same vocabulary.
fn peer(trained: &TrainedBpe, digits: bool) -> tokenizers::Tokenizer {
    let config = trained.config();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let vocab: std::collections::HashMap<String, u32> =
        config.tokens.iter().map(|t| text(t)).zip(0..).collect();
    let merge = |m: &Vec<u8>| {
        let merge = text(m);
        let (left, right) = merge.split_once(' ').unwrap();
        (left.to_owned(), right.to_owned())
    };
    let merges = config.merges.iter().map(merge).collect();
    let model = BPE::builder()
        .vocab_and_merges(vocab.into_iter().collect::<ahash_map::Map>(), merges)
        .build()
        .unwrap();
    let mut peer = tokenizers::Tokenizer::new(model);
    let words = ByteLevel::new(false, true, true);
    if digits {
        peer.with_pre_tokenizer(Some(Sequence::new(vec![Digits::new(true).into(), words.into()])));
    } else {
        peer.with_pre_tokenizer(Some(words));
    }
    peer
}

/// The map that the builder takes, by its own name for it.
mod ahash_map {
    pub type Map = tokenizers::models::bpe::Vocab;
}

const TEXTS: [&str; 14] = [
    "",
    " ",
    "Hello, world!",
    "  two  spaces and\ttabs\t\n\n\nlines  \n ",
    "1234567890 3.14 2024-01-02 x1y2z3 ٣٤٥ ½¾ Ⅷ १२३",
    "I'm you're it's WE'LL 'S ''s don't",
    "Größe naïve e\u{301}te\u{301} — “quotes” … ",
    "世界您好，こんにちは。한국어 ไทยภาษา",
    "🦙🔥👩‍👩‍👧‍👦🇩🇪 emoji🦙mix",
    "fn main() { println!(\"{}\", 1 << 20); } // code",
    "<|endoftext|><|im_start|>user\nhi<|im_end|>",
    "a\u{0}b\u{7f}\u{a0}c\u{feff}\u{200b}d\u{3000}e\r\nf\rg",
    "https://example.org/path?x=1&y=%20#z",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

#[test]
fn ids_are_those_of_the_crate() {
    for (pre, digits) in [("smollm", true), ("gpt-2", false)] {
        let trained = train(&BpeOptions { pre: pre.to_owned(), ..small() }, &corpus()).unwrap();
        assert_eq!(trained.vocab_len(), 1500);
        let (own, peer) = (trained.tokenizer().unwrap(), peer(&trained, digits));
        let corpus = corpus();
        for text in TEXTS.iter().copied().chain(corpus.iter().map(String::as_str)) {
            let want = peer.encode(text, false).unwrap();
            assert_eq!(own.encode(text, false, false), want.get_ids(), "{pre}: {text:.60}");
            assert_eq!(own.decode(want.get_ids(), false), text);
        }
        // What was learnt is used: every token but those that are only steps to others.
        let used: HashSet<u32> = corpus.iter().flat_map(|text| own.encode(text, false, false)).collect();
        assert!(used.len() > 900, "{pre}: {} of 1500", used.len());
        let (bytes, tokens) = corpus.iter().fold((0, 0), |(bytes, tokens), text| {
            (bytes + text.len(), tokens + own.encode(text, false, false).len())
        });
        assert!(bytes as f64 / tokens as f64 > 2.7, "{pre}: {bytes} bytes in {tokens} tokens");
    }
}

#[test]
fn the_same_text_gives_the_same_file() {
    let first = file(&train(&small(), &corpus()).unwrap());
    for _ in 0..3 {
        assert_eq!(file(&train(&small(), &corpus()).unwrap()), first);
    }
    // Cut between words, and in another order.
    let cut: Vec<String> = corpus()
        .iter()
        .rev()
        .flat_map(|t| t.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let other = train(&small(), &cut).unwrap();
    assert_eq!(other.vocab_len(), 1500);
    assert!(file(&train(&small(), &corpus()[..1]).unwrap()) != first);
}

#[test]
fn a_file_has_all_that_a_tokenizer_needs() {
    let template = ChatTemplate::builtin("chatml").unwrap().source().to_owned();
    let options = BpeOptions {
        specials: ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>", "<tool>"]
            .map(str::to_owned)
            .to_vec(),
        pad: Some("<pad>".into()),
        add_bos: true,
        chat_template: Some(template.clone()),
        ..small()
    };
    let trained = train(&options, &corpus()).unwrap();
    let bytes = file(&trained);
    let gguf = Gguf::read(&mut MemStream::new(&bytes)).unwrap();
    let read = Tokenizer::from_metadata(&gguf.metadata).unwrap();
    let own = trained.tokenizer().unwrap();
    assert_eq!(read.fingerprint(), own.fingerprint());
    assert!(read.notices().is_empty());
    let text = "<|im_start|>user\nhi<|im_end|><tool>";
    assert_eq!(read.encode(text, true, true), own.encode(text, true, true));
    assert_eq!(read.encode(text, true, true)[..2], [0, 1]);
    assert_eq!(read.control_texts().collect::<Vec<_>>(), options.specials);
    let ids = read.special_ids();
    assert_eq!((ids.bos, ids.eos, ids.eot, ids.pad), (Some(0), Some(0), Some(2), Some(3)));
    assert!(read.is_eog(0) && read.is_eog(2) && !read.is_eog(1) && read.adds_bos());
    assert!(read.missing_bytes().is_empty());
    let found: Option<&str> = gguf.metadata.find("tokenizer.chat_template").unwrap();
    assert_eq!(found, Some(template.as_str()));
    // User's text never becomes a control token.
    assert!(read.encode(text, false, false).iter().all(|id| !read.is_control(*id)));
}

#[test]
fn what_cannot_be_learnt_is_refused() {
    let texts = corpus();
    let refused = |options: BpeOptions| train(&options, &texts).unwrap_err();
    for vocab in [0, 3, 258, 2_000_000] {
        let error = refused(BpeOptions { vocab, ..small() });
        assert!(matches!(error, BpeTrainingError::Size { least: 259, .. }), "{error}");
        assert!(error.to_string().contains("at least 259"), "{error}");
    }
    let bytes = train(&BpeOptions { vocab: 259, ..small() }, &texts).unwrap();
    assert_eq!((bytes.vocab_len(), bytes.config().merges.len()), (259, 0));
    for text in ["", "he", "x", "é", &"<|".repeat(200), "<|im_end|>"] {
        let specials = [small().specials, vec![text.to_owned()]].concat();
        let error = refused(BpeOptions { specials, ..small() });
        assert!(matches!(error, BpeTrainingError::Special { .. }), "{text}: {error}");
    }
    let error = refused(BpeOptions { eos: Some("</s>".into()), ..small() });
    assert!(matches!(error, BpeTrainingError::Role { role: "end-of-sequence", .. }), "{error}");
    let error = refused(BpeOptions { pre: "unheard-of".into(), ..small() });
    assert!(error.to_string().contains("smollm"), "{error}");
    assert!(matches!(train(&small(), &[]), Err(BpeTrainingError::NoText)));
    // Of little text there is a smaller vocabulary; data without words adds nothing, and takes no time.
    let little = train(&small(), &["aaa bbb aaa".into(), "ab".repeat(1 << 19)]).unwrap();
    assert!((260..270).contains(&little.vocab_len()), "{}", little.vocab_len());
    let failed: Result<TrainedBpe, Box<dyn std::error::Error>> = train_bpe::<Stop>(&small(), |each| {
        each("text");
        Err(Stop)
    })
    .map_err(|_| "stopped".into());
    assert_eq!(failed.unwrap_err().to_string(), "stopped");
}

#[derive(Debug)]
struct Stop;

impl From<BpeTrainingError> for Stop {
    fn from(_: BpeTrainingError) -> Self {
        Stop
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back(text in "\\PC{0,200}|(?s:.){0,50}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        static ONCE: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
        let tokenizer = ONCE.get_or_init(|| train(&small(), &corpus()).unwrap().tokenizer().unwrap());
        let ids = tokenizer.encode(&text, false, false);
        prop_assert_eq!(tokenizer.decode(&ids, false), text);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, false, false), false), text);
        // Every byte is a token of its own.
        for byte in bytes {
            prop_assert!((0..tokenizer.vocab_len() as u32).any(|id| tokenizer.token_bytes(id) == Some(&[byte])));
        }
    }
}
