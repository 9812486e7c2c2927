use std::ops::ControlFlow;

use super::conversation::LAST;
use super::*;
use crate::session::{Generated, StopReason};
use crate::text::{ChatTemplate, TokenKind, Tokenizer, TokenizerConfig, TokenizerModel};

/// A vocabulary of these pieces, of which the last ends a turn; `<think>` is a control token.
fn tokenizer(pieces: &[&[u8]]) -> Tokenizer {
    // As GPT-2's vocabularies write bytes.
    let itself = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let stand_in = |b: u8| 256 + (0..b).filter(|&b| !itself(b)).count() as u32;
    let one = |&b: &u8| char::from_u32(if itself(b) { u32::from(b) } else { stand_in(b) }).unwrap();
    let bytes: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
    let all = pieces.iter().map(|piece| piece.to_vec()).chain(bytes).chain([b"<end>".to_vec()]);
    let tokens: Vec<Vec<u8>> =
        all.map(|piece| piece.iter().map(one).collect::<String>().into_bytes()).collect();
    let control = |text: &Vec<u8>| text == b"<end>" || text == b"<think>";
    let kinds = tokens.iter().map(|t| if control(t) { TokenKind::Control } else { TokenKind::Normal });
    let mut config = TokenizerConfig::new(TokenizerModel::Gpt2, tokens.clone());
    config.kinds = kinds.collect();
    config.special.eos = Some(tokens.len() as u32 - 1);
    config.add_bos = Some(false);
    Tokenizer::new(config).unwrap()
}

/// A conversation whose template writes roles and contents, and `end`.
fn conversation(pieces: &[&[u8]], end: &str, manner: Manner) -> Conversation {
    let source = format!(
        "{{% for m in messages %}}{{{{ m['role'][0] + ':' + m['content'] + '|' }}}}{{% endfor %}}a:{end}\
         {{# </think> #}}"
    );
    Conversation::new(Voice::new(tokenizer(pieces), Some(ChatTemplate::new(&source).unwrap())), manner)
}

/// What came of a reply: thoughts and answer as they were told, and how many pieces.
#[derive(Debug, Default, PartialEq)]
struct Told {
    thoughts: String,
    answer: String,
}

/// Plays these tokens as the model's; the answer, or none where another attempt is to be made.
fn play(conversation: &Conversation, reply: &mut Reply, tokens: &[u32]) -> (Told, Option<Answer>) {
    let mut told = Told::default();
    let mut listener = |piece: Piece<'_>| {
        match piece {
            Piece::Thought(text) => told.thoughts.push_str(text),
            Piece::Answer(text) => told.answer.push_str(text),
            Piece::Token(_) | Piece::Dropped(_) | Piece::Moved { .. } => {}
        }
        ControlFlow::Continue(())
    };
    let tokenizer = conversation.voice().tokenizer();
    let mut used = Vec::new();
    for token in tokens {
        used.push(*token);
        if reply.push(tokenizer, *token, &mut listener).is_break() {
            break;
        }
    }
    let again = reply.finish(&mut listener);
    let stop = if used.len() < tokens.len() { StopReason::Caller } else { StopReason::Length };
    let made = Generated { tokens: used, ..Generated::nothing(stop) };
    (told, (!again).then(|| reply.clone().answer(made)))
}

fn said(pieces: &[&[u8]], end: &str, manner: Manner) -> (Told, Answer) {
    let mut conversation = conversation(pieces, end, manner);
    conversation.talk.user("q");
    let prompt = conversation.prompt().unwrap();
    let mut reply = conversation.reply(&prompt);
    let (told, answer) = play(&conversation, &mut reply, &(0..pieces.len() as u32).collect::<Vec<_>>());
    (told, answer.unwrap())
}

#[test]
fn characters_and_stop_strings_may_span_tokens() {
    let pieces: [&[u8]; 6] = [b"Par", b"is.\nUs", b"er", b": \xc3", b"\xa9 an", b"d on"];
    let with = |stop: &[&str]| {
        let stop = stop.iter().map(|s| (*s).to_owned()).collect();
        said(&pieces, "", Manner { stop, ..Manner::default() })
    };
    let (told, answer) = with(&[]);
    assert_eq!(
        (told.answer.as_str(), answer.text.as_str()),
        ("Paris.\nUser: é and on", "Paris.\nUser: é and on")
    );
    assert!(answer.cut() && !answer.circled, "the limit came first");
    let (told, answer) = with(&["\nUser:", "never"]);
    assert_eq!((told.answer.as_str(), answer.text.as_str()), ("Paris.", "Paris."));
    assert!(!answer.cut() && answer.done.tokens.len() == 4);
    assert_eq!(with(&["é an"]).0.answer, "Paris.\nUser: ");
    assert_eq!(with(&["on and on"]).0.answer, "Paris.\nUser: é and on", "what was held back belongs to it");
}

