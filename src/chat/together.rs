//! Several conversations on one session.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Answer, ChatError, Conversation, Piece, Reply};
use crate::session::{Event, Generated, Job, JobId, Scheduler, Session};

/// What is told of each piece, with the number of its conversation; a `Break` ends that answer.
pub type ListenerOfAll<'a> = dyn FnMut(usize, Piece<'_>) -> ControlFlow<()> + 'a;

/// An answer that is being written.
struct Open {
    index: usize,
    prompt: Vec<u32>,
    limit: usize,
    reply: Reply,
}

/// Answers the last messages of several conversations, as many at once as the session has slots; each answer goes into its
/// conversation, and comes back in their order. All have the session's model and adapters, and the same tokenizer. Each is
/// answered as [`Chat`](super::Chat) answers it (on the CPU, bit for bit).
///
/// # Errors
/// Those of [`Conversation::fit`], before anything is written, and of the session.
pub fn answer_all(
    session: &mut Session,
    conversations: &mut [Conversation],
    listener: &mut ListenerOfAll<'_>,
) -> Result<Vec<Answer>, ChatError> {
    let Some(voice) = conversations.first().map(|one| Arc::clone(one.voice())) else {
        return Ok(Vec::new());
    };
    let ctx = session.ctx();
    let mut begun = Vec::with_capacity(conversations.len());
    for (index, conversation) in conversations.iter_mut().enumerate() {
        let (prompt, dropped) = conversation.fit(ctx)?;
        if dropped > 0 {
            let _ = listener(index, Piece::Dropped(dropped));
        }
        let (limit, reply) = (conversation.manner.limit.min(ctx), conversation.reply(&prompt));
        begun.push(Open { index, prompt, limit, reply });
    }
    let mut scheduler = Scheduler::new(session, voice.tokenizer());
    let mut open: HashMap<JobId, Open> = HashMap::new();
    let submit = |scheduler: &mut Scheduler<_, _>, one: &Open| {
        scheduler.submit(Job::new(one.prompt.clone(), one.reply.sampler(), one.limit))
    };
    for one in begun {
        open.insert(submit(&mut scheduler, &one)?, one);
    }
    let mut answers: Vec<Option<Answer>> = conversations.iter().map(|_| None).collect();
    let mut ended: Vec<(JobId, Generated)> = Vec::new();
    while !open.is_empty() {
        scheduler.step(&mut |event| match event {
            Event::Token(id, token) => match open.get_mut(&id) {
                Some(Open { index, reply, .. }) => {
                    reply.push(voice.tokenizer(), token, &mut |piece| listener(*index, piece))
                }
                None => ControlFlow::Break(()),
            },
            Event::Done(id, made) => {
                ended.push((id, made));
                ControlFlow::Continue(())
            }
            Event::Text(..) => ControlFlow::Continue(()),
        })?;
        for (id, made) in ended.drain(..) {
            let Some(mut one) = open.remove(&id) else { continue };
            if one.reply.finish(&mut |piece| listener(one.index, piece)) {
                open.insert(submit(&mut scheduler, &one)?, one);
                continue;
            }
            let answer = one.reply.answer(made);
            conversations[one.index].hear(&answer);
            answers[one.index] = Some(answer);
        }
    }
    Ok(answers.into_iter().flatten().collect())
}
