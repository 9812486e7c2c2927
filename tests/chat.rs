//! Conversations with a tiny model, by the library alone: a chat goes on where it was, several on one session give what each
//! gives alone, adapters are switched, and what cannot be said is not in the conversation.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;

use common::{golden, open};
use emberlm::adapter::{Adapter, LoraPair};
use emberlm::chat::{Answer, Chat, ChatError, Conversation, Manner, Piece, Role, Voice, answer_all};
use emberlm::model::{KvType, Model};
use emberlm::session::{DeviceChoice, Session, SessionError, SessionOptions, StopReason};
use emberlm::text::SamplerParams;

fn model() -> Model {
    open(&golden("arch/llama-formats.gguf"))
}

fn options(slots: usize) -> SessionOptions {
    SessionOptions {
        device: DeviceChoice::Cpu,
        kv: KvType::F32,
        ctx: Some(256),
        slots,
        chunk: Some(8),
        threads: Some(2),
        ..SessionOptions::default()
    }
}

fn manner(seed: u32) -> Manner {
    let sampler = SamplerParams { temperature: 1.0, seed, ..SamplerParams::default() };
    Manner { sampler, limit: 14, room: 14, ..Manner::default() }
}

fn go_on(_: Piece<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    let model = model();
    let mut chat = Chat::open(&model, options(1)).unwrap();
    chat.conversation.manner = manner(1);
    let mut told = String::new();
    let first = chat.say("Why?", &mut |piece| {
        if let Piece::Answer(text) = piece {
            told.push_str(text);
        }
        ControlFlow::Continue(())
    });
    let first = first.unwrap();
    assert_eq!(told, first.answer);
    assert_eq!(first.done.reused, 0);
    let second = chat.say("And then?", &mut go_on).unwrap();
    // What was said is held, but for the tokens that the template writes otherwise than the model did.
    assert!(second.done.reused >= first.done.computed - 1, "{} reused", second.done.reused);
    let roles: Vec<Role> = chat.conversation.talk.messages.iter().map(|said| said.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::User, Role::Assistant]);
    assert_eq!(chat.conversation.talk.messages[3].content, second.text.trim());
    // Another answer has another seed, and leaves the conversation as it is.
    let before = chat.conversation.talk.clone();
    let other = chat.answer_again(&mut go_on).unwrap();
    assert_eq!(chat.conversation.talk, before);
    assert_ne!(other.done.tokens, second.done.tokens);
    assert!(other.done.computed <= 1, "its prompt is held: {} computed", other.done.computed);
    // From the start, with the same seeds, it is the same bit for bit.
    let mut again = Chat::open(&model, options(1)).unwrap();
    again.conversation.manner = manner(1);
    for (text, answer) in [("Why?", &first), ("And then?", &second)] {
        assert_eq!(bits(&again.say(text, &mut go_on).unwrap()), bits(answer));
    }
}

fn bits(answer: &Answer) -> (Vec<u32>, Vec<u32>, String) {
    let bits = answer.done.log_probs.iter().map(|l| l.to_bits()).collect();
    (answer.done.tokens.clone(), bits, answer.text.clone())
}

#[test]
fn several_conversations_on_one_session_are_as_each_alone() {
    let model = model();
    let voice = std::sync::Arc::new(Voice::of(&model).unwrap());
    let said = [["Tell me of gulls, please, and of the sea.", "Go on."], ["Hi", "Why?"], ["One more", "x"]];
    let mut session = Session::new(&model, &options(2)).unwrap();
    let mut all: Vec<Conversation> =
        (0..3).map(|n| Conversation::new(std::sync::Arc::clone(&voice), manner(n * 100))).collect();
    let mut together: Vec<Vec<Answer>> = vec![Vec::new(); 3];
    for turn in 0..2 {
        for (conversation, said) in all.iter_mut().zip(said) {
            conversation.talk.user(said[turn]);
        }
        let mut tokens = [0; 3];
        let answers = answer_all(&mut session, &mut all, &mut |index, piece| {
            tokens[index] += usize::from(matches!(piece, Piece::Token(_)));
            ControlFlow::Continue(())
        });
        for (index, answer) in answers.unwrap().into_iter().enumerate() {
            let ended = usize::from(answer.done.stop == StopReason::EndOfTurn);
            assert_eq!(tokens[index] + ended, answer.done.tokens.len());
            together[index].push(answer);
        }
    }
    for (index, said) in said.into_iter().enumerate() {
        let conversation = Conversation::new(std::sync::Arc::clone(&voice), manner(index as u32 * 100));
        let mut alone = Chat::new(&model, options(1), conversation);
        alone.boot(Vec::new()).unwrap();
        for (turn, text) in said.into_iter().enumerate() {
            let answer = alone.say(text, &mut go_on).unwrap();
            assert_eq!(bits(&answer), bits(&together[index][turn]), "conversation {index}, turn {turn}");
        }
        assert_eq!(alone.conversation.talk, all[index].talk);
    }
}