#[test]
fn thoughts_are_told_apart_also_where_their_mark_is_a_control_token() {
    let pieces: [&[u8]; 5] = [b"<think>", b"\nHm", b", so\n</thi", b"nk>\n\nYes", b"."];
    let told = |answer: &str| Told { thoughts: "Hm, so".into(), answer: answer.into() };
    let (heard, answer) = said(&pieces, "", Manner::default());
    assert_eq!((heard, answer.answer.as_str()), (told("Yes."), "Yes."));
    assert_eq!(answer.text, "<think>\nHm, so\n</think>\n\nYes.");
    let inline = Manner { thoughts_apart: false, ..Manner::default() };
    assert_eq!(said(&pieces, "", inline).0.answer, "\nHm, so\n</think>\n\nYes.");
    // The template has opened them.
    let (heard, answer) = said(&pieces[1..], "<think>\n", Manner::default());
    assert_eq!(heard, told("Yes."));
    assert!(answer.text.starts_with("<think>\n\nHm") && !answer.thinking);
    let (heard, answer) = said(&pieces[..2], "", Manner::default());
    assert!(heard.answer.is_empty() && answer.thinking && answer.answer.is_empty());
    assert!(LAST >= "<think>\n".len(), "each byte may be a token");
}

const SENTENCE: &[u8] = b"The quick brown fox jumps over the lazy dog today. ";

#[test]
fn what_was_said_twice_is_tried_again_and_at_last_it_is_said() {
    let mut conversation = conversation(&[SENTENCE, b"Other. "], "", Manner::default());
    let said = std::str::from_utf8(SENTENCE).unwrap();
    for question in ["one", "two"] {
        conversation.talk.user(question);
        conversation.talk.assistant(said);
    }
    conversation.talk.user("three?");
    let prompt = conversation.prompt().unwrap();
    let mut reply = conversation.reply(&prompt);
    let first = reply.sampler();
    assert_eq!(first.seed, conversation.manner.sampler.seed);
    let (told, answer) = play(&conversation, &mut reply, &[0]);
    assert_eq!((told, answer), (Told::default(), None), "nothing was told yet");
    assert_eq!(reply.sampler(), first.firmer(1));
    // The second says something else.
    let (told, answer) = play(&conversation, &mut reply.clone(), &[1]);
    assert_eq!((told.answer.as_str(), answer.unwrap().text.as_str()), ("Other. ", "Other. "));
    // Or the same, ever firmer, and the last is as the first, whatever it says.
    for tries in 2..5 {
        assert_eq!(play(&conversation, &mut reply, &[0]).1, None);
        let firm = reply.sampler();
        assert_eq!(firm, first.firmer(tries));
        assert!(
            firm.seed != first.firmer(tries - 1).seed
                && firm.dry_multiplier > first.firmer(tries - 1).dry_multiplier
        );
    }
    assert_eq!(play(&conversation, &mut reply, &[0]).1, None);
    assert_eq!(reply.sampler(), first);
    let (told, answer) = play(&conversation, &mut reply, &[0, 0, 0, 1]);
    let answer = answer.unwrap();
    assert_eq!(told.answer.trim_end(), said.repeat(2).trim_end());
    assert!(answer.circled && answer.cut() && answer.done.tokens.len() == 3);
    assert_eq!(answer.text, answer.answer, "what began the circle is cut off the text too");
    // Each answer has a seed of its own.
    assert_eq!(conversation.reply(&prompt).sampler().seed, first.seed.wrapping_add(1));
    // Who asks the same again may get the same.
    conversation.talk.messages[0].content = "THREE".into();
    let mut reply = conversation.reply(&prompt);
    assert_eq!(play(&conversation, &mut reply, &[0]).0.answer, said);
    // And so may who does not want it watched.
    conversation.talk.messages[0].content = "one".into();
    conversation.manner.loop_guard = None;
    let mut reply = conversation.reply(&prompt);
    assert_eq!(play(&conversation, &mut reply, &[0, 0, 0, 0]).0.answer, said.repeat(4));
}

#[test]
fn a_listener_ends_an_answer_at_a_token() {
    let mut conversation = conversation(&[b"a", b"b"], "", Manner::default());
    conversation.talk.user("q");
    let prompt = conversation.prompt().unwrap();
    let mut reply = conversation.reply(&prompt);
    let mut count = 0;
    let mut listener = |piece: Piece<'_>| {
        count += usize::from(matches!(piece, Piece::Token(_)));
        if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let tokenizer = conversation.voice().tokenizer();
    assert!(reply.push(tokenizer, 0, &mut listener).is_continue());
    assert!(reply.push(tokenizer, 1, &mut listener).is_break());
    assert!(!reply.finish(&mut |_| ControlFlow::Continue(())));
    let answer = reply.answer(Generated::nothing(StopReason::Caller));
    assert!(answer.interrupted && answer.cut());
    assert_eq!(answer.text, "a", "the token that it was ended at is not said");
}

