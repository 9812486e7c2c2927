//! The tokenizer: text to token ids and back, from a model file's own vocabulary.

use std::ops::Range;

use super::bpe::{Bpe, BpeScratch};
use super::bytes::{ByteAlphabet, SPACE_MARK, byte_token, unescape_spaces};
use super::config::{SpecialIds, TokenKind, TokenizerConfig, TokenizerModel};
use super::error::TokenizerError;
use super::pretok::{Stage, known_names, scheme, split};
use super::special::{Fragment, SpecialTokens};
use super::spm::Spm;

/// Texts of tokens that end a turn or a text, where the file does not say so by id.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
];
/// Special tokens of Phi-3 that keep the white space after them.
const KEEP_RIGHT: &[&str] = &["<unk>", "<s>", "<|endoftext|>"];
/// Text is encoded in parts of at most this many bytes, so that offsets fit in 32 bits.
const MAX_PART: usize = 1 << 30;

/// Part of a prompt for [`Tokenizer::encode_segments`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The text.
    pub text: String,
    /// The index of the message whose content this is, or `None` for text of the template. Control tokens are only
    /// made from the template's text.
    pub message: Option<usize>,
}

/// Text to token ids and back. Made once per model; all methods are `&self` and may be called from many threads.
pub struct Tokenizer {
    algorithm: Algorithm,
    specials: SpecialTokens,
    pieces: Pieces,
    ids: SpecialIds,
    ends: Vec<u32>,
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
    notices: Vec<String>,
    fingerprint: [u8; 32],
}

enum Algorithm {
    Bpe { bpe: Box<Bpe>, stages: &'static [Stage] },
    Spm(Box<Spm>),
}

/// What each token stands for, end to end.
struct Pieces {
    kinds: Vec<TokenKind>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Tokenizer {
    /// Builds the tables from a vocabulary.
    ///
    /// # Errors
    /// Any [`TokenizerError`]: lists of unequal length, ids out of range, malformed merges, an unknown pre-tokenizer.
    pub fn new(mut config: TokenizerConfig) -> Result<Self, TokenizerError> {
        config.check()?;
        mark_ends_as_control(&mut config);
        let bpe = config.model == TokenizerModel::Gpt2;
        let mut add_bos = !bpe;
        let algorithm = if bpe {
            let name = config.pre_name();
            let scheme = scheme(name).ok_or_else(|| unknown_pre_tokenizer(name))?;
            add_bos = scheme.add_bos;
            let bpe = Box::new(Bpe::new(&config, scheme.whole_words)?);
            Algorithm::Bpe { bpe, stages: scheme.stages }
        } else {
            Algorithm::Spm(Box::new(Spm::new(&config)?))
        };
        Ok(Self {
            algorithm,
            specials: special_tokens(&config)?,
            pieces: Pieces::new(&config),
            ids: config.special,
            ends: end_ids(&config),
            add_bos: config.add_bos.unwrap_or(add_bos),
            add_eos: config.add_eos.unwrap_or(false),
            add_space_prefix: !bpe && config.add_space_prefix.unwrap_or(true),
            notices: config.notices(),
            fingerprint: config.fingerprint(),
        })
    }

    /// What the vocabulary does not say and had to be guessed: one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// SHA-256 of all that ids depend on: equal for the same vocabulary, whatever file it comes from.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Encodes a text.
    ///
    /// `parse_special`: texts of control tokens, such as `<|im_end|>`, become these tokens; leave it off for text that
    /// a user typed. `add_special`: the beginning- and end-of-sequence tokens are added where the model wants them.
    ///
    /// Bytes that a byte-level vocabulary lacks (see [`Self::missing_bytes`]) are left out.
    pub fn encode(&self, text: &str, parse_special: bool, add_special: bool) -> Vec<u32> {
        self.encode_guarded(text, parse_special, add_special, &[])
    }

    /// Encodes a prompt of several parts as one text, so that words may span them; control tokens are made from the
    /// template's parts alone.
    pub fn encode_segments(&self, segments: &[Segment], add_special: bool) -> Vec<u32> {
        let (text, guarded) = join(segments);
        self.encode_guarded(&text, true, add_special, &guarded)
    }

    /// Encodes segments as [`Self::encode_segments`] does, but so that no token spans any of `cuts`, which are ascending
    /// byte offsets into the segments put together. Returns the ids, without beginning- and end-of-sequence
    /// tokens, and how many of them lie before each cut.
    ///
    /// A prompt that ends at a cut and the reply after it get the ids that they have when the model is run.
    pub fn encode_cut(&self, segments: &[Segment], cuts: &[usize]) -> (Vec<u32>, Vec<usize>) {
        let (text, guarded) = join(segments);
        let mut out = Vec::with_capacity(text.len() / 3 + 2);
        let mut counts = Vec::with_capacity(cuts.len());
        let (mut after_special, mut start) = (true, 0);
        for (i, &cut) in cuts.iter().chain([&text.len()]).enumerate() {
            let mut end = cut.clamp(start, text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let piece = text.get(start..end).unwrap_or_default();
            let within = |range: &Range<usize>| {
                let range = range.start.max(start)..range.end.min(end);
                (range.start < range.end).then(|| range.start - start..range.end - start)
            };
            let first = guarded.partition_point(|range| range.end <= start);
            let guarded: Vec<_> =
                guarded.iter().skip(first).take_while(|range| range.start < end).filter_map(within).collect();
            self.encode_piece(piece, true, &guarded, &mut after_special, &mut out);
            if i < cuts.len() {
                counts.push(out.len());
            }
            start = end;
        }
        (out, counts)
    }

    fn encode_guarded(
        &self,
        text: &str,
        parse_special: bool,
        add_special: bool,
        guarded: &[Range<usize>],
    ) -> Vec<u32> {
        let mut out = Vec::with_capacity(text.len() / 3 + 2);
        if add_special && self.add_bos {
            out.extend(self.ids.bos);
        }
        self.encode_piece(text, parse_special, guarded, &mut true, &mut out);
        if add_special && self.add_eos {
            out.extend(self.ids.eos);
        }
        out
    }

    /// Encodes part of a text; `after_special` says, and then tells, whether a special token or nothing lies before it.
    fn encode_piece(
        &self,
        text: &str,
        parse_special: bool,
        guarded: &[Range<usize>],
        after_special: &mut bool,
        out: &mut Vec<u32>,
    ) {
        let fragments = self.specials.split(text, parse_special, guarded);
        match &self.algorithm {
            Algorithm::Bpe { bpe, stages } => {
                let mut scratch = BpeScratch::default();
                for fragment in &fragments {
                    match *fragment {
                        Fragment::Token(id) => out.push(id),
                        Fragment::Text(text) => parts(text, MAX_PART).for_each(|part| {
                            split(stages, part, |word| bpe.encode_word(word, &mut scratch, out));
                        }),
                    }
                }
            }
            Algorithm::Spm(spm) => self.encode_spm(spm, &fragments, after_special, out),
        }
    }

    /// Text at the beginning and after a special token gets a blank before it, if the model was trained that way.
    fn encode_spm(&self, spm: &Spm, fragments: &[Fragment], after_special: &mut bool, out: &mut Vec<u32>) {
        for fragment in fragments {
            match *fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    *after_special = true;
                }
                Fragment::Text(text) => {
                    for part in parts(text, MAX_PART) {
                        let prefix = if self.add_space_prefix && *after_special { SPACE_MARK } else { "" };
                        spm.encode(&[prefix, &part.replace(' ', SPACE_MARK)].concat(), out);
                        *after_special = false;
                    }
                }
            }
        }
    }

