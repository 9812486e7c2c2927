//! Jobs that join and leave a session while others run: each gives what it gives alone, bit for bit on the CPU, whoever joins,
//! leaves or is cancelled meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use common::{boot, golden, open, options};
use emberlm::model::KvType;
use emberlm::session::{
    DeviceChoice, Event, Generated, Job, JobId, Modes, Request, Scheduler, Session, SessionError,
    SessionOptions, StopReason,
};
use emberlm::text::{SamplerParams, Tokenizer};

const CTX: usize = 128;
/// Token rows of a step, so that prompts take several.
const CHUNK: usize = 8;

fn session(name: &str, slots: usize, kv: KvType) -> (Session, Tokenizer) {
    session_on(DeviceChoice::Cpu, name, slots, kv)
}

fn session_on(device: DeviceChoice, name: &str, slots: usize, kv: KvType) -> (Session, Tokenizer) {
    let model = open(&golden("arch").join(format!("{name}.gguf")));
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata).unwrap();
    let device = options(device, kv, Modes::GENERATE);
    let options = SessionOptions { ctx: Some(CTX), slots, chunk: Some(CHUNK), threads: Some(2), ..device };
    (boot(&model, &options), tokenizer)
}

fn prompt(from: u32, len: u32) -> Vec<u32> {
    (0..len).map(|i| 4 + (from + i * 29) % 240).collect()
}

/// Temperature 1, and penalties that look at the text before.
fn sampler(seed: u32) -> SamplerParams {
    let penalties = SamplerParams { repeat_penalty: 1.1, dry_multiplier: 0.8, ..SamplerParams::greedy() };
    SamplerParams { temperature: 1.0, seed, ..penalties }
}

/// Jobs of other lengths, limits and samplers.
fn jobs() -> Vec<Job> {
    vec![
        Job::new(prompt(7, 60), sampler(1), 20),
        Job::new(prompt(100, 5), sampler(2), 9),
        Job::new(prompt(31, 23), SamplerParams::greedy(), 14),
        Job::new(prompt(200, 1), sampler(4), 17),
    ]
}

/// What came of each job, its text, and the numbers of the steps that brought its tokens.
#[derive(Default)]
struct Heard {
    made: BTreeMap<JobId, Generated>,
    text: BTreeMap<JobId, String>,
    steps: BTreeMap<JobId, Vec<usize>>,
    step: usize,
}

impl Heard {
    /// A step of the scheduler; whether there is more to do.
    fn step(&mut self, scheduler: &mut Scheduler<&mut Session, &Tokenizer>) -> bool {
        self.step += 1;
        let go_on = scheduler.step(&mut |event| {
            match event {
                Event::Token(id, _) => self.steps.entry(id).or_default().push(self.step),
                Event::Text(id, text) => self.text.entry(id).or_default().push_str(text),
                Event::Done(id, made) => assert!(self.made.insert(id, made).is_none(), "it ends once"),
            }
            ControlFlow::Continue(())
        });
        go_on.unwrap()
    }
}

/// The bits of what a job gave.
fn bits(made: &Generated) -> (Vec<u32>, Vec<u32>, StopReason) {
    (made.tokens.clone(), made.log_probs.iter().map(|l| l.to_bits()).collect(), made.stop)
}

/// What a job gives on a session that does nothing else, and its text.
fn alone(session: &mut Session, tokenizer: &Tokenizer, job: &Job) -> (Generated, String) {
    session.reset();
    let mut scheduler = Scheduler::new(session, tokenizer);
    let id = scheduler.submit(job.clone()).unwrap();
    let mut heard = Heard::default();
    while heard.step(&mut scheduler) {}
    (heard.made.remove(&id).unwrap(), heard.text.remove(&id).unwrap_or_default())
}

