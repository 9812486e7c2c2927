//! Reward-guided training: the model writes answers, they are judged, and what was better than expected becomes likelier.
//! Policy, reference, reward and value models are one base with different adapters and heads.

mod learn;
mod options;
mod rollout;

use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::model::{Branch, BranchHead, Model};
use crate::text::Tokenizer;
use crate::train::adapters::trained;
use crate::train::core::Core;
use crate::train::data::Batching;
use crate::train::order::{Order, Window};
use crate::train::report::Stage;
use crate::train::reward::{Mix, Scores};
use crate::train::task::{Contribution, Task, Update};
use crate::train::trainer::{REFERENCE, Start, reference};
use crate::train::{
    Against, Ended, Engine, EngineOptions, Place, Rollouts, Sample, Settings, TrainError, Trainer,
    load_adapter, load_branch, shape_of,
};

pub use options::{COLDEST, Method, RlOptions};
pub use rollout::{Answer, write};

use learn::{Experience, Lesson};
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

/// Writes answers, has them judged, and learns from that.
struct RlTask {
    options: RlOptions,
    tokenizer: Tokenizer,
    prompts: Vec<RlPrompt>,
    mix: Mix,
    models: Vec<ModelJudge>,
    value: Option<usize>,
    /// What the step learns from, once it is written and judged.
    lesson: Option<Lesson>,
    /// What writing, judging and all before learning took.
    times: (Duration, Duration, Duration),
}

impl Trainer {
    /// Learns from rewards. The policy begins with `from`; without it, with new adapters. A PPO's value model begins with the
    /// first reward model, if there is one. What is kept is the latest policy, or, under a limit of the divergence, the
    /// latest that was found within it.
    ///
    /// # Errors
    /// [`TrainError::Data`] if there is nothing to answer or options make no sense, [`TrainError::Model`] if the map does
    /// not fit the budget.
    pub fn rl(
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
        let order = Order::shuffled(vec![1; prompts.len()], batching, 1, settings.seed)?;
        let longest = prompts.iter().map(|p| p.tokens.len()).max().unwrap_or(1);
        if prompts.iter().any(|p| p.tokens.is_empty()) {
            return Err(data("a prompt has no tokens".into()));
        }
        let (train, adapters) = trained(model, settings, from)?;
        let (branches, value, models) = branches(model, &judges, options, settings, from);
        let engine = EngineOptions {
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
        let total = settings.max_steps.unwrap_or_else(|| order.steps_in(0) * settings.epochs);
        let Judges { mix, models: adapters } = judges;
        let (options, judging) = (options.clone(), models.clone());
        let (first, same) = (from.cloned(), options.clone());
        let load =
            move |engine: &mut Engine| load(engine, &adapters, &same, first.as_ref(), (value, &judging));
        let task = RlTask {
            options: options.clone(),
            tokenizer,
            prompts,
            mix,
            models,
            value,
            lesson: None,
            times: Default::default(),
        };
        let start = Start { task: Box::new(task), order, total, options: engine };
        let mut trainer = Self::start(model, settings, start, load)?;
        trainer.core.progress.strictness = 1.0;
        Ok(trainer)
    }
}

impl Task for RlTask {
    fn describe(&self) -> serde_json::Value {
        objective(&self.options, &self.mix, &self.models)
    }

    fn judged(&self) -> &'static str {
        "reward"
    }

    fn begin(
        &mut self,
        core: &mut Core,
        window: &Window,
        stage: &mut Stage<'_>,
    ) -> Result<Vec<Update>, TrainError> {
        let start = Instant::now();
        let answers = self.write(core, &window.items())?;
        let wrote = start.elapsed();
        stage.pace.rest(wrote);
        let start = Instant::now();
        let scores = rollout::judge(&mut core.engine, &mut self.mix, &self.models, &self.prompts, &answers)?;
        let judged = start.elapsed();
        self.tell(stage, &answers, &scores);
        self.times = (wrote, judged, stage.pace.worked());
        self.lesson = self.lesson_of(core, answers, &scores, stage)?;
        let (seed, progress) = (core.settings.seed, &core.progress);
        let updates =
            |lesson: &Lesson| lesson.updates(&self.options, seed, (progress.step, progress.updates));
        Ok(self.lesson.as_ref().map_or_else(Vec::new, updates))
    }

    fn open(&mut self, items: &[usize]) {
        if let Some(lesson) = &mut self.lesson {
            lesson.open(items);
        }
    }

