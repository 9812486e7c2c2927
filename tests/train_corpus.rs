//! Corpora: from texts of every kind to token files, damaged ones, and the windows that are taken of them.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use emberlm::text::{SpecialIds, TokenKind, Tokenizer, TokenizerConfig, TokenizerModel};
use emberlm::train::corpus::{
    Built, Corpus, CorpusError, CorpusOptions, Pieces, Progress, Sampler, Split, Validation,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const EOS: u32 = 256;
const BOS: u32 = 257;

/// GPT-2's stand-in for a byte.
fn stand_in(byte: u8) -> String {
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let free = 256 + (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(if printable(byte) { u32::from(byte) } else { free }).unwrap().to_string()
}

/// A token per byte, `<|endoftext|>`, `<s>`, the pairs "he" and "\n\n", and as many more as it takes.
fn vocabulary(len: usize, add_bos: bool) -> Tokenizer {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|b| stand_in(b).into_bytes()).collect();
    tokens.extend(["<|endoftext|>", "<s>", "he", "ĊĊ"].map(|text| text.as_bytes().to_vec()));
    tokens.extend((tokens.len()..len).map(|i| format!("unused{i}").into_bytes()));
    let mut config = TokenizerConfig::new(TokenizerModel::Gpt2, tokens);
    config.pre = Some("gpt-2".into());
    config.merges = vec![b"h e".to_vec(), "Ċ Ċ".as_bytes().to_vec()];
    config.kinds = vec![TokenKind::Normal; config.tokens.len()];
    config.kinds[256..258].fill(TokenKind::Control);
    config.special = SpecialIds { eos: Some(EOS), bos: Some(BOS), ..SpecialIds::default() };
    config.add_bos = Some(add_bos);
    Tokenizer::new(config).unwrap()
}

fn tokenizer() -> Tokenizer {
    vocabulary(260, false)
}

fn plain() -> CorpusOptions {
    CorpusOptions { validation: Validation::Nothing, ..CorpusOptions::default() }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("corpus.tokens")
    }

    fn build(&self, texts: &[PathBuf], options: &CorpusOptions) -> Result<Built, CorpusError> {
        Corpus::build(self.out(), texts, &tokenizer(), options, &mut |_| ControlFlow::Continue(()))
    }

    /// Nothing is left behind but what was there and the token file.
    fn no_leftovers(&self) {
        for entry in fs::read_dir(self.0.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".tmp"), "{name} is left behind");
        }
    }
}

/// Documents of a part, read back from the file's bytes. Two bytes a token.
fn documents(corpus: &Corpus, split: Split) -> Vec<Vec<u32>> {
    let bytes = fs::read(corpus.path()).unwrap();
    let tokens: Vec<u16> = bytes[256..].chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    let (train, rest) = tokens.split_at(corpus.tokens(Split::Train) as usize);
    let mut all: Vec<Vec<u32>> = Vec::new();
    for &token in if split == Split::Train { train } else { rest } {
        if token >> 15 == 1 || all.is_empty() {
            all.push(Vec::new());
        }
        all.last_mut().unwrap().push(u32::from(token & 0x7fff));
    }
    all
}

fn encoded(text: &str) -> Vec<u32> {
    let mut ids = tokenizer().encode(text, false, false);
    ids.push(EOS);
    ids
}