#[test]
fn who_joins_while_another_prefills_changes_nothing_and_comes_first() {
    for (name, kv) in [
        ("llama-untied", KvType::F32),
        ("llama-formats", KvType::Block16),
        ("qwen3-formats", KvType::F32),
        ("window", KvType::Block16),
    ] {
        let (mut one, tokenizer) = session(name, 1, kv);
        let want: Vec<_> = jobs().iter().map(|job| bits(&alone(&mut one, &tokenizer, job).0)).collect();
        for piece in [CHUNK, 3] {
            let (mut shared, _) = session(name, 4, kv);
            let mut scheduler = Scheduler::new(&mut shared, &tokenizer).with_pieces_of(piece);
            let mut heard = Heard::default();
            let mut ids = Vec::new();
            for job in jobs() {
                ids.push(scheduler.submit(job).unwrap());
                // The first has more than these pieces, so that the others join while it prefills.
                assert!(heard.step(&mut scheduler));
            }
            assert!(!heard.steps.contains_key(&ids[0]), "{name}: the first prefills still");
            while heard.step(&mut scheduler) {}
            for (id, want) in ids.iter().zip(&want) {
                assert_eq!(bits(&heard.made[id]), *want, "{name}, pieces of {piece}");
            }
            let first = |id: &JobId| heard.steps[id][0];
            // Joined before the second step; in pieces of three it takes two, and no decode step comes between.
            assert_eq!(first(&ids[1]), 1 + 5usize.div_ceil(piece), "{name}, pieces of {piece}");
            assert!(first(&ids[1]) < first(&ids[0]) && first(&ids[2]) < first(&ids[0]), "{name}");
            // While others prefill, who decodes gets a token at least every other step.
            let gaps = heard.steps[&ids[1]].windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.max().unwrap() <= 2, "{name}, pieces of {piece}: {:?}", heard.steps[&ids[1]]);
        }
    }
}

/// A GPU holds several steps in flight: who ends is known later, and a slot is used again before all of its steps are back.
#[cfg(feature = "gpu")]
#[test]
fn steps_in_flight_do_not_mix_on_the_gpu() {
    let gpu = |slots| session_on(DeviceChoice::Gpu, "llama-untied", slots, KvType::F32);
    let (mut one, tokenizer) = gpu(1);
    let want: Vec<Vec<u32>> = jobs().iter().map(|job| alone(&mut one, &tokenizer, job).0.tokens).collect();
    let (mut shared, _) = gpu(2);
    let mut scheduler = Scheduler::new(&mut shared, &tokenizer);
    let mut heard = Heard::default();
    let mut ids = Vec::new();
    for job in jobs().into_iter().chain(jobs()) {
        ids.push(scheduler.submit(job).unwrap());
        assert!(heard.step(&mut scheduler));
    }
    assert!(scheduler.cancel(ids[0]));
    while heard.step(&mut scheduler) {}
    for (id, want) in ids.iter().zip(want.iter().cycle()).skip(1) {
        assert_eq!(&heard.made[id].tokens, want);
    }
    assert!(want[0].starts_with(&heard.made[&ids[0]].tokens));
}

#[test]
fn generate_batch_gives_the_same_bits() {
    let (mut one, tokenizer) = session("llama-formats", 1, KvType::Block16);
    let (mut shared, _) = session("llama-formats", 3, KvType::Block16);
    let mut jobs = jobs();
    jobs.iter_mut().for_each(|job| job.limit = 12);
    let requests: Vec<_> =
        jobs.iter().map(|job| Request::turn(&job.prompt, job.sampler, &tokenizer)).collect();
    let got = shared.write(&requests, 12).unwrap();
    for (job, got) in jobs.iter().zip(&got) {
        assert_eq!(bits(got), bits(&alone(&mut one, &tokenizer, job).0));
        assert_eq!((got.computed, got.reused), (job.prompt.len(), 0));
    }
}

