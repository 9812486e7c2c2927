//! Reward-guided training: the model writes answers, they are judged, and what was better than expected becomes likelier.
//! Policy, reference, reward and value models are one base with different adapters and heads.

mod learn;
mod options;
mod rollout;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::model::{Branch, BranchHead, Model};
use crate::text::Tokenizer;
use crate::train::adapters::trained;
use crate::train::core::{Core, Progress};
use crate::train::data::{Batcher, Batching, Cursor};
use crate::train::reward::{Mix, Scores};
use crate::train::trainer::{REFERENCE, Sums, reference};
use crate::train::{
    Against, Ended, Engine, EngineOptions, Place, Rollouts, Sample, Settings, StepReport, TrainError,
    initialize, load_adapter, load_branch, shape_of,
};

pub use options::{COLDEST, Method, RlOptions};
pub use rollout::{Answer, write};

use learn::Experience;
use rollout::ModelJudge;

/// Sequences written at once, unless asked otherwise.
pub const SLOTS: usize = 8;
/// Times in a row that a policy beyond the limit is taken back before the run ends.
const RETREATS: u32 = 4;

/// Something to answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RlPrompt {
    /// As the model reads it, up to where its answer begins.
    pub tokens: Vec<u32>,
    /// As rewards read it.
    pub text: String,
    /// What else rewards may look at.
    pub row: serde_json::Map<String, serde_json::Value>,
}

/// Who judges.
#[derive(Default)]
pub struct Judges {
    /// Rules, programs and closures.
    pub mix: Mix,
    /// Reward models with their weights.
    pub models: Vec<(Adapter, f64)>,
}

/// Trains adapters by rewards.
pub struct RlTrainer {
    pub(super) core: Core,
    options: RlOptions,
    tokenizer: Tokenizer,
    prompts: Vec<RlPrompt>,
    batcher: Batcher,
    mix: Mix,
    models: Vec<ModelJudge>,
    value: Option<usize>,
    total: u64,
    per_epoch: u64,
    ended: Option<Ended>,
}

