//! A correction is learnt, asked for, and rolled back:
//! `cargo run --release --no-default-features --features train --example learn_and_roll_back -- MODEL.gguf`
use std::error::Error;
use std::ops::ControlFlow;

use emberlm::adapter::BaseFingerprint;
use emberlm::journal::live::Live;
use emberlm::journal::{Entry, Feedback, Journal, Said};
use emberlm::learn::{Event, LearnOptions, Learner, Outcome, Places};
use emberlm::model::Model;
use emberlm::session::SessionOptions;

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::open(std::env::args().nth(1).ok_or("usage: learn_and_roll_back MODEL.gguf")?)?;
    let base = BaseFingerprint::of(model.file())?;
    let folder = std::env::temp_dir().join("ember-learns");
    let places = Places {
        journal: folder.join("journal.jsonl"),
        live: folder.join("live"),
        cache: Some(folder.join("cache")),
    };
    std::fs::create_dir_all(&folder)?;
    Journal::open(&places.journal)?.append(&Entry {
        base: base.short().into(),
        messages: vec![Said::user("Where does Ada live?")],
        answer: "I do not know.".into(),
        feedback: Feedback::Edit { better: "Ada lives in Porto.".into() },
        ..Entry::default()
    })?;
    let options = LearnOptions { again: true, ..LearnOptions::default() };
    let learner = Learner::open(&model, places.clone(), options, None)?;
    println!("{} facts and {} remarks about style to learn", learner.counts().0, learner.counts().1);
    let outcome = learner.run(&SessionOptions::default(), &mut |event| {
        if let Event::Asked { known, of, .. } = event {
            println!("{known} of {of} known");
        }
        ControlFlow::Continue(())
    })?;
    match outcome {
        Outcome::Learnt(report) => println!("version {} is live", report.version.number),
        Outcome::Refused(refusal) => return Err(format!("nothing has changed: {}", refusal.why).into()),
        Outcome::Ended => return Ok(()),
    }
    let mut live = Live::open_folder(&places.live)?;
    live.roll_back(None, "2026-11-30T00:00:00Z")?;
    println!("rolled back; {} version(s) are kept", live.versions().len());
    Ok(())
}