#[test]
fn texts_of_every_kind_become_documents() {
    let place = Place::new();
    place.put("in/b.txt", "one\r\ntwo\n<|endoftext|>\nthree\n\n<|endoftext|>\r\n<|endoftext|>\n\n<|endoftext|>\nlast<|endoftext|>\n");
    place.put("in/a/deep.md", "\u{feff}# Title ü 🦙\n");
    place.put("in/rows.jsonl", "{\"text\":\"row one\\n\"}\n{\"no\":1}\n\n{\"text\":7}\n{\"text\":\"\"}\n{\"text\":\"<|endoftext|>\"}");
    place.put("in/empty.txt", "");
    place.put("in/blank.txt", " \n\n");
    place.put("in/one.txt", "x");
    place.put("in/.hidden.txt", "never");
    place.put("in/table.csv", "never,");
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("wide é".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    place.put("in/zz.txt", utf16);
    let folder = place.0.path().join("in");
    let built = place.build(&[folder], &plain()).unwrap();
    let want = [
        "# Title ü 🦙",
        "one\ntwo",
        "three\n",
        "last<|endoftext|>",
        "x",
        "row one\n",
        "<|endoftext|>",
        "wide é",
    ];
    assert_eq!(documents(&built.corpus, Split::Train), want.map(encoded));
    // Two files, two between marks, and a row.
    assert_eq!((built.empty, built.report.rows, built.report.skipped_count()), (5, 6, 3));
    assert_eq!(built.corpus.documents(Split::Train), 8);
    assert_eq!(built.corpus.tokens(Split::Validation), 0);
    assert_eq!(built.corpus.text_bytes(), want.iter().map(|t| t.len() as u64).sum::<u64>());
    built.corpus.verify().unwrap();
    built.corpus.check_vocabulary(&tokenizer()).unwrap();
    let other = built.corpus.check_vocabulary(&vocabulary(261, false));
    assert!(matches!(other, Err(CorpusError::Vocabulary { .. })));
    place.no_leftovers();
}

#[test]
fn a_file_is_a_document_where_nothing_separates() {
    let place = Place::new();
    let path = place.put("a.txt", "one\n<|endoftext|>\ntwo\n");
    let options = CorpusOptions { separator: None, special: true, ..plain() };
    let corpus = place.build(std::slice::from_ref(&path), &options).unwrap().corpus;
    let mut want = tokenizer().encode("one\n<|endoftext|>\ntwo\n", true, false);
    want.push(EOS);
    assert_eq!(documents(&corpus, Split::Train), [want]);
    let options = CorpusOptions { separator: Some("<|endoftext|>  ".trim_end().into()), ..plain() };
    assert_eq!(place.build(&[path], &options).unwrap().corpus.documents(Split::Train), 2);
    for line in ["", " ", "a\nb", "a ", &"x".repeat(300)] {
        let options = CorpusOptions { separator: Some(line.to_owned()), ..plain() };
        assert!(
            matches!(place.build(&[place.out()], &options), Err(CorpusError::Separator { .. })),
            "{line:?}"
        );
    }
}

#[test]
fn beginnings_and_wide_vocabularies() {
    let place = Place::new();
    let path = place.put("a.txt", "a\n<|endoftext|>\nb");
    let tokenizer = vocabulary(40_000, true);
    let corpus =
        Corpus::build(place.out(), &[path], &tokenizer, &plain(), &mut |_| ControlFlow::Continue(()))
            .unwrap();
    let bytes = fs::read(place.out()).unwrap();
    let top = 1 << 31;
    let want = [BOS | top, 97, EOS, BOS | top, 98, EOS];
    assert_eq!(bytes[256..], want.map(u32::to_le_bytes).concat());
    let sampler = Sampler::new(Arc::new(corpus.corpus), 100, 7).unwrap();
    let mut pieces = Pieces::new();
    sampler.window(0, &mut pieces).unwrap();
    let ids: BTreeSet<u32> = pieces.sequences().flat_map(|s| s.tokens.to_vec()).collect();
    assert!(ids.is_subset(&BTreeSet::from([BOS, 97, EOS, 98])) && ids.len() > 2, "{ids:?}");
}

/// Documents of many lengths, with what pre-tokenizers look at, so long that they are encoded in pieces.
fn long_text(bytes: usize, seed: u64) -> String {
    let words = ["hello", " world", "\n", "\n\n", "  ", "1234", " é🦙", "!!\n", "x", " the"];
    let mut text = String::with_capacity(bytes + 8);
    let mut state = seed;
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[(state >> 33) as usize % words.len()]);
    }
    text
}