#[test]
fn who_is_cancelled_leaves_and_the_others_do_not_notice() {
    let (mut one, tokenizer) = session("llama-formats", 1, KvType::F32);
    let want: Vec<_> = jobs().iter().map(|job| alone(&mut one, &tokenizer, job).0).collect();
    let (mut shared, _) = session("llama-formats", 3, KvType::F32);
    let mut scheduler = Scheduler::new(&mut shared, &tokenizer);
    let mut heard = Heard::default();
    let mut all = jobs();
    all.push(Job::new(prompt(50, 40), sampler(9), 30));
    let ids: Vec<JobId> = all.into_iter().map(|job| scheduler.submit(job).unwrap()).collect();
    assert_eq!(scheduler.load(), (0, 5));
    while heard.steps.get(&ids[2]).is_none_or(|steps| steps.len() < 3) {
        assert!(heard.step(&mut scheduler));
    }
    // The first prefills, the third decodes, the last waits.
    assert!(!heard.steps.contains_key(&ids[0]) && !heard.steps.contains_key(&ids[4]));
    for id in [ids[0], ids[2], ids[4]] {
        assert!(scheduler.cancel(id));
    }
    while heard.step(&mut scheduler) {}
    for id in ids.iter().filter(|id| ![ids[1], ids[3]].contains(id)) {
        assert!(!scheduler.cancel(*id), "it has ended");
        assert_eq!(heard.made[id].stop, StopReason::Caller);
    }
    for kept in [1, 3] {
        assert_eq!(bits(&heard.made[&ids[kept]]), bits(&want[kept]));
    }
    // What it had said is the beginning of what it would have.
    let cut = &heard.made[&ids[2]];
    assert!(cut.tokens.len() >= 3 && want[2].tokens.starts_with(&cut.tokens));
    assert!(heard.made[&ids[0]].tokens.is_empty() && heard.made[&ids[0]].computed < 60);
    assert_eq!((heard.made[&ids[4]].computed, heard.made[&ids[4]].tokens.len()), (0, 0));
    // What a slot holds of a cancelled one is used again.
    let again = scheduler.submit(jobs().remove(2)).unwrap();
    while heard.step(&mut scheduler) {}
    assert_eq!(bits(&heard.made[&again]), bits(&want[2]));
    assert_eq!((heard.made[&again].reused, heard.made[&again].computed), (22, 1));
}

#[test]
fn stop_strings_are_each_jobs_own_and_listeners_end_their_job() {
    let (mut one, tokenizer) = session("llama-untied", 1, KvType::F32);
    let job = (1..200)
        .map(|seed| Job::new(prompt(60, 11), sampler(seed), 24))
        .find(|job| alone(&mut one, &tokenizer, job).1.chars().filter(|c| *c != '\u{fffd}').count() > 16)
        .expect("a seed that says something");
    let (whole, text) = alone(&mut one, &tokenizer, &job);
    // A stop string within it that no single token is likely to be.
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let (from, to) = (chars[chars.len() / 2].0, chars[chars.len() / 2 + 4].0);
    let stop = &text[from..to];
    let (mut shared, _) = session("llama-untied", 3, KvType::F32);
    let mut scheduler = Scheduler::new(&mut shared, &tokenizer);
    let ended = scheduler.submit(job.clone().stop_at(["never said so", stop])).unwrap();
    let free = scheduler.submit(job.clone()).unwrap();
    let broken = scheduler.submit(job.clone()).unwrap();
    let (mut made, mut said) = (BTreeMap::new(), BTreeMap::<JobId, String>::new());
    let mut count = 0;
    let mut on_event = |event: Event<'_>| {
        match event {
            Event::Token(id, _) if id == broken => count += 1,
            Event::Text(id, text) => said.entry(id).or_default().push_str(text),
            Event::Done(id, of) => drop(made.insert(id, of)),
            _ => {}
        }
        if count == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    // A break ends the job whose event it answers, so that only `broken` may be answered so.
    let mut only = |event: Event<'_>| {
        let of_broken = matches!(&event, Event::Token(id, _) if *id == broken);
        let answer = on_event(event);
        if of_broken { answer } else { ControlFlow::Continue(()) }
    };
    while scheduler.step(&mut only).unwrap() {}
    assert_eq!(made[&ended].stop, StopReason::StopString);
    assert_eq!(said[&ended], text[..text.find(stop).unwrap()], "before {stop:?} of {text:?}");
    assert!(whole.tokens.starts_with(&made[&ended].tokens));
    assert_eq!((bits(&made[&free]), &said[&free]), (bits(&whole), &text));
    assert_eq!((made[&broken].stop, made[&broken].tokens.len()), (StopReason::Caller, 5));
}