    /// The text of a sequence of tokens; invalid UTF-8 is replaced, ids outside of the vocabulary are skipped. The
    /// blank that [`Self::encode`] puts before the text is taken away again. `hide_special`: control tokens are left
    /// out.
    pub fn decode(&self, ids: &[u32], hide_special: bool) -> String {
        let mut bytes = Vec::new();
        let mut strip = self.add_space_prefix;
        for &id in ids {
            let control = self.is_control(id);
            let piece = self.token_bytes(id).filter(|_| !(control && hide_special)).unwrap_or_default();
            let piece = if strip && !control { piece.strip_prefix(b" ").unwrap_or(piece) } else { piece };
            strip &= control;
            bytes.extend_from_slice(piece);
        }
        match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    /// What a token stands for: text, part of a character, or a control token's name. `None` for ids outside of the
    /// vocabulary.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.pieces.get(id as usize)
    }

    /// The kind of a token.
    pub fn token_kind(&self, id: u32) -> Option<TokenKind> {
        self.pieces.kinds.get(id as usize).copied()
    }

    /// Whether the token marks structure rather than being text.
    pub fn is_control(&self, id: u32) -> bool {
        matches!(self.token_kind(id), Some(TokenKind::Control | TokenKind::Unknown))
    }

    /// Whether the token ends a turn or the text, so that generation stops.
    pub fn is_eog(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The ids for which [`Self::is_eog`] holds.
    pub fn eog_ids(&self) -> &[u32] {
        &self.ends
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_len(&self) -> usize {
        self.pieces.kinds.len()
    }

    /// Ids with a role.
    pub fn special_ids(&self) -> SpecialIds {
        self.ids
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.ids.bos
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.ids.eos
    }

    /// Whether [`Self::encode`] with `add_special` puts the beginning-of-sequence token first.
    pub fn adds_bos(&self) -> bool {
        self.add_bos && self.ids.bos.is_some()
    }

    /// The id of the control or user-defined token with exactly this text.
    pub fn special_id(&self, text: &str) -> Option<u32> {
        self.specials.id_of(text)
    }

    /// The first control token whose text stands in `text`, and the byte where it begins. The token for unknown words does not
    /// count: its text is a word in some corpora.
    pub fn find_control(&self, text: &str) -> Option<(usize, u32)> {
        self.specials.find(text, |id| self.token_kind(id) == Some(TokenKind::Control))
    }

    /// The texts of all control tokens.
    pub fn control_texts(&self) -> impl Iterator<Item = &str> {
        let ids = 0..self.vocab_len() as u32;
        ids.filter(|&id| self.is_control(id)).filter_map(|id| std::str::from_utf8(self.token_bytes(id)?).ok())
    }

    /// Bytes for which a byte-level vocabulary has no token; encoding drops them, as other implementations do.
    pub fn missing_bytes(&self) -> Vec<u8> {
        match &self.algorithm {
            Algorithm::Bpe { bpe, .. } => bpe.missing_bytes().collect(),
            Algorithm::Spm(_) => Vec::new(),
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.vocab_len()).field("special", &self.ids).finish()
    }
}

impl Pieces {
    fn new(config: &TokenizerConfig) -> Self {
        let alphabet = ByteAlphabet::new();
        let mut pieces = Self { kinds: Vec::new(), bytes: Vec::new(), ends: Vec::new() };
        for (id, text) in config.tokens.iter().enumerate() {
            let kind = config.kind(id);
            match (kind, config.model) {
                (TokenKind::Byte, _) if byte_token(text).is_some() => pieces.bytes.extend(byte_token(text)),
                (TokenKind::Normal | TokenKind::Unused, TokenizerModel::Gpt2) => {
                    let bytes = alphabet.decode(text);
                    pieces.bytes.extend_from_slice(bytes.as_deref().unwrap_or(text));
                }
                (TokenKind::Normal | TokenKind::Unused, TokenizerModel::Llama) => {
                    pieces.bytes.extend_from_slice(&unescape_spaces(text));
                }
                _ => pieces.bytes.extend_from_slice(text),
            }
            pieces.kinds.push(kind);
            pieces.ends.push(pieces.bytes.len());
        }
        pieces
    }

    fn get(&self, id: usize) -> Option<&[u8]> {
        let end = *self.ends.get(id)?;
        let start = if id == 0 { 0 } else { *self.ends.get(id - 1)? };
        self.bytes.get(start..end)
    }
}

/// Tokens that end a turn by their text are control tokens, whatever the file says.
fn mark_ends_as_control(config: &mut TokenizerConfig) {
    config.kinds.resize(config.tokens.len(), TokenKind::Normal);
    for (text, kind) in config.tokens.iter().zip(&mut config.kinds) {
        if is_end_text(text) {
            *kind = TokenKind::Control;
        }
    }
}

fn is_end_text(text: &[u8]) -> bool {
    END_TEXTS.iter().any(|end| end.as_bytes() == text)
}

fn end_ids(config: &TokenizerConfig) -> Vec<u32> {
    let ids = &config.special;
    let by_text =
        config.tokens.iter().enumerate().filter(|(_, text)| is_end_text(text)).map(|(id, _)| id as u32);
    let mut ends: Vec<u32> = [ids.eos, ids.eot, ids.eom].into_iter().flatten().chain(by_text).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

fn special_tokens(config: &TokenizerConfig) -> Result<SpecialTokens, TokenizerError> {
    let mut specials = SpecialTokens::new();
    for (id, text) in config.tokens.iter().enumerate() {
        let strip = config.specials_strip_right && !KEEP_RIGHT.iter().any(|keep| keep.as_bytes() == text);
        specials.add(id as u32, text, config.kind(id), strip)?;
    }
    Ok(specials)
}

fn unknown_pre_tokenizer(name: &str) -> TokenizerError {
    let known = known_names().collect::<Vec<_>>().join(", ");
    TokenizerError::UnknownPreTokenizer { name: name.to_owned(), known }
}

/// The text of all segments, and the byte ranges of it that are contents of messages.
fn join(segments: &[Segment]) -> (String, Vec<Range<usize>>) {
    let text: String = segments.iter().map(|s| s.text.as_str()).collect();
    let mut guarded = Vec::new();
    let mut start = 0;
    for segment in segments {
        let end = start + segment.text.len();
        if segment.message.is_some() && end > start {
            guarded.push(start..end);
        }
        start = end;
    }
    (text, guarded)
}

/// `text` in parts of at most about `max` bytes, cut between characters.
fn parts(text: &str, max: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut cut = rest.len().min(max.max(4));
        while !rest.is_char_boundary(cut) {
            cut -= 1;
        }
        let (part, after) = rest.split_at(cut);
        rest = after;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn parts_are_the_text() {
        let text = "aé漢🦙xyz";
        for max in 0..20 {
            assert_eq!(super::parts(text, max).collect::<String>(), text);
        }
        assert_eq!(super::parts("abcdefghij", 4).collect::<Vec<_>>(), ["abcd", "efgh", "ij"]);
    }
}