#[test]
fn long_texts_are_encoded_in_pieces_as_if_they_were_whole() {
    let place = Place::new();
    let texts = [long_text(700_000, 1), "he".repeat(900_000), "漢字".repeat(500_000), long_text(300_000, 2)];
    let paths: Vec<PathBuf> =
        texts.iter().enumerate().map(|(i, text)| place.put(&format!("{i}.txt"), text)).collect();
    let mut calls = Vec::new();
    let options = CorpusOptions { separator: None, threads: 3, ..plain() };
    let mut progress = |p: Progress| {
        calls.push(p);
        ControlFlow::Continue(())
    };
    let built = Corpus::build(place.out(), &paths, &tokenizer(), &options, &mut progress).unwrap();
    // The word without a blank is cut between characters, which no pair of this vocabulary crosses there.
    assert!(documents(&built.corpus, Split::Train) == texts.clone().map(|t| encoded(&t)));
    let total: u64 = texts.iter().map(|t| t.len() as u64).sum();
    assert!(calls.len() > 2 && calls.iter().all(|p| p.total == total));
    assert!(calls.windows(2).all(|p| p[0].done <= p[1].done && p[0].tokens < p[1].tokens), "{calls:?}");
    assert_eq!((calls.last().unwrap().done, calls.last().unwrap().documents), (total, 4));
    let content = built.corpus.content();
    let alone = CorpusOptions { threads: 1, seed: 9, ..options };
    let again = place.build(&paths, &alone).unwrap();
    assert!(!again.reused && again.corpus.content() == content, "threads make no difference");
}

#[test]
fn what_is_no_text_is_named_with_its_place() {
    let place = Place::new();
    let good = place.put("a.txt", "good text\n".repeat(30_000));
    let mut bytes = "ü good\n".repeat(20_000).into_bytes();
    let at = bytes.len() as u64 + 1;
    bytes.extend(b"\xfcber\n");
    for (mark, name) in [(&b""[..], "bad.txt"), (b"\xef\xbb\xbf", "marked.txt")] {
        let bad = place.put(name, [mark, &bytes].concat());
        let error = place.build(&[good.clone(), bad], &plain()).unwrap_err();
        assert!(matches!(&error, CorpusError::NotUtf8 { at: found, .. } if *found == at + mark.len() as u64));
        assert!(error.to_string().contains(name), "{error}");
    }
    let half = place.put("half.txt", &"good é".as_bytes()[..6]);
    assert!(matches!(place.build(&[half], &plain()), Err(CorpusError::NotUtf8 { at: 6, .. })));
    for (name, bytes, said) in [
        ("zip.txt", &b"PK\x03\x04...."[..], "ZIP"),
        ("zero.txt", b"text\0text", "zero bytes"),
        ("data.csv", b"a,b\n", "CSV"),
    ] {
        let error = place.build(&[place.put(name, bytes)], &plain()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(said), "{error}");
    }
    let nothing = place.build(&[], &plain());
    assert!(matches!(nothing, Err(CorpusError::NoPaths)));
    fs::create_dir(place.0.path().join("void")).unwrap();
    let void = place.build(&[place.0.path().join("void")], &plain());
    assert!(matches!(void, Err(CorpusError::NoTexts { .. })));
    let missing = place.build(&["nowhere.txt".into()], &plain());
    assert!(matches!(missing, Err(CorpusError::Io(_))));
    let blank = place.build(&[place.put("blank.txt", "\n")], &plain());
    assert!(matches!(blank, Err(CorpusError::TooLittle { tokens: 0, .. })));
    for fraction in [-0.1, 0.6, f64::NAN] {
        let options = CorpusOptions { validation: Validation::Fraction(fraction), ..plain() };
        assert!(matches!(
            place.build(std::slice::from_ref(&good), &options),
            Err(CorpusError::Fraction { .. })
        ));
    }
    assert!(!place.out().exists());
    place.no_leftovers();
}

