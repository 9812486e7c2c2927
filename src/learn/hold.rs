//! What holds a model in place while it learns: texts of its own with their log-probabilities, and its answers to fixed
//! questions. They depend on the base model and its template alone, so they are made once and kept.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::fixed::{CANARIES, FIXED, OPENINGS, QUESTIONS};
use super::{LearnError, QuestionEncoder};
use crate::adapter::BaseFingerprint;
use crate::io::{Access, IoError, Manner, private, write_bytes};
use crate::model::Model;
use crate::session::{Modes, Request, Session, SessionOptions};
use crate::text::SamplerParams;
use crate::train::ANCHOR_TOKENS;
use crate::train::data::{Example, Source};

/// Gets how many texts there are, of how many, and may end it.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>;

/// Sequences written at once.
const SLOTS: usize = 8;
/// One text of so many is measured by.
const EACH: usize = 3;
/// Tokens of the fixed questions' answers.
const ANSWER: usize = 32;

/// A text that the model wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Log-probabilities under the base, of all tokens but the first.
    pub log_probs: Vec<f32>,
    /// How many of the tokens were given.
    given: usize,
    /// It is an answer to a question.
    answer: bool,
}

/// What is made once per model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Texts at temperature 1.
    pub texts: Vec<Written>,
    /// Tokens of fixed questions with the likeliest answers, and how many of them are the question's.
    canaries: Vec<(Vec<u32>, usize)>,
    /// Perplexity of the fixed texts.
    pub perplexity: f64,
}

impl Hold {
    /// That of a model: what `folder` keeps of it, or a new one, which is kept there. `progress` gets how many texts are
    /// written, of how many.
    ///
    /// # Errors
    /// [`LearnError`]: the model cannot write. A folder that cannot be used costs time and is no error.
    pub fn of(
        model: &Model,
        voice: &QuestionEncoder,
        base: &BaseFingerprint,
        device: &SessionOptions,
        folder: Option<&Path>,
        progress: Progress<'_>,
    ) -> Result<Option<Self>, LearnError> {
        let place = folder.map(|folder| place(folder, base, voice));
        let vocab = model.config().vocab as u32;
        let kept = place.as_deref().and_then(load).filter(|hold| hold.fits(vocab));
        if let Some(hold) = kept {
            return Ok(Some(hold));
        }
        let Some(hold) = Self::make(model, voice, device, progress)? else { return Ok(None) };
        if let Some(place) = &place {
            // It is made again where it could not be kept.
            let _ = save(place, &hold);
        }
        Ok(Some(hold))
    }

    fn make(
        model: &Model,
        voice: &QuestionEncoder,
        device: &SessionOptions,
        progress: Progress<'_>,
    ) -> Result<Option<Self>, LearnError> {
        let modes = Modes { score: true, ..Modes::GENERATE };
        let questions: Vec<Vec<u32>> = match voice.template() {
            Some(_) => CANARIES.iter().map(|question| voice.single(question)).collect::<Result<_, _>>()?,
            None => CANARIES.iter().map(|text| voice.tokenizer().encode(text, false, true)).collect(),
        };
        let fixed: Vec<Vec<u32>> =
            FIXED.iter().map(|text| voice.tokenizer().encode(text, false, true)).collect();
        let longest =
            questions.iter().map(|text| text.len() + ANSWER).chain(fixed.iter().map(Vec::len)).max();
        let ctx = Some(longest.unwrap_or(0).max(2 * ANCHOR_TOKENS));
        let mut session =
            Session::new(model, &SessionOptions { ctx, slots: SLOTS, modes, ..device.clone() })?;
        let Some(written) = texts_in(&mut session, voice, 0, progress)? else { return Ok(None) };
        let scored = |session: &mut Session, (index, tokens, given): (usize, Vec<u32>, usize)| {
            let log_probs = session.score(&tokens)?;
            Ok::<_, LearnError>(Written { tokens, log_probs, given, answer: index >= OPENINGS.len() })
        };
        let written = written.into_iter().enumerate().map(|(index, (tokens, given))| (index, tokens, given));
        let texts = written.filter(|(_, tokens, _)| tokens.len() > 1);
        let texts = texts.map(|text| scored(&mut session, text)).collect::<Result<_, _>>()?;
        let perplexity = perplexity(&mut session, &fixed)?;
        session.reset();
        let answers = write(&mut session, voice, &questions, ANSWER, SamplerParams::greedy())?;
        let canaries = questions.into_iter().zip(answers);
        let canaries = canaries.map(|(question, answer)| {
            let asked = question.len();
            ([question, answer].concat(), asked)
        });
        Ok(Some(Self { texts, canaries: canaries.collect(), perplexity }))
    }

    /// Whether a file's content can be of this model.
    fn fits(&self, vocab: u32) -> bool {
        let known = |tokens: &[u32]| tokens.len() > 1 && tokens.iter().all(|token| *token < vocab);
        self.perplexity.is_finite()
            && self.canaries.len() == CANARIES.len()
            && self.canaries.iter().all(|(tokens, asked)| known(tokens) && *asked <= tokens.len())
            && self.texts.iter().all(|text| {
                known(&text.tokens)
                    && text.tokens.len() <= 2 * ANCHOR_TOKENS
                    && text.log_probs.len() + 1 == text.tokens.len()
                    && text.given <= text.tokens.len()
                    && text.log_probs.iter().all(|l| l.is_finite())
            })
    }