#[test]
fn what_cannot_be_said_is_not_in_the_conversation() {
    let mut chat = Chat::open(&model(), options(1)).unwrap();
    chat.conversation.manner = manner(3);
    assert!(matches!(chat.answer_again(&mut go_on), Err(ChatError::NothingSaid)));
    let long = chat.say(&"word ".repeat(200), &mut go_on).unwrap_err();
    assert!(matches!(long, ChatError::TooLong { ctx: 256, .. }), "{long}");
    assert!(chat.conversation.talk.messages.is_empty());
    // Old turns make room, which is told.
    let mut dropped = 0;
    for _ in 0..12 {
        let answer = chat.say("some words of a message", &mut |piece| {
            if let Piece::Dropped(turns) = piece {
                dropped += turns;
            }
            ControlFlow::Continue(())
        });
        assert!(answer.unwrap().done.stop != StopReason::ContextFull);
    }
    assert!(dropped > 0 && chat.conversation.talk.messages.len() == 24 - 2 * dropped);
    // An interrupt leaves what was said.
    let mut count = 0;
    let answer = chat.say("and now?", &mut |piece| {
        count += usize::from(matches!(piece, Piece::Token(_)));
        if count == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let answer = answer.unwrap();
    assert!(answer.interrupted && answer.cut() && answer.done.tokens.len() == 4);
    assert_eq!(chat.conversation.talk.messages.last().unwrap().content, answer.text.trim());
    // Without its session it says so, and goes on with another.
    chat.sleep();
    assert!(matches!(chat.say("x", &mut go_on), Err(ChatError::Asleep)));
    chat.boot(Vec::new()).unwrap();
    assert_eq!(chat.say("x", &mut go_on).unwrap().done.reused, 0);
}

fn adapter(model: &Model, name: &str, kind: &str, rank: usize) -> Adapter {
    let tensor = model.gguf().tensor(&format!("blk.0.{kind}.weight")).unwrap();
    let (inputs, outputs) = (tensor.dim(0) as usize, tensor.dim(1) as usize);
    let values = |count: usize| (0..count).map(|i| ((i * 7 % 23) as f32 - 11.0) / 40.0).collect();
    let (a, b) = (values(rank * inputs), values(outputs * rank));
    let pair = LoraPair { target: format!("blk.0.{kind}"), rank, inputs, outputs, a, b };
    let architecture = model.config().arch.name.into();
    Adapter { name: name.into(), architecture, alpha: 8.0, pairs: vec![pair], ..Adapter::default() }
}

#[test]
fn adapters_are_switched_and_more_room_is_another_session() {
    let model = model();
    let (one, two) = (adapter(&model, "one", "attn_q", 2), adapter(&model, "two", "ffn_down", 3));
    let mut chat = Chat::open(&model, options(1)).unwrap();
    let greedy = SamplerParams::greedy();
    chat.conversation.manner = Manner { sampler: greedy, ..manner(0) };
    let answer = |chat: &mut Chat| {
        chat.conversation.talk.reset();
        chat.say("Why?", &mut go_on).unwrap().done.tokens
    };
    let base = answer(&mut chat);
    assert!(!chat.switch(&[(one.clone(), 1.0)]).unwrap(), "there is no room for it");
    assert_eq!((chat.adapters().len(), answer(&mut chat)), (0, base.clone()));
    chat.set_adapters(vec![(one.clone(), 1.0), (two.clone(), 0.5)]).unwrap();
    let names =
        |chat: &Chat| chat.session().unwrap().adapters().iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&chat), ["one", "two"]);
    let both = answer(&mut chat);
    assert_ne!(both, base);
    assert!(chat.switch(&[(two.clone(), 1.0)]).unwrap() && names(&chat) == ["two"]);
    // What cannot be used changes nothing.
    let mut other = one.clone();
    other.architecture = "qwen2".into();
    let error = chat.set_adapters(vec![(other, 1.0)]).unwrap_err();
    assert!(matches!(error, ChatError::Session(SessionError::Adapter(_))), "{error}");
    assert_eq!((names(&chat).as_slice(), chat.adapters().len()), (&["two".to_owned()][..], 1));
    // After a rest it is booted with what was on.
    let on = chat.adapters().to_vec();
    chat.sleep();
    chat.boot(on).unwrap();
    assert_eq!(names(&chat), ["two"]);
    chat.set_adapters(Vec::new()).unwrap();
    assert_eq!(answer(&mut chat), base);
}