#[test]
fn a_token_file_is_used_again_until_something_changes() {
    let place = Place::new();
    let text = place.put("a.txt", "some text");
    let texts = [text.clone()];
    assert!(!place.build(&texts, &plain()).unwrap().reused);
    let again = place.build(&texts, &CorpusOptions { threads: 2, ..plain() }).unwrap();
    assert!(again.reused);
    place.put("a.txt", "some other text");
    let changed = place.build(&texts, &plain()).unwrap();
    assert!(!changed.reused && changed.corpus.content() != again.corpus.content());
    assert!(!place.build(&texts, &CorpusOptions { special: true, ..plain() }).unwrap().reused);
    // Damaged: built again.
    let mut bytes = fs::read(place.out()).unwrap();
    bytes.pop();
    fs::write(place.out(), &bytes).unwrap();
    assert!(matches!(Corpus::open(place.out()), Err(CorpusError::Damaged { .. })));
    assert!(!place.build(&texts, &plain()).unwrap().reused);
    // Something else: never written over.
    fs::write(place.out(), "a text of somebody").unwrap();
    assert!(matches!(place.build(&texts, &plain()), Err(CorpusError::NotACorpus { .. })));
    assert_eq!(fs::read_to_string(place.out()).unwrap(), "a text of somebody");
    fs::write(place.out(), "").unwrap();
    place.build(&texts, &plain()).unwrap();
    // Stopped: the old one is still there.
    let before = fs::read(place.out()).unwrap();
    let mut stop = |_| ControlFlow::Break(());
    let options = CorpusOptions { seed: 1, ..plain() };
    let stopped = Corpus::build(place.out(), &texts, &tokenizer(), &options, &mut stop);
    assert!(matches!(stopped, Err(CorpusError::Stopped)));
    assert_eq!(fs::read(place.out()).unwrap(), before);
    place.no_leftovers();
}

#[test]
fn validation_is_whole_documents_the_end_or_texts_of_its_own() {
    let place = Place::new();
    let text = |count: usize| (0..count).map(|i| format!("{i} doc\n<|endoftext|>\n")).collect::<String>();
    let with = |fraction, seed| CorpusOptions { validation: Validation::Fraction(fraction), seed, ..plain() };
    let many = place.put("many.txt", text(400));
    let all: BTreeSet<Vec<u32>> = (0..400).map(|i| encoded(&format!("{i} doc"))).collect();
    let (mut kept_by_seed, mut first_ones) = (Vec::new(), 0);
    for seed in 0..3 {
        let corpus = place.build(std::slice::from_ref(&many), &with(0.1, seed)).unwrap().corpus;
        let (train, kept) = (documents(&corpus, Split::Train), documents(&corpus, Split::Validation));
        assert_eq!(
            (train.len() as u64, kept.len() as u64),
            (corpus.documents(Split::Train), corpus.documents(Split::Validation))
        );
        assert!((20..=60).contains(&kept.len()) && !corpus.cut_within(), "{}", kept.len());
        let number = |d: &Vec<u32>| {
            String::from_utf8(d.iter().take_while(|t| **t != 32).map(|t| *t as u8).collect())
                .unwrap()
                .parse::<u32>()
                .unwrap()
        };
        assert!(train.iter().map(number).is_sorted() && kept.iter().map(number).is_sorted());
        first_ones += kept.iter().filter(|d| number(d) < 19).count();
        assert_eq!(train.into_iter().chain(kept.clone()).collect::<BTreeSet<_>>(), all);
        corpus.verify().unwrap();
        kept_by_seed.push(kept);
    }
    assert!(first_ones > 0, "those before it was known that there are enough count as well");
    assert!(kept_by_seed[0] != kept_by_seed[1] && kept_by_seed[1] != kept_by_seed[2]);
    let few = place.put("few.txt", text(19));
    let corpus = place.build(std::slice::from_ref(&few), &with(0.1, 0)).unwrap().corpus;
    let tokens = corpus.tokens(Split::Train) + corpus.tokens(Split::Validation);
    assert!(corpus.cut_within() && corpus.documents(Split::Validation) == 0);
    assert_eq!(corpus.tokens(Split::Validation), (tokens as f64 * 0.1).ceil() as u64);
    let ends = [documents(&corpus, Split::Train), documents(&corpus, Split::Validation)].concat().concat();
    assert_eq!(ends, (0..19).flat_map(|i| encoded(&format!("{i} doc"))).collect::<Vec<_>>());
    // So few of so many that by chance there is none.
    let corpus = place.build(std::slice::from_ref(&many), &with(1e-9, 0));
    assert!(matches!(corpus, Err(CorpusError::TooLittleToHoldOut { .. })));
    let corpus = place.build(std::slice::from_ref(&many), &with(0.0005, 0)).unwrap().corpus;
    assert!(corpus.tokens(Split::Validation) >= 2);
    let own = CorpusOptions { validation: Validation::Texts(vec![few]), ..plain() };
    let corpus = place.build(&[many], &own).unwrap().corpus;
    assert_eq!((corpus.documents(Split::Train), corpus.documents(Split::Validation)), (400, 19));
    assert_eq!(documents(&corpus, Split::Validation).len(), 19);
    place.no_leftovers();
}

