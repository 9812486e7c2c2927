//! What happens when a GPU goes away, or is full: typed errors, answers and runs that go on, and nothing left behind. A loss is
//! made by a breaker, which destroys the device; a shortage by allowing none of its memory. Fails where there is no adapter at
//! all.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{golden, open};
use emberlm::chat::{Answer, Chat, Manner, Piece};
use emberlm::exec::{Breaker, DeviceKind, ExecError, Fullness};
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, Modes, Session, SessionError, SessionOptions};
use emberlm::text::SamplerParams;

/// Memory and files are the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn model() -> Model {
    open(&golden("arch/llama-formats.gguf"))
}

fn options() -> SessionOptions {
    SessionOptions {
        device: DeviceChoice::Gpu,
        ctx: Some(256),
        chunk: Some(16),
        modes: Modes::GENERATE,
        ..SessionOptions::default()
    }
}

fn breaker(session: &Session) -> Breaker {
    session.executor().breaker().expect("a GPU can be lost")
}

/// Writes sixteen tokens; the breaker is tripped at the third.
fn lose(model: &Model) -> SessionError {
    let mut session = Session::new(model, &options()).unwrap();
    let (breaker, mut seen) = (breaker(&session), 0);
    let prompt: Vec<u32> = (5..25).collect();
    let made = session.generate(&prompt, SamplerParams::greedy(), 16, &mut |_| {
        seen += 1;
        if seen == 3 {
            breaker.trip();
        }
        ControlFlow::Continue(())
    });
    assert!(seen < 16, "the device went on");
    // What is asked of it later is refused the same way.
    let later = session.generate(&prompt, SamplerParams::greedy(), 2, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(later, Err(SessionError::Exec(ExecError::DeviceLost(_)))), "{later:?}");
    made.unwrap_err()
}

