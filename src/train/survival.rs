//! How a run outlives its device: how its engine is made, and the last state that is at hand in memory.

use std::time::{Duration, Instant};

use crate::exec::DeviceKind;
use crate::model::Model;
use crate::session::places::{DeviceError, Places};
use crate::train::auto::preference;
use crate::train::core::{Core, Progress};
use crate::train::{Ended, Engine, EngineOptions, TrainError, initialize};

/// Keeping the state in memory takes at most this part of the time.
const SHARE: u32 = 20;

/// Sets what an engine is to begin with.
type Load = Box<dyn Fn(&mut Engine) -> Result<(), TrainError> + Send>;

/// What a run needs to go on after its device has failed.
pub(super) struct Survival {
    model: Model,
    options: EngineOptions,
    seed: u64,
    load: Load,
    places: Places,
    kept: Option<Kept>,
    /// What keeping took last, and when that was.
    cost: (Duration, Instant),
    /// The step at which the device failed last.
    failed_at: Option<u64>,
}

/// The state after a step.
struct Kept {
    /// Values and both moments, by block.
    blocks: Vec<[Vec<f32>; 3]>,
    best: Option<Vec<Vec<f32>>>,
    progress: Progress,
    ended: Option<Ended>,
}

impl Survival {
    /// Of a run that begins as `seed` and `load` say.
    pub fn new(model: &Model, options: EngineOptions, seed: u64, load: Load) -> Self {
        Self {
            model: model.clone(),
            places: Places::new(&options.device),
            options,
            seed,
            load,
            kept: None,
            cost: (Duration::ZERO, Instant::now()),
            failed_at: None,
        }
    }

    /// An engine in the state in which training begins, where it can be booted.
    pub fn engine(&mut self) -> Result<Engine, TrainError> {
        self.places.prefer(|_| preference(&self.model, &self.options));
        self.places.boot(|device, options| {
            let options = EngineOptions { device: options.clone(), ..self.options.clone() };
            let mut engine = Engine::boot_on(device, &self.model, &options)?;
            initialize(&mut engine, self.seed)?;
            (self.load)(&mut engine)?;
            Ok::<_, TrainError>(engine)
        })
    }

    /// The state was changed otherwise than by the run's steps: what was kept is of no use.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// Keeps the state of adapters in memory where a device can be lost, as often as that costs next to nothing. All weights of a
    /// model would take three times their memory: such a run goes on from what was saved.
    pub fn keep(&mut self, core: &mut Core) -> Result<(), TrainError> {
        let (took, when) = self.cost;
        let early = self.kept.is_some() && when.elapsed() < took * SHARE;
        if early || core.settings.full || core.engine.device().kind == DeviceKind::Cpu {
            return Ok(());
        }
        let start = Instant::now();
        self.kept = Some(Kept::of(core)?);
        self.cost = (start.elapsed(), Instant::now());
        Ok(())
    }

    /// Whether there is a state in memory to go back to.
    pub fn has_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Boots an engine anew after a device failed, and goes back to the state that was kept, else to where training begins. What
    /// happened, for people.
    ///
    /// # Errors
    /// `error`, if it was not a device's, or no device is left.
    pub fn go_back(&mut self, core: &mut Core, error: TrainError) -> Result<String, TrainError> {
        let device = core.engine.device().clone();
        let Some(failure) = error.of_device() else { return Err(error) };
        let (why, step) = (failure.to_string(), core.progress.step);
        let progress = self.failed_at.is_none_or(|at| step > at);
        if !self.places.flee(&device, failure, progress) {
            return Err(error);
        }
        self.failed_at = Some(step);
        // Two engines would need twice the memory.
        core.engine.release(&why);
        let Ok(engine) = self.engine() else { return Err(error) };
        core.engine = engine;
        match &self.kept {
            Some(kept) => kept.restore(core)?,
            None => (core.best, core.ended, core.progress) = (None, None, core.progress.beginning()),
        }
        let device = core.engine.device();
        Ok(format!("{why}; going on after step {}, on {}", core.progress.step, device.name))
    }
}

impl Kept {
    fn of(core: &mut Core) -> Result<Self, TrainError> {
        let mut blocks = Vec::new();
        for block in core.engine.plans().blocks.clone() {
            let mut read = |id| core.engine.read(id);
            blocks.push([read(block.values)?, read(block.first)?, read(block.second)?]);
        }
        Ok(Self { blocks, best: core.best.clone(), progress: core.progress.clone(), ended: core.ended })
    }

    fn restore(&self, core: &mut Core) -> Result<(), TrainError> {
        let places = core.engine.plans().blocks.clone();
        let fits = |(place, kept): (&crate::model::TrainedBlock, &[Vec<f32>; 3])| {
            core.engine.program().get(place.values).width == kept[0].len()
        };
        if places.len() != self.blocks.len() || !places.iter().zip(&self.blocks).all(fits) {
            let why = "this device holds what is trained in other pieces than the one that failed".into();
            return Err(TrainError::Adapter(why));
        }
        for (place, [values, first, second]) in places.iter().zip(&self.blocks) {
            core.engine.write(place.values, values)?;
            core.engine.write(place.first, first)?;
            core.engine.write(place.second, second)?;
        }
        (core.best, core.progress, core.ended) = (self.best.clone(), self.progress.clone(), self.ended);
        Ok(())
    }
}