/// A corpus of documents of these lengths, of tokens that say where they are: document and place in it, over 200 of each.
fn numbered(place: &Place, lengths: &[usize]) -> Corpus {
    let text = |length: &usize| "abcdefghij".chars().cycle().take(*length).collect::<String>();
    let rows: String = lengths.iter().map(|l| format!("{{\"text\":\"{}\"}}\n", text(l))).collect();
    place.build(&[place.put("rows.jsonl", rows)], &plain()).unwrap().corpus
}

/// Checks an epoch; gives its windows.
fn epoch(sampler: &Sampler, epoch: u64, flat: &[Vec<u32>]) -> Vec<Vec<Vec<u32>>> {
    let windows = sampler.windows();
    let mut pieces = Pieces::new();
    let mut inputs = 0;
    let mut all = Vec::new();
    for window in 0..windows {
        pieces.clear();
        let number = epoch * windows + window;
        assert_eq!(sampler.epoch(number), epoch);
        sampler.window(number, &mut pieces).unwrap();
        assert!(pieces.targets() <= sampler.seq());
        assert_eq!(pieces.targets(), pieces.sequences().map(|s| s.targets()).sum::<usize>());
        assert_eq!(pieces.targets(), pieces.sequences().map(|s| s.rows()).sum::<usize>());
        let own: Vec<Vec<u32>> = pieces.sequences().map(|s| s.tokens.to_vec()).collect();
        for sequence in &own {
            // Within a document, as it stands there: an end is nowhere but at the end.
            assert!(sequence.len() >= 2);
            assert!(sequence.iter().rposition(|t| *t == EOS).is_none_or(|at| at + 1 == sequence.len()));
            assert!(flat.iter().any(|d| d.windows(sequence.len()).any(|w| w == sequence.as_slice())));
        }
        inputs += pieces.targets();
        all.push(own);
    }
    // Inputs with a target, less what falls away at the seam and between documents.
    let targets: usize = flat.iter().map(|d| d.len() - 1).sum();
    assert!(inputs <= targets && inputs + sampler.seq() > targets, "{inputs} of {targets}");
    all
}

#[test]
fn an_epoch_sees_every_token_once() {
    let place = Place::new();
    let corpus = Arc::new(numbered(&place, &[5, 1, 30, 2, 120, 9, 1, 1, 64]));
    let flat = documents(&corpus, Split::Train);
    assert_eq!(flat.len(), 9);
    for seq in [1, 2, 7, 16, 50, 241, 242, 243, 1000] {
        let sampler = Sampler::new(corpus.clone(), seq, 11).unwrap();
        let first = epoch(&sampler, 0, &flat);
        assert_eq!(first, epoch(&sampler, 0, &flat), "the same again");
        let second = epoch(&sampler, 1, &flat);
        let other = Sampler::new(corpus.clone(), seq, 12).unwrap();
        assert!(first != second && first != epoch(&other, 0, &flat), "{seq}");
        let mut step = Pieces::new();
        for number in 0..3 {
            sampler.step(number, 4, &mut step).unwrap();
            let mut one = Pieces::new();
            (0..4).for_each(|i| sampler.window(4 * number + i, &mut one).unwrap());
            assert!(step.sequences().map(|s| s.tokens).eq(one.sequences().map(|s| s.tokens)));
        }
    }
    assert!(matches!(Sampler::new(corpus, 0, 0), Err(CorpusError::Window { .. })));
}

