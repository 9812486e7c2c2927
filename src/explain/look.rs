//! Runs the plans of an inspection and reads what they leave.

use std::ops::ControlFlow;

use super::top::{Next, Top};
use super::{ExplainError, Explanation, LayerView, Options, triangle};
use crate::exec::Executor;
use crate::model::{BranchHead, BuildOptions, InspectedLayer, Inspection, Model, Train, build_inspection};
use crate::ops::attention;
use crate::plan::{Layout, Out, Row, Step, TensorId};
use crate::session::SessionOptions;
use crate::session::boot::{Device, context};

/// Positions whose logits are made together.
const OUTPUTS: usize = 32;

/// A booted inspection of one text.
struct Looker<'a> {
    executor: Box<dyn Executor>,
    plans: Inspection,
    tokens: &'a [u32],
    width: usize,
    vocab: usize,
    rows: Vec<Row>,
    words: Vec<u32>,
    /// Pieces of work done, and all.
    done: (usize, usize),
    progress: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
}

/// See [`Explanation::of`], which has checked the tokens.
pub(super) fn look(
    model: &Model,
    tokens: &[u32],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Explanation, ExplainError> {
    let mut looker = Looker::boot(model, tokens, options, progress)?;
    let config = model.config();
    let last = tokens.len() - 1;
    let guessed_from = if options.all_positions { 0 } else { last };
    let lens = (tokens.len() - guessed_from).div_ceil(OUTPUTS);
    looker.done.1 = config.layers.len() * (1 + 2 * lens) + tokens.len().div_ceil(OUTPUTS);
    looker.forward()?;
    let mut layers = Vec::with_capacity(config.layers.len());
    let mut output = Vec::new();
    for (index, layer) in looker.plans.layers.clone().into_iter().enumerate() {
        let (mut view, added) = looker.layer(index, &layer, &mut output)?;
        let mut tops = |stream: &[f32]| {
            let mut all = Vec::new();
            looker.lens(stream, guessed_from, &mut |_, logits| all.push(Top::of(logits, options.guesses)))?;
            Ok::<_, ExplainError>(all)
        };
        (view.added, view.guess) = (tops(&added)?, tops(&output)?);
        layers.push(view);
    }
    let (mut next, mut logits) = (Vec::new(), Vec::new());
    looker.lens(&output, 0, &mut |at, row| {
        next.push(Next::of(row, options.top, tokens.get(at + 1).copied()));
        if at == last {
            logits = row.to_vec();
        }
    })?;
    Ok(Explanation { tokens: tokens.to_vec(), heads: config.heads, layers, next, logits, guessed_from })
}

impl<'a> Looker<'a> {
    fn boot(
        model: &Model,
        tokens: &'a [u32],
        options: &Options,
        progress: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Self, ExplainError> {
        let config = model.config();
        let device = Device::open(&options.device).map_err(Box::new)?;
        let profile = device.profile(options.device.double);
        let build = BuildOptions {
            ctx: context(model, &options.device).max(tokens.len()),
            slots: 1,
            kv: options.device.kv,
            fused: false,
            max_binding: (!profile.mapped_weights).then_some(profile.max_binding),
            adapters: crate::model::AdapterShape::default(),
            train: Train::Nothing,
            head: BranchHead::Tokens,
            branches: vec![],
        };
        let outputs = OUTPUTS.min(tokens.len());
        let (program, plans) = build_inspection(config, &*model.weights(), &build, tokens.len(), outputs)?;
        let layout = Layout::new(&program, profile);
        layout.check(&program, options.device.budget).map_err(crate::model::ModelError::from)?;
        // What is shown is compared with other programs to the fourth digit.
        let exact = SessionOptions { exact: true, ..options.device.clone() };
        let executor = device.untuned().boot(program, &layout, model, exact.arithmetic())?;
        let row = |(pos, token): (usize, &u32)| Row { slot: 0, pos: pos as u32, first: 0, token: *token };
        let rows = tokens.iter().enumerate().map(row).collect();
        let (width, vocab) = (config.width, config.vocab);
        Ok(Self { executor, plans, tokens, width, vocab, rows, words: vec![], done: (0, 0), progress })
    }

    /// A piece of work is done.
    fn tick(&mut self) -> Result<(), ExplainError> {
        self.done.0 += 1;
        match (self.progress)(self.done.0, self.done.1) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExplainError::Stopped),
        }
    }

    fn forward(&mut self) -> Result<(), ExplainError> {
        let step = Step { rows: self.rows.clone(), ..Step::default() };
        let ticket = self.executor.submit(self.plans.forward, &step)?;
        Ok(self.executor.wait(ticket, &mut self.words)?)
    }

    fn read(&mut self, id: TensorId, layer: usize) -> Result<Vec<f32>, ExplainError> {
        let mut values = Vec::new();
        self.executor.read(id, &mut values)?;
        match values.iter().all(|v| v.is_finite()) {
            true => Ok(values),
            false => Err(ExplainError::NotANumber { layer: layer + 1 }),
        }
    }

    /// Attention and lengths of a layer, and what its feed-forward adds, (n, width). Its output goes into `output`.
    fn layer(
        &mut self,
        index: usize,
        layer: &InspectedLayer,
        output: &mut Vec<f32>,
    ) -> Result<(LayerView, Vec<f32>), ExplainError> {
        let (queries, keys) = (self.read(layer.queries, index)?, self.read(layer.keys, index)?);
        let heads = layer.attention.heads as usize;
        let mut attention = Vec::with_capacity(heads * triangle(self.tokens.len()));
        for head in 0..heads {
            for row in &self.rows {
                let weights = attention::weights(&layer.attention, *row, head, &queries, &keys);
                attention.extend(weights.into_iter().map(|w| w as f32));
            }
        }
        let (input, attended) = (self.read(layer.input, index)?, self.read(layer.attended, index)?);
        *output = self.read(layer.output, index)?;
        let by_attention = minus(&attended, &input);
        let by_feed_forward = minus(output, &attended);
        let view = LayerView {
            attention,
            stream: lengths(&input, self.width),
            by_attention: lengths(&by_attention, self.width),
            by_feed_forward: lengths(&by_feed_forward, self.width),
            ..LayerView::default()
        };
        self.tick()?;
        Ok((view, by_feed_forward))
    }

    /// Gives the logits that the output norm and matrix make of the rows of `stream`, (n, width), from a position on.
    fn lens(
        &mut self,
        stream: &[f32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExplainError> {
        self.executor.write(self.plans.lens_input, stream)?;
        let layers = self.plans.layers.len();
        for start in (from..self.tokens.len()).step_by(OUTPUTS) {
            let positions = start..self.tokens.len().min(start + OUTPUTS);
            let out = |row: usize| Out { row: row as u32, pos: row as u32, ..Out::default() };
            let step = Step {
                rows: self.rows.clone(),
                outs: positions.clone().map(out).collect(),
                ..Step::default()
            };
            let ticket = self.executor.submit(self.plans.lens, &step)?;
            self.executor.wait(ticket, &mut self.words)?;
            let logits: &[f32] = bytemuck::cast_slice(&self.words);
            if !logits.iter().all(|v| v.is_finite()) {
                return Err(ExplainError::NotANumber { layer: layers });
            }
            positions.zip(logits.chunks(self.vocab)).for_each(|(at, row)| each(at, row));
            self.tick()?;
        }
        Ok(())
    }
}

fn minus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// L2 norm of each row.
fn lengths(rows: &[f32], width: usize) -> Vec<f32> {
    let length = |row: &[f32]| row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32;
    rows.chunks(width).map(length).collect()
}