/// Resident bytes, and open files.
#[cfg(target_os = "linux")]
fn held() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    (kilobytes << 10, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

/// Runs a drill fifty times, after twenty that fill the caches of driver and allocator: no file more is open then, and resident
/// memory has not grown by what a tenth of them held. A session holds at least what its map says, so that even one in ten that
/// is not freed is seen. What is not freed is missing after every fifty; an allocator that takes room for one more thread, or a
/// driver that compiles for the first time, grows once: so up to three further fifties may show that it was that.
#[cfg(target_os = "linux")]
fn leaves_nothing(what: &str, model: &Model, drill: impl Fn()) {
    let session = Session::new(model, &options()).unwrap();
    let each: u64 = session.executor().allocated().iter().map(|(_, bytes)| bytes).sum();
    drop(session);
    (0..20).for_each(|_| drill());
    let mut grown = u64::MAX;
    for _ in 0..4 {
        let before = held();
        (0..50).for_each(|_| drill());
        let after = held();
        grown = after.0.saturating_sub(before.0);
        let files = after.1.saturating_sub(before.1);
        println!("{what}: {} KiB more, {files} files more; a session has {each} bytes", grown >> 10);
        assert_eq!(files, 0, "{what}: files");
        if grown < 5 * each {
            break;
        }
    }
    assert!(grown < 5 * each, "{what}: {grown} bytes more are resident, five sessions have {}", 5 * each);
}

#[test]
#[cfg(target_os = "linux")]
fn fifty_losses_leave_nothing_behind() {
    let _alone = alone();
    let model = model();
    leaves_nothing("losses", &model, || {
        let error = lose(&model);
        assert!(matches!(error, SessionError::Exec(ExecError::DeviceLost(_))), "{error}");
    });
}

#[test]
#[cfg(target_os = "linux")]
fn fifty_shortages_leave_nothing_behind() {
    let _alone = alone();
    let model = model();
    let at = |fullness| SessionOptions { fullness, ..options() };
    let (boot, later) =
        (at(Fullness { buffers: Some(0), work: None }), at(Fullness { buffers: None, work: Some(0) }));
    leaves_nothing("shortages", &model, || {
        // No room for the first buffer, which is one that the driver makes with its device.
        match Session::new(&model, &boot) {
            Err(SessionError::Exec(ExecError::OutOfMemory(why) | ExecError::NoDevice(why))) => {
                assert!(why.contains("emory"), "{why}");
            }
            other => panic!("{:?}", other.map(drop)),
        }
        // No room for what the driver itself needs when work begins: it gives the device up.
        match Session::new(&model, &later) {
            Err(SessionError::Exec(ExecError::DeviceLost(why))) => assert!(why.contains("emory"), "{why}"),
            other => panic!("{:?}", other.map(drop)),
        }
    });
    // The device is as good as it was.
    let mut session = Session::new(&model, &options()).unwrap();
    session.generate(&[5, 6], SamplerParams::greedy(), 4, &mut |_| ControlFlow::Continue(())).unwrap();
}

fn manner() -> Manner {
    let sampler = SamplerParams::greedy();
    Manner { sampler, limit: 24, room: 24, loop_guard: None, ..Manner::default() }
}

fn chat(model: &Model, options: SessionOptions) -> Chat {
    let mut chat = Chat::open(model, options).unwrap();
    chat.conversation.manner = manner();
    chat
}

/// An answer, on whose way the breaker is tripped so many times, each at the fifth token after the last; and what was told of it.
fn say(chat: &mut Chat, text: &str, losses: usize) -> (Answer, String, Vec<(String, DeviceKind)>) {
    // A breaker is of one device: the next one's is taken when it is there.
    let (mut told, mut moves, mut tokens) = (String::new(), vec![], 0);
    let breaker = (losses > 0).then(|| breaker(chat.session().unwrap()));
    let answer = chat.say(text, &mut |piece| {
        match piece {
            Piece::Token(_) => tokens += 1,
            Piece::Answer(text) => told.push_str(text),
            Piece::Moved { why, device } => moves.push((why.to_owned(), device.kind)),
            _ => {}
        }
        if let (5, Some(breaker)) = (tokens, &breaker) {
            breaker.trip();
        }
        ControlFlow::Continue(())
    });
    (answer.unwrap(), told, moves)
}

#[test]
fn an_answer_goes_on_where_its_device_was_lost() {
    let _alone = alone();
    let model = model();
    let (mut whole, mut broken) = (chat(&model, options()), chat(&model, options()));
    let kind = whole.session().unwrap().executor().device().kind;
    for text in ["Why?", "And then?", "Well?"] {
        let (expected, told, moves) = say(&mut whole, text, 0);
        assert!(moves.is_empty() && told == expected.answer);
        assert!(expected.done.tokens.len() > 8, "an answer to be broken");
        let (answer, told, moves) = say(&mut broken, text, 1);
        assert_eq!((&answer.text, &answer.done.tokens), (&expected.text, &expected.done.tokens));
        assert_eq!((told, answer.done.stop), (expected.answer, expected.done.stop));
        assert_eq!(answer.done.log_probs.len(), answer.done.tokens.len());
        // It was lost once, and the same device was taken again.
        assert_eq!(moves.len(), 1, "{moves:?}");
        assert!(moves[0].0.contains("lost") && moves[0].1 == kind, "{moves:?}");
    }
    assert_eq!(whole.conversation.talk.messages, broken.conversation.talk.messages);
}

#[test]
fn a_device_lost_between_answers_is_opened_again() {
    let _alone = alone();
    let model = model();
    let (mut whole, mut chat) = (chat(&model, options()), chat(&model, options()));
    assert_eq!(say(&mut chat, "Why?", 0).0.text, say(&mut whole, "Why?", 0).0.text);
    breaker(chat.session().unwrap()).trip();
    let (answer, _, moves) = say(&mut chat, "Why?", 0);
    assert_eq!(moves.len(), 1);
    assert_ne!(chat.session().unwrap().executor().device().kind, DeviceKind::Cpu);
    assert_eq!(answer.done.tokens, say(&mut whole, "Why?", 0).0.done.tokens);
    assert_eq!(answer.done.reused, 0, "nothing of the lost device is counted");
    // Adapters are switched on a device that is gone as on one that is there.
    breaker(chat.session().unwrap()).trip();
    chat.set_adapters(vec![]).unwrap();
    say(&mut chat, "Why?", 0);
}

#[test]
fn a_full_device_is_left_for_the_cpu_if_any_will_do() {
    let _alone = alone();
    let model = model();
    let full = SessionOptions { fullness: Fullness { buffers: Some(0), work: None }, ..options() };
    let refused = Chat::open(&model, full.clone()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("emory"), "who asked for a device is told: {refused}");
    let any = Session::new(&model, &SessionOptions { device: DeviceChoice::Auto, ..full }).unwrap();
    assert_eq!(any.executor().device().kind, DeviceKind::Cpu);
}

#[cfg(feature = "train")]
mod training {
    use std::collections::BTreeMap;

    use emberlm::io::{CommitStore, FolderSlots};
    use emberlm::train::data::{Example, Source};
    use emberlm::train::{LoraOptions, Place, Settings, Trainer};

    use super::*;

    fn trainer(full: bool) -> Trainer {
        let model = open(&golden("arch/llama-tied.gguf"));
        let vocab = model.config().vocab as u32;
        let tokens = |i: u32| (0..9).map(|k| (i * 31 + k * 7 + 3) % vocab).collect();
        let example = |i: u32| Example::new(tokens(i), vec![true; 9], Source::default());
        let examples = (0..6).map(example).collect();
        let lora = LoraOptions { rank: 2, dropout: 0.1, ..LoraOptions::default() };
        let settings =
            Settings { lora, full, batch: 2, epochs: 4, learning_rate: 1e-2, ..Settings::default() };
        let place = Place { device: options(), ..Place::default() };
        Trainer::new(&model, examples, vec![example(7)], &settings, &place, None).unwrap()
    }

    fn breaker(trainer: &mut Trainer) -> Breaker {
        trainer.engine().executor_mut().breaker().unwrap()
    }

    /// (step, loss as bits) of what is left of a run, and what is trained at its end, as bits.
    fn finish(trainer: &mut Trainer) -> (Vec<(u64, u64)>, Vec<u32>) {
        let mut losses = vec![];
        while let Some(report) = trainer.step(&mut |_| ()).unwrap() {
            losses.push((report.step, report.loss.to_bits()));
        }
        (losses, values(trainer))
    }

    fn values(trainer: &mut Trainer) -> Vec<u32> {
        let engine = trainer.engine();
        let ids: Vec<_> = engine.trained().iter().map(|(id, ..)| *id).collect();
        ids.into_iter().flat_map(|id| engine.read(id).unwrap()).map(f32::to_bits).collect()
    }

    #[test]
    fn a_run_goes_on_after_losses_as_if_there_had_been_none() {
        let _alone = alone();
        let expected = finish(&mut trainer(false));
        assert_eq!(expected.0.len(), 12);
        let mut broken = trainer(false);
        let (mut losses, mut notes) = (vec![], vec![]);
        loop {
            // In the middle of every third step: after its first piece of work; the last time right before it.
            let step = broken.step_count();
            let trip = breaker(&mut broken);
            if step == 9 {
                trip.trip();
            }
            let report = broken.step(&mut |_| {
                if step % 3 == 1 {
                    trip.trip();
                }
            });
            let Some(report) = report.unwrap() else { break };
            losses.push((report.step, report.loss.to_bits()));
            notes.extend(report.notes);
        }
        assert_eq!(notes.len(), 5, "{notes:?}");
        assert!(notes.iter().all(|note| note.contains("lost") && note.contains("going on after step")));
        assert_eq!(losses, expected.0, "losses");
        assert!(values(&mut broken) == expected.1, "weights");
        broken.adapter(BTreeMap::new()).unwrap();
    }

    #[test]
    fn all_weights_go_on_from_what_was_saved() {
        let _alone = alone();
        let expected = finish(&mut trainer(true));
        let mut broken = trainer(true);
        let folder = tempfile::tempdir().unwrap();
        let mut store = CommitStore::open(FolderSlots::open(folder.path(), "state").unwrap()).unwrap();
        for _ in 0..4 {
            broken.step(&mut |_| ()).unwrap().unwrap();
        }
        broken.save(&mut store, "a test").unwrap();
        broken.step(&mut |_| ()).unwrap().unwrap();
        breaker(&mut broken).trip();
        let lost = broken.step(&mut |_| ()).unwrap_err();
        let happened = broken.reopen(lost).unwrap();
        assert!(happened.contains("lost"), "{happened}");
        assert_eq!(broken.step_count(), 0);
        assert!(broken.restore(&mut store, "a test").unwrap());
        let (losses, values) = finish(&mut broken);
        assert_eq!(losses, expected.0[4..], "losses");
        assert!(values == expected.1, "weights");
    }
}