#[test]
fn a_long_prompt_gets_its_turn_among_short_ones() {
    let (mut shared, tokenizer) = session("llama-untied", 4, KvType::F32);
    let mut scheduler = Scheduler::new(&mut shared, &tokenizer);
    let long = scheduler.submit(Job::new(prompt(7, 64), sampler(1), 2)).unwrap();
    let mut heard = Heard::default();
    let mut next = 0;
    while !heard.steps.contains_key(&long) {
        // There is always a short one more.
        while scheduler.load().1 < 4 {
            next += 1;
            scheduler.submit(Job::new(prompt(next * 13, 6), sampler(next), 1)).unwrap();
        }
        heard.step(&mut scheduler);
        assert!(heard.step < 120, "the long prompt does not come to its turn");
    }
    // Eight pieces, four of others before each.
    assert!(heard.step >= 8 && heard.made.len() >= 8, "{} steps", heard.step);
}

#[test]
fn what_cannot_run_is_refused_and_limits_hold() {
    let (mut shared, tokenizer) = session("llama-untied", 2, KvType::F32);
    let mut scheduler = Scheduler::new(&mut shared, &tokenizer);
    let refused = |scheduler: &mut Scheduler<&mut Session, &Tokenizer>, len| {
        scheduler.submit(Job::new(prompt(1, len), sampler(1), 5)).unwrap_err()
    };
    assert!(matches!(refused(&mut scheduler, 0), SessionError::EmptyPrompt));
    let long = refused(&mut scheduler, CTX as u32 + 1);
    assert!(matches!(long, SessionError::ContextFull { tokens: 129, ctx: CTX }), "{long}");
    let mut heard = Heard::default();
    assert!(!heard.step(&mut scheduler), "nothing to do");
    // Nothing at all, a prompt that fills the slot, one that fills it soon, and two that wait for slots.
    let no_end = |from, len, limit| Job::new(prompt(from, len), SamplerParams::greedy(), limit);
    let jobs = [
        no_end(9, 10, 0),
        no_end(11, CTX as u32, 50),
        no_end(12, CTX as u32 - 3, 50),
        no_end(3, 7, 1),
        no_end(4, 7, 3),
    ];
    let ids: Vec<JobId> = jobs.into_iter().map(|job| scheduler.submit(job).unwrap()).collect();
    while heard.step(&mut scheduler) {}
    assert_eq!(scheduler.load(), (0, 0));
    let of = |i: usize| (heard.made[&ids[i]].tokens.len(), heard.made[&ids[i]].stop);
    assert_eq!(of(0), (0, StopReason::Length));
    assert_eq!((of(1), of(2)), ((1, StopReason::ContextFull), (4, StopReason::ContextFull)));
    assert_eq!((of(3), of(4)), ((1, StopReason::Length), (3, StopReason::Length)));
    // A session that was booted for something else says so, and nothing hangs.
    let model = open(&golden("arch/llama-untied.gguf"));
    let mut other = boot(&model, &options(DeviceChoice::Cpu, KvType::F32, Modes::SCORE));
    let mut scheduler = Scheduler::new(&mut other, &tokenizer);
    let id = scheduler.submit(no_end(3, 7, 1)).unwrap();
    let mut ended = Vec::new();
    let error = scheduler.step(&mut |event| {
        if let Event::Done(id, _) = event {
            ended.push(id);
        }
        ControlFlow::Continue(())
    });
    assert!(matches!(error.unwrap_err(), SessionError::Mode("generate")));
    assert_eq!(ended, [id]);
}