#[test]
fn inputs_are_counted_one_by_one() {
    // One long document, whose tokens are all different pairs: a place is known by three tokens.
    let place = Place::new();
    let text: String = (0..20u8)
        .flat_map(|a| (0..20u8).flat_map(move |b| [a, b, 25]))
        .map(|b| char::from(b'a' + b))
        .collect();
    let corpus = Arc::new(place.build(&[place.put("a.txt", &text)], &plain()).unwrap().corpus);
    let tokens = corpus.tokens(Split::Train) as usize;
    let sampler = Sampler::new(corpus, 13, 5).unwrap();
    let whole = encoded(&text);
    for number in 0..4 {
        let mut seen = vec![0; tokens];
        for window in epoch(&sampler, number, std::slice::from_ref(&whole)) {
            for sequence in window {
                let at = whole.windows(sequence.len()).position(|w| w == sequence.as_slice()).unwrap();
                (at..at + sequence.len() - 1).for_each(|i| seen[i] += 1);
            }
        }
        assert!(seen.iter().all(|n| *n <= 1) && seen.iter().filter(|n| **n == 0).count() < 13 + 2);
    }
}

#[test]
fn validation_windows_are_fixed_and_spread() {
    let place = Place::new();
    let text: String = (0..500).map(|i| format!("{i} ")).collect();
    let options = CorpusOptions { validation: Validation::Fraction(0.5), ..plain() };
    let corpus = Arc::new(place.build(&[place.put("a.txt", &text)], &options).unwrap().corpus);
    let kept = documents(&corpus, Split::Validation).concat();
    let sampler = Sampler::new(corpus, 10, 3).unwrap();
    let windows: Vec<u64> = sampler.validation(None).collect();
    assert_eq!(windows, (0..sampler.validation_windows()).collect::<Vec<_>>());
    let mut pieces = Pieces::new();
    windows.iter().for_each(|w| sampler.validation_window(*w, &mut pieces).unwrap());
    assert_eq!(pieces.targets(), kept.len() - 1, "every token but the first is predicted once");
    let first = pieces.sequences().next().unwrap();
    assert_eq!(first.tokens, &kept[..11]);
    let some: Vec<u64> = sampler.validation(Some(4)).collect();
    let quarter = windows.len() as u64 / 4;
    assert!(some.len() == 4 && some[0] == 0 && some.windows(2).all(|p| p[1] - p[0] >= quarter), "{some:?}");
    assert_eq!(sampler.validation(Some(0)).count(), 0);
    assert_eq!(sampler.validation(Some(10_000)).count(), windows.len());
    let mut beyond = Pieces::new();
    sampler.validation_window(u64::MAX, &mut beyond).unwrap();
    assert!(beyond.is_empty());
}

/// A header whose checksum is right.
fn sign(bytes: &mut [u8]) {
    if bytes.len() >= 256 {
        let checksum: [u8; 32] = Sha256::digest(&bytes[..224]).into();
        bytes[224..256].copy_from_slice(&checksum);
    }
}

fn try_all(path: &Path, sound: &[u8]) -> bool {
    let corpus = match Corpus::open(path) {
        Ok(corpus) => Arc::new(corpus),
        Err(CorpusError::NotACorpus { .. } | CorpusError::Version { .. } | CorpusError::Damaged { .. }) => {
            return false;
        }
        Err(other) => panic!("{other}"),
    };
    let there = fs::read(path).unwrap();
    assert_eq!(corpus.verify().is_ok(), there[256..] == sound[256..] && there[144..176] == sound[144..176]);
    if let Ok(sampler) = Sampler::new(corpus, 16, 1) {
        let mut pieces = Pieces::new();
        for window in (0..sampler.windows().min(20)).chain([u64::MAX]) {
            match sampler.window(window, &mut pieces) {
                Ok(()) => {}
                Err(CorpusError::Damaged { why, .. }) => assert!(why.contains("vocabulary"), "{why}"),
                Err(other) => panic!("{other}"),
            }
        }
        sampler.validation(Some(20)).for_each(|w| drop(sampler.validation_window(w, &mut pieces)));
        assert!(pieces.sequences().all(|s| s.rows() > 0 && s.tokens.len() == s.trained.len()));
    }
    true
}

