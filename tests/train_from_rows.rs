//! From conversations in memory to an adapter.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use emberlm::model::Model;
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::text::Message;
use emberlm::train::{LoraOptions, Place, Settings, Trainer};

fn talk(question: &str, answer: &str) -> Vec<Message> {
    vec![Message::new("user", question), Message::new("assistant", answer)]
}

#[test]
fn rows_of_messages_are_learnt() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch/llama-tied.gguf");
    let model = Model::open(path).unwrap();
    let rows = [talk("one", "two"), talk("three", "four"), vec![Message::new("user", "and?")]];
    let settings = Settings {
        lora: LoraOptions { rank: 4, alpha: 8.0, ..LoraOptions::default() },
        learning_rate: 1e-2,
        epochs: 20,
        seq: 64,
        ..Settings::default()
    };
    let device = SessionOptions { device: DeviceChoice::Cpu, ..SessionOptions::default() };
    let place = Place { device, ..Place::default() };
    let (mut trainer, report) = Trainer::from_rows(&model, &rows, &settings, &place).unwrap();
    assert_eq!((report.rows, report.examples, report.skipped_count()), (3, 2, 1));
    let mut losses = Vec::new();
    while let Some(step) = trainer.step(&mut |_| ()).unwrap() {
        losses.push(step.loss);
    }
    assert!(losses.len() == 20 && losses[19] < losses[0], "{losses:?}");
    assert!(trainer.adapter(Default::default()).unwrap().pairs.iter().any(|pair| pair.norm() > 0.0));
    let Err(error) = Trainer::from_rows(&model, &rows[2..], &settings, &place) else {
        panic!("nothing is learnt")
    };
    assert!(error.to_string().contains("1 skipped"), "{error}");
}
