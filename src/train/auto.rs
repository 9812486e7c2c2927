//! Booting where training is fastest: with `auto` a step of the run's own kind is measured on each device, once for each model.

use std::time::Instant;

use crate::exec::choice::{Phase, Rates};
use crate::model::Model;
use crate::session::auto::{Field, Preference, prefer};
use crate::session::boot::Device;
use crate::session::places::Places;
use crate::train::{Engine, EngineOptions, Sequence, TrainError};

/// Most tokens of the step that is measured.
const TOKENS: usize = 64;
/// A step that takes longer is not run again with what was made when it was first needed already there.
const LONG: f64 = 2.0;
/// Tokens whose time is told.
const WORK: [(Phase, u64); 1] = [(Phase::Training, 1000)];

impl Engine {
    /// Opens the device, draws the map, checks it against the budget, and allocates. Everything trained is zero.
    ///
    /// # Errors
    /// [`TrainError::Model`] with a [`BudgetError`](crate::plan::BudgetError) if the map does not fit, naming what would.
    pub fn boot(model: &Model, options: &EngineOptions) -> Result<Self, TrainError> {
        let mut places = Places::new(&options.device);
        places.prefer(|_| preference(model, options));
        places.boot(|device, place| {
            Self::boot_on(device, model, &EngineOptions { device: place.clone(), ..options.clone() })
        })
    }
}

/// The fastest device for training; `None` where there is nothing to choose. What the model writes in a run on rewards is not measured.
pub(super) fn preference(model: &Model, options: &EngineOptions) -> Option<Preference> {
    among(&Field::of(&options.device)?, model, options)
}

fn among(field: &Field, model: &Model, options: &EngineOptions) -> Option<Preference> {
    let ranks: Vec<usize> = options.adapters.pairs.values().map(|pair| pair.rank).collect();
    let what = format!("training {:?} {:?} {ranks:?}", options.train, options.recompute);
    prefer(field, model, &options.device, &what, &WORK, &mut |place| {
        let rows = options.rows.clamp(1, TOKENS);
        let (branches, rollouts) = (vec![], None);
        let small =
            EngineOptions { device: place.clone(), rows, seq: rows, branches, rollouts, ..options.clone() };
        measure(&mut Engine::boot_on(Device::open(&small.device)?, model, &small)?, rows)
    })
}

/// Tokens a second of a step's gradient.
fn measure(engine: &mut Engine, rows: usize) -> Result<Rates, TrainError> {
    let vocab = engine.model().config().vocab as u32;
    let tokens: Vec<u32> = (0..=rows as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) % vocab).collect();
    let trained = vec![true; tokens.len()];
    let mut seconds = f64::INFINITY;
    for _ in 0..2 {
        let start = Instant::now();
        engine.gradient(&[Sequence { tokens: &tokens, trained: &trained }], &vec![-1.0; rows], 0)?;
        seconds = seconds.min(start.elapsed().as_secs_f64().max(1e-9));
        if seconds > LONG {
            break;
        }
    }
    Ok(vec![(Phase::Training, rows as f64 / seconds)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Train;
    use crate::session::{DeviceChoice, SessionOptions};
    use crate::train::LoraOptions;

    #[test]
    fn a_training_step_is_measured() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/arch/llama-tied.gguf");
        let model = Model::open(file).unwrap();
        let device = SessionOptions { device: DeviceChoice::Cpu, ..SessionOptions::default() };
        let adapters = LoraOptions { rank: 2, ..LoraOptions::default() }.shape(&model);
        let train = Train::Adapters;
        let options =
            EngineOptions { device, rows: 12, seq: 12, train, adapters, ..EngineOptions::default() };
        let rates = measure(&mut Engine::boot(&model, &options).unwrap(), 12).unwrap();
        assert!(
            matches!(rates[..], [(Phase::Training, rate)] if rate > 0.0 && rate.is_finite()),
            "{rates:?}"
        );
        assert_eq!(preference(&model, &options), None, "a device was asked for");
    }

    /// The CPU and the software rasterizer, which `auto` does not take by itself: a step is measured on each once, and kept.
    #[cfg(feature = "gpu")]
    #[test]
    fn a_training_step_is_measured_on_both_devices() {
        use crate::session::speeds;
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/arch/llama-tied.gguf");
        let (model, folder) = (Model::open(file).unwrap(), tempfile::tempdir().unwrap());
        let device = SessionOptions { notes: Some(folder.path().to_owned()), ..SessionOptions::default() };
        let adapters = LoraOptions { rank: 2, ..LoraOptions::default() }.shape(&model);
        let options = EngineOptions {
            device,
            rows: 12,
            seq: 12,
            train: Train::Adapters,
            adapters,
            ..EngineOptions::default()
        };
        let field = Field::with(&options.device, "");
        let found = among(&field, &model, &options).unwrap();
        let known = speeds(folder.path());
        let measured = &known[0].speeds;
        let rates: Vec<f64> = measured.iter().map(|speed| speed.rates[&Phase::Training]).collect();
        assert!(rates.len() == 2 && measured.iter().all(|speed| speed.rates.len() == 1), "{measured:?}");
        let best = usize::from(rates[1] > rates[0]);
        assert_eq!(found.device == DeviceChoice::Cpu, best == 0, "{rates:?}");
        assert!(found.why.starts_with("1000 tokens of training took "), "{}", found.why);
        assert!(found.why.contains(&format!("on {} ", measured[1 - best].device)), "{}", found.why);
        assert_eq!(among(&field, &model, &options), Some(found), "the same without measuring");
        assert_eq!(speeds(folder.path()), known);
        // Other kinds of runs are measured by themselves.
        let full = EngineOptions { train: Train::All, adapters: Default::default(), ..options };
        among(&field, &model, &full).unwrap();
        assert_eq!(speeds(folder.path()).len(), 2);
    }
}
