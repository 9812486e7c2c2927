//! Answers that a model writes as it is trained: groups share their prompt's keys and values, slots are filled again, and what
//! comes out is what a session of its own gives. The map has one base, whatever the method, and no more rows for a larger group.
#![cfg(all(feature = "train", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{boot, bounds, golden, open, options};
use emberlm::exec::cpu;
use emberlm::model::{Branch, BranchHead, KvType, Model, Train};
use emberlm::plan::{Layout, Profile, SegmentKind};
use emberlm::session::{DeviceChoice, Generated, Modes, Request, Session, SessionOptions};
use emberlm::text::SamplerParams;
use emberlm::train::{Engine, EngineOptions, LoraOptions, Recompute, Rollouts, Sequence, initialize, plan};

const LIMIT: usize = 12;

fn model() -> Model {
    of("llama-untied")
}

fn of(name: &str) -> Model {
    open(&golden("arch").join(format!("{name}.gguf")))
}

/// Three prompts; the first two have a beginning in common, and each is asked for several times.
fn requests(prompts: &[Vec<u32>]) -> Vec<Request<'_>> {
    let sampler = |seed| SamplerParams { temperature: 1.0, seed, ..SamplerParams::default() };
    let numbered = prompts.iter().flat_map(|p| [p, p, p]).enumerate();
    numbered.map(|(i, prompt)| Request::new(prompt, sampler(i as u32))).collect()
}

fn prompts() -> Vec<Vec<u32>> {
    let text = |from: u32, len: u32| (0..len).map(|i| (from + i * 29) % 250).collect::<Vec<u32>>();
    let mut second = text(7, 20);
    second.extend([3, 99, 41]);
    vec![text(7, 30), second, text(100, 9)]
}

fn write(session: &mut Session, requests: &[Request<'_>]) -> Vec<Generated> {
    session.write(requests, LIMIT).unwrap()
}

fn engine_options(model: &Model, device: DeviceChoice, slots: usize) -> EngineOptions {
    EngineOptions {
        device: SessionOptions { device, kv: KvType::F32, chunk: Some(8), ..SessionOptions::default() },
        rows: 64,
        seq: 64,
        train: Train::Adapters,
        adapters: LoraOptions { rank: 2, ..LoraOptions::default() }.shape(model),
        rollouts: Some(Rollouts { slots, ctx: 64 }),
        ..EngineOptions::default()
    }
}

fn compare(device: DeviceChoice, model: &str) {
    let model = of(model);
    let prompts = prompts();
    let requests = requests(&prompts);
    let alone = options(device.clone(), KvType::F32, Modes::GENERATE);
    let mut alone = boot(&model, &SessionOptions { ctx: Some(64), ..alone });
    let want: Vec<Generated> = requests
        .iter()
        .map(|request| {
            alone.reset();
            write(&mut alone, std::slice::from_ref(request)).remove(0)
        })
        .collect();
    for slots in [1, 3, 4, 8] {
        let mut engine = Engine::boot(&model, &engine_options(&model, device.clone(), slots)).unwrap();
        initialize(&mut engine, 1).unwrap();
        engine.session().reset();
        let got = write(engine.session(), &requests);
        assert_eq!(got.len(), want.len());
        let mut shared = 0;
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.tokens, want.tokens, "{slots} slots");
            assert_eq!((got.stop, got.log_probs.len()), (want.stop, LIMIT));
            shared += got.reused;
        }
        // All but the last token of a prompt that another slot holds is copied.
        let least = if slots >= 3 { 2 * (29 + 22 + 8) } else { 0 };
        assert!(shared >= least, "{slots} slots: {shared} tokens were shared");
        // The sampler's log-probabilities are those of scoring.
        for (got, request) in got.iter().zip(&requests) {
            let tokens = [request.prompt, &got.tokens].concat();
            let trained: Vec<bool> = (0..tokens.len()).map(|i| i >= request.prompt.len()).collect();
            let scored = engine.score(&[Sequence { tokens: &tokens, trained: &trained }], 0).unwrap();
            for (sampled, scored) in got.log_probs.iter().zip(scored) {
                assert!(
                    f64::from((sampled - scored).abs()) < bounds::SCORED * f64::from(scored.abs().max(1.0)),
                    "{sampled} {scored}"
                );
            }
        }
    }
}

#[test]
fn groups_share_their_prompt_on_the_cpu() {
    compare(DeviceChoice::Cpu, "llama-untied");
}

#[test]
fn groups_share_their_prompt_on_the_gpu() {
    compare(DeviceChoice::Gpu, "llama-untied");
}

/// Most of its layers have a window of 8, and rings of 32 positions.
#[test]
fn groups_share_rings() {
    compare(DeviceChoice::Cpu, "gemma3");
    compare(DeviceChoice::Gpu, "gemma3");
}