#[test]
fn prompts_have_system_memory_and_messages_and_fit() {
    let mut conversation = conversation(&[], "", Manner { room: 8, ..Manner::default() });
    let text = |conversation: &Conversation| {
        conversation.voice().tokenizer().decode(&conversation.prompt().unwrap(), false)
    };
    conversation.talk.user("one");
    assert_eq!(text(&conversation), "u:one|a:");
    conversation.talk.system = Some("brief".into());
    conversation.memory = Some("facts".into());
    assert_eq!(text(&conversation), "s:brief\n\nfacts|u:one|a:");
    conversation.talk.system = None;
    conversation.memory = None;
    for word in ["two", "three", "four"] {
        conversation.talk.assistant(" yes ");
        conversation.talk.user(word);
    }
    assert_eq!(text(&conversation), "u:one|a:yes|u:two|a:yes|u:three|a:yes|u:four|a:");
    // A byte is a token: two turns go, so that 23 and the room of 8 fit 32.
    let (prompt, dropped) = conversation.fit(32).unwrap();
    assert_eq!((prompt.len(), dropped), ("u:three|a:yes|u:four|a:".len(), 2));
    assert_eq!(conversation.talk.messages.len(), 3);
    // Of a small context a quarter is kept.
    assert_eq!(conversation.fit(30).unwrap().1, 0);
    assert_eq!(conversation.fit(29).unwrap().1, 1);
    let error = conversation.fit(8).unwrap_err();
    assert!(matches!(error, ChatError::TooLong { tokens: 9, ctx: 8 }), "{error}");
    conversation.manner.room = 0;
    assert_eq!(conversation.fit(9).unwrap().0.len(), 9, "all of it is the prompt's where no room is kept");
}

#[test]
fn templates_switch_thinking_and_texts_without_one_go_on_as_they_are() {
    let voice = |source: &str| Voice::new(tokenizer(&[]), Some(ChatTemplate::new(source).unwrap()));
    let source = "{{ messages[-1]['content'] }}{% if enable_thinking is defined %}\
        {{ ' yes' if enable_thinking else ' no' }}{% endif %}";
    let says = |voice: &Voice| {
        let prompt = voice.prompt(&[crate::text::Message::new("user", "q")]).unwrap();
        voice.tokenizer().decode(&prompt, false)
    };
    let mut switched = voice(source);
    assert_eq!(says(&switched), "q");
    assert!(switched.think(true) && says(&switched) == "q yes");
    assert!(switched.think(false) && says(&switched) == "q no");
    assert!(!voice("{{ messages[-1]['content'] }} rethinking").think(true), "it has no such switch");
    let plain = Voice::new(tokenizer(&[]), None);
    assert_eq!((says(&plain).as_str(), plain.marks()), ("q", None));
    let refusing = voice("{{ raise_exception('no') }}");
    assert!(matches!(refusing.prompt(&[]), Err(ChatError::Template(_))));
}

/// A device is lost in the middle of an answer, and there is no memory left to open it again.
#[cfg(feature = "gpu")]
#[test]
fn an_answer_goes_on_on_the_cpu_where_no_device_is_left() {
    use crate::exec::{DeviceKind, Fullness};
    use crate::session::DeviceChoice;
    use crate::text::SamplerParams;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/arch/llama-formats.gguf");
    let options = SessionOptions { device: DeviceChoice::Gpu, ctx: Some(256), ..SessionOptions::default() };
    let manner =
        Manner { sampler: SamplerParams::greedy(), limit: 24, loop_guard: None, ..Manner::default() };
    let open = || {
        let mut chat = Chat::open(&Model::open(file).unwrap(), options.clone()).unwrap();
        chat.conversation.manner = manner.clone();
        chat
    };
    let expected = open().say("Why?", &mut |_| ControlFlow::Continue(())).unwrap();
    let mut chat = open();
    chat.places = Places::new(&SessionOptions {
        fullness: Fullness { buffers: Some(0), work: None },
        ..options.clone()
    });
    let breaker = chat.session().unwrap().executor().breaker().unwrap();
    let (mut moves, mut tokens) = (vec![], 0);
    let answer = chat.say("Why?", &mut |piece| {
        match piece {
            Piece::Moved { why, device } => moves.push((why.to_owned(), device.clone())),
            Piece::Token(_) => tokens += 1,
            _ => {}
        }
        if tokens == 5 {
            breaker.trip();
        }
        ControlFlow::Continue(())
    });
    assert_eq!(answer.unwrap().text, expected.text);
    let [(why, device)] = &moves[..] else { panic!("{moves:?}") };
    assert!(why.contains("lost") && device.kind == DeviceKind::Cpu, "{moves:?}");
    assert!(device.why.contains("no usable GPU"), "{}", device.why);
    // The next one is there from its beginning.
    chat.say("Well?", &mut |_| ControlFlow::Continue(())).unwrap();
}
