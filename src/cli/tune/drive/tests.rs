//! Runs whose device is lost while the command drives them: all weights are trained, of which nothing is kept in memory.

use super::*;
use crate::model::Model;
use crate::session::{DeviceChoice, SessionOptions};
use crate::train::data::{Example, Source};
use crate::train::{Place, Settings};

/// A run of sixty steps.
fn trainer() -> Trainer {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/arch/llama-tied.gguf");
    let model = Model::open(file).unwrap();
    let vocab = model.config().vocab as u32;
    let tokens = |i: u32| (0..9).map(|k| (i * 31 + k * 7 + 3) % vocab).collect();
    let example = |i: u32| Example::new(tokens(i), vec![true; 9], Source::default());
    let settings = Settings { full: true, batch: 2, epochs: 20, learning_rate: 1e-3, ..Settings::default() };
    let device = SessionOptions { device: DeviceChoice::Gpu, ..SessionOptions::default() };
    let place = Place { device, ..Place::default() };
    Trainer::new(&model, (0..6).map(example).collect(), vec![], &settings, &place, None).unwrap()
}

fn job(folder: &Path) -> Job {
    let files = crate::cli::tune::files::Files::beside(&folder.join("made"), None).unwrap();
    let outputs = Outputs { files, begin: Default::default(), found: Default::default() };
    Job::new(outputs, "a test".into(), BTreeMap::new())
}

fn args() -> RunArgs {
    RunArgs {
        save_every: Some(5),
        pause_at: None,
        duty: None,
        #[cfg(feature = "plot")]
        plot: None,
    }
}

/// (step, loss) of each line of the metrics.
fn losses(job: &Job) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(&job.outputs.files.metrics).unwrap();
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["step"].as_u64().unwrap(), line["loss"].as_f64().unwrap())
    };
    text.lines().map(line).collect()
}

fn trip(trainer: &mut Trainer) {
    trainer.engine().executor_mut().breaker().unwrap().trip();
}

/// What was saved is gone back to, with the metrics; without it the beginning.
#[test]
fn a_run_goes_on_from_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (mut run, job) = (trainer(), job(folder.path()));
    let mut store = open_store(&mut run, &job).unwrap();
    let mut metrics = Metrics::open(&job.outputs.files.metrics, 0).unwrap();
    let advance = |run: &mut Trainer, metrics: &mut Metrics, steps: usize| {
        for _ in 0..steps {
            metrics.write(&run.step(&mut |_| ()).unwrap().unwrap()).unwrap();
        }
    };
    let lose = |run: &mut Trainer| {
        trip(run);
        run.step(&mut |_| ()).unwrap_err()
    };
    advance(&mut run, &mut metrics, 2);
    let error = lose(&mut run);
    go_on(&mut run, error, &mut store, &mut metrics, &job).unwrap();
    assert_eq!((run.step_count(), losses(&job).len()), (0, 0), "nothing was saved");
    advance(&mut run, &mut metrics, 4);
    save(&mut run, &mut store, &mut metrics, &job).unwrap();
    advance(&mut run, &mut metrics, 3);
    let told = losses(&job);
    let error = lose(&mut run);
    go_on(&mut run, error, &mut store, &mut metrics, &job).unwrap();
    assert_eq!(run.step_count(), 4);
    assert_eq!(losses(&job), told[..4]);
    advance(&mut run, &mut metrics, 3);
    assert_eq!(losses(&job), told, "what is done again is the same");
    // An error that is not the device's ends the run.
    let other = TrainError::Adapter("no".into());
    assert!(go_on(&mut run, other, &mut store, &mut metrics, &job).is_err());
}

/// A device that is lost in the middle leaves no trace in what the run makes.
#[test]
fn a_driven_run_makes_the_same_when_its_device_is_lost() {
    let [whole, broken] = [false, true].map(|lost| {
        let folder = tempfile::tempdir().unwrap();
        let (mut run, job) = (trainer(), job(folder.path()));
        let breaker = run.engine().executor_mut().breaker().unwrap();
        let state = job.outputs.files.state.clone();
        // Once something has been saved, in the middle of a step or between two.
        let watch = std::thread::spawn(move || {
            let begun = Instant::now();
            let there = |slot: &str| std::fs::metadata(state.join(slot)).is_ok_and(|found| found.len() > 0);
            while lost && begun.elapsed() < Duration::from_secs(120) {
                if there("run.0") || there("run.1") {
                    breaker.trip();
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            false
        });
        drive(&mut run, &job, &args()).unwrap();
        assert_eq!(watch.join().unwrap(), lost);
        // The device that was lost answers nothing any more: this is another.
        let id = run.engine().trained()[0].0;
        run.engine().read(id).unwrap();
        (losses(&job), std::fs::read(&job.outputs.files.result).unwrap())
    });
    assert_eq!(whole.0.len(), 60);
    assert_eq!(whole.0, broken.0);
    assert!(whole.1 == broken.1, "the model");
}