    fn gradient(
        &mut self,
        engine: &mut Engine,
        items: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError> {
        self.lesson.as_ref().map_or(Ok(()), |lesson| lesson.gradient(engine, items, seed, part))
    }

    fn end(&mut self, stage: &mut Stage<'_>) {
        let (wrote, judged, before) = self.times;
        let learnt = stage.pace.worked().saturating_sub(before);
        stage.sums.add(&[
            ("rollout_seconds", wrote.as_secs_f64(), 1.0),
            ("reward_seconds", judged.as_secs_f64(), 1.0),
            ("update_seconds", learnt.as_secs_f64(), 1.0),
        ]);
        self.lesson = None;
    }

    fn updates(&self) -> Option<u64> {
        Some((self.options.passes * self.options.minibatches) as u64)
    }
}

impl RlTask {
    fn write(&self, core: &mut Core, prompts: &[usize]) -> Result<Vec<Answer>, TrainError> {
        let asked: Vec<(usize, &RlPrompt)> =
            prompts.iter().filter_map(|i| Some((*i, self.prompts.get(*i)?))).collect();
        let (seed, step) = (core.settings.seed, core.progress.step);
        rollout::write(&mut core.engine, &self.tokenizer, &asked, &self.options, seed, step)
    }

    /// Puts what the answers are like into the report.
    fn tell(&self, stage: &mut Stage<'_>, answers: &[Answer], scores: &Scores) {
        let Stage { report, sums, .. } = stage;
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

    /// What there is to learn from judged answers; `None` if nothing is.
    fn lesson_of(
        &self,
        core: &mut Core,
        answers: Vec<Answer>,
        scores: &Scores,
        stage: &mut Stage<'_>,
    ) -> Result<Option<Lesson>, TrainError> {
        let rewards: Vec<f64> = scores
            .total
            .iter()
            .zip(&answers)
            .map(|(r, a)| if a.truncated { r - self.options.missing_end } else { *r })
            .collect();
        let with_reference = has_reference(&self.options);
        let together = core.settings.batch;
        let how = (self.options.temperature, together);
        let mut all = learn::experiences(&mut core.engine, answers, with_reference, how, &mut stage.pace)?;
        if with_reference && !all.is_empty() {
            let kl = all.iter().map(Experience::divergence).sum::<f64>() / all.len() as f64;
            stage.sums.add(&[("kl", kl, 1.0)]);
            if !self.within_limit(core, kl, scores, stage)? {
                return Ok(None);
            }
        }
        let method = self.options.method.stricter(core.progress.strictness);
        let how = (self.value, together);
        let something = learn::advantages(&mut core.engine, &mut all, &rewards, &method, &self.options, how)?;
        if !something {
            stage.report.skipped = true;
            stage.report.notes.push(if scores.bad == rewards.len() {
                "no answer could be judged: nothing to learn, the step is skipped".into()
            } else {
                "all answers to a prompt got the same reward: nothing to learn, the step is skipped".into()
            });
            return Ok(None);
        }
        Ok(Some(Lesson::new(all, method, &self.options, how)))
    }

    /// Keeps a policy that is within the limit; takes one back that is not.
    fn within_limit(
        &self,
        core: &mut Core,
        kl: f64,
        scores: &Scores,
        stage: &mut Stage<'_>,
    ) -> Result<bool, TrainError> {
        let Some(limit) = self.options.kl_limit else { return Ok(true) };
        if kl <= limit {
            let finite: Vec<f64> = scores.total.iter().copied().filter(|r| r.is_finite()).collect();
            let reward = finite.iter().sum::<f64>() / finite.len().max(1) as f64;
            core.mark_best(reward)?;
            return Ok(true);
        }
        core.progress.worse += 1;
        core.progress.strictness *= 2.0;
        stage.report.skipped = true;
        let Some(kept) = core.best.take() else {
            return Err(TrainError::Data(format!(
                "the policy is {kl:.2} nats from the reference before it has learnt anything; raise the limit of {limit}"
            )));
        };
        core.set_blocks(&kept)?;
        core.best = Some(kept);
        stage.report.notes.push(format!(
            "{kl:.2} nats from the reference, beyond the limit of {limit}: taken back to the last policy within it, \
             and the cost of departing is doubled"
        ));
        if core.progress.worse >= u64::from(RETREATS) {
            core.ended = Some(Ended::Limit);
        }
        Ok(false)
    }
}

/// Sets all branches to where training begins: the policy and its reference, the value model, the reward models.
fn load(
    engine: &mut Engine,
    judges: &[(Adapter, f64)],
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
    let start = judges.first().map(|(adapter, _)| adapter).or(from);
    if let (Some(branch), Some(adapter)) = (value, start) {
        load_branch(engine, branch, adapter)?;
    }
    for (judge, (adapter, _)) in models.iter().zip(judges) {
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