#[test]
fn damaged_token_files_are_refused_or_read_as_they_are() {
    let place = Place::new();
    let options = CorpusOptions { validation: Validation::Fraction(0.2), ..plain() };
    let text: String = (0..60).map(|i| format!("text {i}\n<|endoftext|>\n")).collect();
    place.build(&[place.put("a.txt", text)], &options).unwrap();
    let sound = fs::read(place.out()).unwrap();
    let damaged = place.0.path().join("damaged");
    let (mut opened, mut refused) = (0, 0);
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..3000 {
        let mut bytes = sound.clone();
        match round % 4 {
            0 => bytes.truncate(random(sound.len())),
            1 => bytes.extend((0..=random(9)).map(|i| i as u8)),
            // Half of them where the numbers are.
            _ => {}
        }
        for _ in 0..random(4) {
            let at = if random(2) == 0 { random(112) } else { random(sound.len()) };
            if let Some(byte) = bytes.get_mut(at) {
                *byte = if random(3) == 0 { 0xff } else { random(256) as u8 };
            }
        }
        if round % 3 > 0 {
            sign(&mut bytes);
        }
        fs::write(&damaged, &bytes).unwrap();
        if try_all(&damaged, &sound) { opened += 1 } else { refused += 1 }
    }
    assert!(opened > 200 && refused > 1000, "{opened} opened, {refused} refused");
    // Far more tokens than there are, and parts that overflow.
    for at in [40, 48, 56, 64] {
        for number in [u64::MAX, 1 << 63, sound.len() as u64] {
            let mut bytes = sound.clone();
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            sign(&mut bytes);
            fs::write(&damaged, &bytes).unwrap();
            assert!(matches!(Corpus::open(&damaged), Err(CorpusError::Damaged { .. })), "{at} {number}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_documents_and_windows(
        lengths in prop::collection::vec(1usize..60, 1..30), seq in 1usize..70, seed in any::<u64>(), number in 0u64..5,
    ) {
        let place = Place::new();
        let corpus = Arc::new(numbered(&place, &lengths));
        let flat = documents(&corpus, Split::Train);
        prop_assert_eq!(flat.len(), lengths.len());
        let sampler = Sampler::new(corpus, seq, seed).unwrap();
        epoch(&sampler, number, &flat);
    }

    #[test]
    fn any_text_comes_back(texts in prop::collection::vec("\\PC{0,40}|[a-z<|>\r\n ]{0,80}|(a|<\\|endoftext\\|>|\r?\n){0,9}", 1..12)) {
        let place = Place::new();
        let paths: Vec<PathBuf> =
            texts.iter().enumerate().map(|(i, text)| place.put(&format!("{i}.txt"), text)).collect();
        let want: Vec<Vec<u32>> = texts.iter().flat_map(|text| documents_of(text)).map(|text| encoded(&text)).collect();
        match place.build(&paths, &plain()) {
            Ok(built) => prop_assert_eq!(documents(&built.corpus, Split::Train), want),
            Err(CorpusError::TooLittle { .. }) => prop_assert!(want.is_empty()),
            // Some of these texts are files of another kind by their first bytes.
            Err(CorpusError::Data(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Documents of a text, put plainly.
fn documents_of(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "<|endoftext|>" {
            all.push(String::new());
        } else {
            let end = if line.ends_with("\r\n") { 2 } else { 0 };
            let line = if end == 2 { format!("{}\n", &line[..line.len() - 2]) } else { line.to_owned() };
            all.last_mut().unwrap().push_str(&line);
        }
    }
    let ended = |text: &String| text.strip_suffix(['\n', '\r']).unwrap_or(text).to_owned();
    all.iter().map(ended).filter(|text| !text.trim().is_empty()).collect()
}