impl RlTrainer {
    /// Opens the device. The policy begins with `from`; without it, with new adapters. A PPO's value model begins with the first
    /// reward model, if there is one.
    ///
    /// # Errors
    /// [`TrainError::Data`] if there is nothing to answer or options make no sense, [`TrainError::Model`] if the map does
    /// not fit the budget.
    pub fn new(
        model: &Model,
        prompts: Vec<RlPrompt>,
        judges: Judges,
        options: &RlOptions,
        settings: &Settings,
        place: &Place,
        from: Option<&Adapter>,
    ) -> Result<Self, TrainError> {
        options.check().map_err(TrainError::Data)?;
        let data = |why: String| TrainError::Data(why);
        if judges.mix.is_empty() && judges.models.is_empty() {
            return Err(data("there is no reward to learn from".into()));
        }
        let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata).map_err(|e| data(e.to_string()))?;
        let batching = Batching::Sequences(options.prompts);
        // Prompts of all lengths go together: they are not laid behind one another.
        let mut batcher = Batcher::new(prompts.iter().map(|_| 1), batching, settings.seed)
            .map_err(|e| data(e.to_string()))?;
        let longest = prompts.iter().map(|p| p.tokens.len()).max().unwrap_or(1);
        if prompts.iter().any(|p| p.tokens.is_empty()) {
            return Err(data("a prompt has no tokens".into()));
        }
        let (train, adapters) = trained(model, settings, from)?;
        let (branches, value, models) = branches(model, &judges, options, settings, from);
        let engine_options = EngineOptions {
            device: place.device.clone(),
            rows: (longest + options.max_new) * settings.batch.max(1),
            seq: longest + options.max_new,
            outputs: place.chunk,
            recompute: place.recompute,
            train,
            adapters,
            head: BranchHead::Tokens,
            branches,
            rollouts: Some(Rollouts {
                slots: place.slots.unwrap_or(SLOTS).clamp(1, options.answers()),
                ctx: longest + options.max_new,
            }),
        };
        let mut engine = Engine::boot(model, &engine_options)?;
        initialize(&mut engine, settings.seed)?;
        load(&mut engine, &judges, options, from, (value, &models))?;
        let per_epoch = batcher.batches_in(0) as u64;
        let all = per_epoch * settings.epochs;
        let total = settings.max_steps.unwrap_or(all);
        batcher.resume(Cursor::default()).map_err(|e| data(e.to_string()))?;
        let mut core = Core::new(engine, settings, objective(options, &judges.mix, &models));
        core.judged = "reward";
        core.progress.strictness = 1.0;
        let mix = judges.mix;
        let options = options.clone();
        Ok(Self {
            core,
            options,
            tokenizer,
            prompts,
            batcher,
            mix,
            models,
            value,
            total,
            per_epoch,
            ended: None,
        })
    }

    /// The engine: device, memory map, timing.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.core.engine
    }

    /// Steps of the whole run.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Steps of going through all prompts once.
    pub fn steps_per_epoch(&self) -> u64 {
        self.per_epoch
    }

    /// Steps so far.
    pub fn step_count(&self) -> u64 {
        self.core.progress.step
    }

    /// Why the run has ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.or((self.core.progress.step >= self.total).then_some(Ended::Done))
    }

    /// The adapter: the latest, or, under a limit of the divergence, the latest that was found within it.
    ///
    /// # Errors
    /// [`TrainError::Adapter`] if it holds numbers that are not finite.
    pub fn adapter(&mut self, info: BTreeMap<String, String>) -> Result<Adapter, TrainError> {
        self.core.adapter(info)
    }

    pub(super) fn go_to(&mut self, progress: Progress) -> Result<(), TrainError> {
        self.batcher.resume(progress.cursor).map_err(|e| TrainError::Data(e.to_string()))?;
        self.core.progress = progress;
        Ok(())
    }

    /// One step: answers to the next prompts, their rewards, and the updates that follow. `pause` is called between pieces
    /// of work with the time they took. `None` when the run has ended.
    ///
    /// # Errors
    /// [`TrainError::Reward`] if a reward fails, [`TrainError::NotFinite`] after three updates in a row whose loss or
    /// gradient is not finite.
    pub fn step(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<StepReport>, TrainError> {
        if self.ended().is_some() {
            return Ok(None);
        }
        let Some(batch) = self.batcher.next() else { return Ok(None) };
        let mut report = StepReport::new(self.core.progress.step + 1, batch.epoch);
        let mut sums = Sums::default();
        let start = Instant::now();
        let answers = self.write(&batch.examples)?;
        let wrote = start.elapsed();
        pause(wrote);
        let judging = Instant::now();
        let scores =
            rollout::judge(&mut self.core.engine, &mut self.mix, &self.models, &self.prompts, &answers)?;
        let judged = judging.elapsed();
        self.describe(&mut report, &mut sums, &answers, &scores);
        let learning = Instant::now();
        let mut resting = Duration::ZERO;
        let mut rest = |took: Duration| {
            let before = Instant::now();
            pause(took);
            resting += before.elapsed();
        };
        self.learn(answers, &scores, &mut report, &mut sums, &mut rest)?;
        let learnt = learning.elapsed().saturating_sub(resting);
        report.took = wrote + judged + learnt;
        sums.add(&[
            ("rollout_seconds", wrote.as_secs_f64(), 1.0),
            ("reward_seconds", judged.as_secs_f64(), 1.0),
            ("update_seconds", learnt.as_secs_f64(), 1.0),
        ]);
        let mut metrics = sums.means();
        metrics.append(&mut report.metrics);
        report.metrics = metrics;
        self.core.progress.step += 1;
        self.core.progress.tokens += report.rows;
        self.core.progress.cursor = self.batcher.cursor();
        self.core.progress.last.1 = Some(report.loss.to_bits());
        Ok(Some(report))
    }

    fn write(&mut self, examples: &[usize]) -> Result<Vec<Answer>, TrainError> {
        let asked: Vec<(usize, &RlPrompt)> =
            examples.iter().filter_map(|i| Some((*i, self.prompts.get(*i)?))).collect();
        let (seed, step) = (self.core.settings.seed, self.core.progress.step);
        rollout::write(&mut self.core.engine, &self.tokenizer, &asked, &self.options, seed, step)
    }

    /// Puts what the answers are like into the report.
    fn describe(&self, report: &mut StepReport, sums: &mut Sums, answers: &[Answer], scores: &Scores) {
        let finite = || scores.total.iter().copied().filter(|r| r.is_finite());
        let count = finite().count() as f64;
        let mean = finite().sum::<f64>() / count.max(1.0);
        let spread = (finite().map(|r| (r - mean).powi(2)).sum::<f64>() / count.max(1.0)).sqrt();
        if count > 0.0 {
            sums.add(&[("reward", mean, 1.0), ("reward_std", spread, 1.0)]);
        }
        for answer in answers {
            let surprise: f64 = answer.old.iter().map(|l| -f64::from(*l)).sum();
            sums.add(&[
                ("entropy", surprise, answer.len() as f64),
                ("length", answer.len() as f64, 1.0),
                ("truncated", f64::from(u8::from(answer.truncated)), 1.0),
            ]);
        }
        for (name, values) in &scores.parts {
            let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
            if !finite.is_empty() {
                let mean = finite.iter().sum::<f64>() / finite.len() as f64;
                report.metrics.push((format!("reward/{name}"), mean));
            }
        }
        for (index, answer) in answers.iter().enumerate() {
            let parts = scores.parts.iter().map(|(name, values)| (name.clone(), values[index])).collect();
            report.samples.push(Sample {
                prompt: self.prompts.get(answer.prompt).map_or(String::new(), |p| p.text.clone()),
                completion: answer.text.clone(),
                reward: Some(scores.total[index]),
                parts,
            });
        }
        report.notes.extend(scores.notes.iter().cloned());
        if scores.bad > 0 {
            report.notes.push(format!(
                "{} of {} answers got a reward that is no finite number: they are left out",
                scores.bad,
                answers.len()
            ));
        }
        for ((name, _), silent) in scores.parts.iter().zip(&scores.silent) {
            if *silent > 0 {
                report
                    .notes
                    .push(format!("`{name}` had nothing to say about {silent} answers: counted as 0"));
            }
        }
    }

    fn learn(
        &mut self,
        answers: Vec<Answer>,
        scores: &Scores,
        report: &mut StepReport,
        sums: &mut Sums,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<(), TrainError> {
        let rewards: Vec<f64> = scores
            .total
            .iter()
            .zip(&answers)
            .map(|(r, a)| if a.truncated { r - self.options.missing_end } else { *r })
            .collect();
        let with_reference = has_reference(&self.options);
        let how = (self.options.temperature, self.core.settings.batch);
        let mut all = learn::experiences(&mut self.core.engine, answers, with_reference, how, pause)?;
        if with_reference && !all.is_empty() {
            let kl = all.iter().map(Experience::divergence).sum::<f64>() / all.len() as f64;
            sums.add(&[("kl", kl, 1.0)]);
            if !self.within_limit(kl, scores, report)? {
                return Ok(());
            }
        }
        let method = self.options.method.stricter(self.core.progress.strictness);
        let something = learn::advantages(
            &mut self.core.engine,
            &mut all,
            &rewards,
            &method,
            &self.options,
            (self.value, self.core.settings.batch),
        )?;
        if !something {
            report.skipped = true;
            report.notes.push(if scores.bad == rewards.len() {
                "no answer could be judged: nothing to learn, the step is skipped".into()
            } else {
                "all answers to a prompt got the same reward: nothing to learn, the step is skipped".into()
            });
            return Ok(());
        }
        self.updates(&all, &method, report, sums, pause)
    }

    fn updates(
        &mut self,
        all: &[Experience],
        method: &Method,
        report: &mut StepReport,
        sums: &mut Sums,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<(), TrainError> {
        let each = (self.options.passes * self.options.minibatches) as u64;
        let (seed, step) = (self.core.settings.seed, self.core.progress.step);
        let mut count = 0.0;
        for pass in 0..self.options.passes as u64 {
            let order = step * self.options.passes as u64 + pass;
            for batch in learn::minibatches(all, &self.options, seed, order) {
                self.core.engine.clear()?;
                let dropout = (seed as u32) ^ (self.core.progress.updates as u32).wrapping_mul(0x9e37_79b9);
                let update = learn::Update {
                    method,
                    max_new: self.options.max_new,
                    value: self.value,
                    temperature: self.options.temperature,
                    seed: dropout,
                    together: self.core.settings.batch,
                };
                let learnt = update.gradients(&mut self.core.engine, all, &batch, sums, pause)?;
                let done = self.core.progress.updates;
                let updated = self.core.update(learnt.loss, done, self.total.max(1) * each)?;
                self.core.progress.updates += 1;
                count += 1.0;
                report.loss += learnt.loss;
                report.rows += learnt.rows;
                report.targets += learnt.targets;
                report.grad_norm += updated.grad_norm;
                report.rate = updated.rate;
                report.skipped |= updated.skipped;
            }
        }
        report.loss /= f64::max(count, 1.0);
        report.grad_norm /= f64::max(count, 1.0);
        Ok(())
    }

    /// Keeps a policy that is within the limit; takes one back that is not.
    fn within_limit(
        &mut self,
        kl: f64,
        scores: &Scores,
        report: &mut StepReport,
    ) -> Result<bool, TrainError> {
        let Some(limit) = self.options.kl_limit else { return Ok(true) };
        if kl <= limit {
            let finite: Vec<f64> = scores.total.iter().copied().filter(|r| r.is_finite()).collect();
            let reward = finite.iter().sum::<f64>() / finite.len().max(1) as f64;
            self.core.best = Some(self.core.values()?);
            self.core.progress.best = Some((reward.to_bits(), self.core.progress.step));
            self.core.progress.worse = 0;
            return Ok(true);
        }
        self.core.progress.worse += 1;
        self.core.progress.strictness *= 2.0;
        report.skipped = true;
        let Some(kept) = self.core.best.take() else {
            return Err(TrainError::Data(format!(
                "the policy is {kl:.2} nats from the reference before it has learnt anything; raise the limit of {limit}"
            )));
        };
        self.core.set_blocks(&kept)?;
        self.core.best = Some(kept);
        report.notes.push(format!(
            "{kl:.2} nats from the reference, beyond the limit of {limit}: taken back to the last policy within it, \
             and the cost of departing is doubled"
        ));
        if self.core.progress.worse >= u64::from(RETREATS) {
            self.ended = Some(Ended::Limit);
        }
        Ok(false)
    }
}

/// Sets all branches to where training begins: the policy and its reference, the value model, the reward models.
fn load(
    engine: &mut Engine,
    judges: &Judges,
    options: &RlOptions,
    from: Option<&Adapter>,
    (value, models): (Option<usize>, &[ModelJudge]),
) -> Result<(), TrainError> {
    if let Some(adapter) = from {
        load_adapter(engine, adapter)?;
        if has_reference(options) && options.against == Against::Start {
            load_branch(engine, REFERENCE, adapter)?;
        }
    }
    let start = judges.models.first().map(|(adapter, _)| adapter).or(from);
    if let (Some(branch), Some(adapter)) = (value, start) {
        load_branch(engine, branch, adapter)?;
    }
    for (judge, (adapter, _)) in models.iter().zip(&judges.models) {
        if adapter.head.is_none() {
            return Err(TrainError::Data(format!("`{}` is no reward model: it has no head", judge.name)));
        }
        load_branch(engine, judge.branch, adapter)?;
    }
    Ok(())
}

/// What a run is known by when it is resumed.
fn objective(options: &RlOptions, mix: &Mix, models: &[ModelJudge]) -> serde_json::Value {
    let parts = mix.parts().map(|(name, weight)| (name.to_owned(), weight));
    let rewards: Vec<(String, f64)> =
        parts.chain(models.iter().map(|m| (m.name.clone(), m.weight))).collect();
    let mut all = serde_json::json!({ "rl": options, "rewards": rewards });
    if let (Some(all), true) = (all.as_object_mut(), options.temperature != 1.0) {
        // Runs of versions that had them at 1 are not gone on with at another temperature.
        all.insert("log-probabilities at".into(), options.temperature.into());
    }
    all
}

/// Whether the model before training is asked.
fn has_reference(options: &RlOptions) -> bool {
    options.method.needs_reference() || options.kl_limit.is_some()
}

/// Branches beside the policy, where the value model is, and the reward models.
fn branches(
    model: &Model,
    judges: &Judges,
    options: &RlOptions,
    settings: &Settings,
    from: Option<&Adapter>,
) -> (Vec<Branch>, Option<usize>, Vec<ModelJudge>) {
    let mut branches = Vec::new();
    if has_reference(options) {
        branches.push(reference(options.against, from));
    }
    let mut value = None;
    if matches!(options.method, Method::Ppo(_)) {
        let start = judges.models.first().map(|(adapter, _)| adapter).or(from);
        let adapters = match start {
            Some(adapter) => shape_of(adapter, settings.lora.dropout),
            None => settings.lora.shape(model),
        };
        branches.push(Branch { name: "value".into(), adapters, head: BranchHead::Scalar, trained: true });
        value = Some(branches.len());
    }
    let mut models = Vec::new();
    for (index, (adapter, weight)) in judges.models.iter().enumerate() {
        let name = if adapter.name.is_empty() { format!("model{}", index + 1) } else { adapter.name.clone() };
        let (adapters, head) = (shape_of(adapter, 0.0), BranchHead::Scalar);
        branches.push(Branch { name: format!("reward{}", index + 1), adapters, head, trained: false });
        models.push(ModelJudge { name, branch: branches.len(), weight: *weight });
    }
    (branches, value, models)
}