    /// Fixed questions with the base's answers.
    pub fn canaries(&self) -> Vec<Example> {
        let example = |(tokens, asked): &(Vec<u32>, usize)| {
            let trained = (0..tokens.len()).map(|i| i >= *asked).collect();
            Example::new(tokens.clone(), trained, Source::default())
        };
        self.canaries.iter().map(example).collect()
    }

    /// The texts on which the model is to stay: what it writes by itself as the base has it, and its answers too unless
    /// they were or are `styled`; then as they are now.
    pub(super) fn steady(&self, styled: bool) -> Vec<(Vec<u32>, Option<Vec<f32>>)> {
        let kept = |(_, text): (usize, &Written)| {
            let now = styled && text.answer;
            (text.tokens.clone(), (!now).then(|| text.log_probs.clone()))
        };
        self.texts.iter().enumerate().filter(|(index, _)| index % EACH != 0).map(kept).collect()
    }

    /// The others, on which it is measured how far the model went: what was given of them does not count.
    pub(super) fn measured(&self) -> Vec<Example> {
        let example = |text: &Written| {
            let trained = (0..text.tokens.len()).map(|i| i >= text.given).collect();
            Example::new(text.tokens.clone(), trained, Source::default())
        };
        self.texts.iter().step_by(EACH).map(example).collect()
    }
}

/// Lets the model write: continuations of openings, and answers where it has a chat template. `None`: it was ended.
///
/// # Errors
/// [`LearnError`]: the model cannot write.
pub fn texts(
    model: &Model,
    voice: &QuestionEncoder,
    device: &SessionOptions,
    seed: u32,
    progress: Progress<'_>,
) -> Result<Option<Vec<Vec<u32>>>, LearnError> {
    let ctx = Some(2 * ANCHOR_TOKENS);
    let options = SessionOptions { ctx, slots: SLOTS, modes: Modes::GENERATE, ..device.clone() };
    let texts = texts_in(&mut Session::new(model, &options)?, voice, seed, progress)?;
    Ok(texts.map(|texts| texts.into_iter().map(|(tokens, _)| tokens).collect()))
}

/// Of texts together; 1 where there is nothing to score.
fn perplexity(session: &mut Session, texts: &[Vec<u32>]) -> Result<f64, LearnError> {
    let (mut sum, mut count) = (0.0, 0usize);
    for text in texts.iter().filter(|text| text.len() > 1) {
        let scores = session.score(text)?;
        sum -= scores.iter().map(|score| f64::from(*score)).sum::<f64>();
        count += scores.len();
    }
    Ok((sum / count.max(1) as f64).exp())
}

/// Texts, each with how many of its tokens were given.
type Begun = Vec<(Vec<u32>, usize)>;

fn texts_in(
    session: &mut Session,
    voice: &QuestionEncoder,
    seed: u32,
    progress: Progress<'_>,
) -> Result<Option<Begun>, LearnError> {
    let mut prompts: Vec<Vec<u32>> =
        OPENINGS.iter().map(|text| voice.tokenizer().encode(text, false, true)).collect();
    if voice.template().is_some() {
        for question in QUESTIONS {
            prompts.push(voice.single(question)?);
        }
    }
    prompts.retain(|prompt| !prompt.is_empty());
    let sampler =
        SamplerParams { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed, ..SamplerParams::greedy() };
    let mut texts = Vec::new();
    for batch in prompts.chunks(SLOTS) {
        if progress(texts.len(), prompts.len()).is_break() {
            return Ok(None);
        }
        let shortest = batch.iter().map(Vec::len).min().unwrap_or(1);
        let limit = ANCHOR_TOKENS.saturating_sub(shortest).max(1);
        let written = write(session, voice, batch, limit, sampler)?;
        let whole =
            |(prompt, written): (&Vec<u32>, Vec<u32>)| ([prompt.as_slice(), &written].concat(), prompt.len());
        texts.extend(batch.iter().zip(written).map(whole));
    }
    Ok(progress(texts.len(), prompts.len()).is_continue().then_some(texts))
}

/// What the model says to prompts, without them.
pub(super) fn write(
    session: &mut Session,
    voice: &QuestionEncoder,
    prompts: &[Vec<u32>],
    limit: usize,
    sampler: SamplerParams,
) -> Result<Vec<Vec<u32>>, LearnError> {
    let turn = |prompt| Request::turn(prompt, sampler, voice.tokenizer());
    let requests: Vec<Request<'_>> = prompts.iter().map(|prompt| turn(prompt)).collect();
    let written = session.write(&requests, limit)?;
    Ok(written.into_iter().map(|made| made.tokens).collect())
}

/// The file of a model with a template: another version of the program makes its own.
fn place(folder: &Path, base: &BaseFingerprint, voice: &QuestionEncoder) -> PathBuf {
    let mut hash = Sha256::new_with_prefix(env!("CARGO_PKG_VERSION"));
    hash.update(voice.template().map_or("", |template| template.source()));
    for text in OPENINGS.iter().chain(&QUESTIONS).chain(&CANARIES) {
        hash.update(text);
    }
    let digest = hash.finalize();
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("hold-{}-{digits}.json", base.short()))
}

fn load(place: &Path) -> Option<Hold> {
    serde_json::from_slice(&std::fs::read(place).ok()?).ok()
}

fn save(place: &Path, hold: &Hold) -> Result<(), IoError> {
    let failed = |source| IoError::system("write", place, source);
    if let Some(folder) = place.parent() {
        private::make_folders(folder).map_err(failed)?;
    }
    let bytes = serde_json::to_vec(hold).map_err(|e| failed(e.into()))?;
    write_bytes(place, Manner { access: Access::Private, ..Manner::default() }, &bytes).map(drop)
}