#[test]
fn conversations_keep_their_slots_in_another_order() {
    let model = model();
    let device = options(DeviceChoice::Cpu, KvType::F32, Modes::GENERATE);
    let mut session = boot(&model, &SessionOptions { ctx: Some(64), slots: 4, ..device });
    let sampler = SamplerParams::greedy();
    let mut said: Vec<Vec<u32>> =
        (0..3).map(|chat| (0..10 + 3 * chat).map(|i| (chat * 50 + i) % 250).collect()).collect();
    let go_on = |session: &mut Session, said: &mut [Vec<u32>], order: &[usize]| {
        let prompts: Vec<Vec<u32>> = order.iter().map(|chat| said[*chat].clone()).collect();
        let requests: Vec<_> = prompts.iter().map(|prompt| Request::new(prompt, sampler)).collect();
        let made = write(session, &requests);
        for (chat, made) in order.iter().zip(&made) {
            said[*chat].extend(&made.tokens);
        }
        made.iter().map(|made| made.computed).collect::<Vec<usize>>()
    };
    assert_eq!(go_on(&mut session, &mut said, &[0, 1, 2]), [10, 13, 16]);
    // The last token was sampled and not fed. The fourth slot is empty, and no conversation moves there.
    assert_eq!(go_on(&mut session, &mut said, &[2, 0, 1]), [1, 1, 1]);
    assert_eq!(go_on(&mut session, &mut said, &[1]), [1]);
    // What nothing is known of takes the slot that holds nothing.
    said.push(vec![240, 241, 242]);
    assert_eq!(go_on(&mut session, &mut said, &[3, 2, 0]), [3, 1, 1]);
}

fn segment(layout: &Layout, kind: SegmentKind) -> u64 {
    layout.segment(kind).bytes()
}

/// A policy, a reference with an adapter of its own, a value model and a reward model.
fn four(model: &Model, options: &EngineOptions) -> EngineOptions {
    let adapters = LoraOptions { rank: 2, ..LoraOptions::default() }.shape(model);
    let branch =
        |name: &str, head, trained| Branch { name: name.into(), adapters: adapters.clone(), head, trained };
    let branches = vec![
        branch("reference", BranchHead::Tokens, false),
        branch("value", BranchHead::Scalar, true),
        branch("reward", BranchHead::Scalar, false),
    ];
    EngineOptions { branches, ..options.clone() }
}

#[test]
fn four_models_are_one_base() {
    let model = model();
    // As a GPU holds it: weights are in the map.
    let profile =
        Profile { mapped_weights: false, max_binding: 1 << 30, max_buffer: 1 << 30, ..cpu::profile::<f32>() };
    let draw = |options: &EngineOptions| plan(&model, options, profile).unwrap().1;
    for recompute in [Recompute::Nothing, Recompute::All] {
        let alone = EngineOptions { recompute, ..engine_options(&model, DeviceChoice::Cpu, 8) };
        let (one, four) =
            (draw(&EngineOptions { rollouts: None, ..alone.clone() }), draw(&four(&model, &alone)));
        let bytes = |kind| (segment(&one, kind), segment(&four, kind));
        let (base, with_four) = bytes(SegmentKind::Weights);
        assert!(base > 0 && base == with_four, "there is no second base: {base} and {with_four}");
        let (tape, with_four) = bytes(SegmentKind::Tape);
        assert!(tape == with_four, "tapes lie over one another: {tape} and {with_four}");
        let (trained, with_four) = bytes(SegmentKind::Trained);
        assert!(with_four <= 4 * trained + 4096, "four adapters: {trained} and {with_four}");
        let (gradients, with_four) = bytes(SegmentKind::Gradients);
        assert!(with_four <= 2 * gradients + 4096, "two are trained: {gradients} and {with_four}");
    }
}

#[test]
fn a_larger_group_takes_no_more_than_its_keys_and_values() {
    let model = model();
    let draw = |slots| {
        let options = engine_options(&model, DeviceChoice::Cpu, slots);
        plan(&model, &four(&model, &options), cpu::profile::<f32>()).unwrap().1
    };
    // A group of 64 is written eight at a time: the plan does not know of groups, only of slots.
    let (one, eight) = (draw(1), draw(8));
    for kind in SegmentKind::ALL {
        let (small, large) = (segment(&one, kind), segment(&eight, kind));
        let inference = matches!(
            kind,
            SegmentKind::State | SegmentKind::Arena | SegmentKind::Params | SegmentKind::Readback
        );
        assert!(inference || small == large, "{}: {small} and {large}", kind.name());
    }
    let cache = |layout: &Layout| segment(layout, SegmentKind::State);
    assert!(
        cache(&eight) > 7 * cache(&one) && cache(&eight) < 9 * cache(&one),
        "eight slots of keys and values"
    );
}
