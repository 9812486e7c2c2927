//! Texts and questions that every new adapter is judged by.

use std::ops::ControlFlow;

use super::Task;
use crate::cli::error::CliResult;
use crate::cli::prompt::Prompter;
use crate::session::{Modes, Request, Session, SessionOptions, adapter_room};
use crate::text::SamplerParams;
use crate::train::data::{Example, Source};

/// Texts that have nothing to do with anybody's conversations.
pub const FIXED: [&str; 4] = [
    "Rivers carry sand and gravel from the hills to the sea. Where the current slows, the heavier grains settle first and \
     build banks; the fine mud travels on and ends in the delta. A flood can move more material in a day than an ordinary \
     year does, which is why old maps of river mouths are so often wrong.",
    "To make a simple bread, mix flour, water, salt and a little yeast, and let the dough rest until it has doubled. Fold \
     it, shape it, and let it rise again. Bake it in a hot oven until the crust is brown and the loaf sounds hollow when \
     you knock on its base. Let it cool before you cut it.",
    "A list in most programming languages keeps its elements in order. Looking up an element by its position is fast, but \
     searching for a value means comparing one after another. A hash table turns a key into a position, so that a search \
     takes about the same time however many entries there are.",
    "In the second half the visitors changed their formation and held the ball for longer. The equaliser came from a corner \
     that nobody had cleared, and after that both sides seemed content with a draw. The manager said later that his team \
     had learnt more from this match than from the three it had won.",
];
/// Questions whose answers are to stay about as likely as they were: of many kinds, none of those that are learnt to be
/// kept, and most with short answers, in which a wrong word weighs.
pub const CANARIES: [&str; 24] = [
    "What is the capital of France?",
    "What is the capital of Italy?",
    "Which ocean lies between Europe and America?",
    "On which continent is Egypt?",
    "What is 7 plus 5?",
    "What is 10 minus 4?",
    "How many minutes are there in an hour?",
    "How many legs does a spider have?",
    "Name three colours.",
    "Which colour do you get when you mix blue and yellow?",
    "Which planet do we live on?",
    "What is the chemical formula of water?",
    "At what temperature does water boil?",
    "What does a doctor do?",
    "What do bees make?",
    "Why do we need sleep?",
    "Who wrote Romeo and Juliet?",
    "In which year did the Second World War end?",
    "What is the opposite of hot?",
    "What is the plural of 'mouse'?",
    "How do you say 'thank you' in Spanish?",
    "Write one sentence about the moon.",
    "Write a line of Python that prints 'hello'.",
    "Which day comes after Monday?",
];
/// What is asked besides, to see whether answers still come to an end.
const ASKED: [&str; 8] = [
    "Tell me about dogs.",
    "Tell me about the sea.",
    "Write a short story about a fox.",
    "Give me advice for a job interview.",
    "Describe a winter morning.",
    "List five fruits.",
    "Explain gravity to a child.",
    "Say hello in three languages.",
];
/// Tokens of the questions' answers.
const ANSWER: usize = 32;

/// How many questions there are in all.
pub const QUESTIONS: usize = CANARIES.len() + ASKED.len();

/// Prompts that are answered to see whether answers still come to an end.
pub fn asked(prompter: &Prompter) -> CliResult<Vec<Vec<u32>>> {
    CANARIES.iter().chain(&ASKED).map(|question| prompter.single(question)).collect()
}

/// Fixed questions with the answers of the model as it is, the likeliest ones.
pub fn canaries(task: &Task<'_>, prompter: &Prompter, device: &SessionOptions) -> CliResult<Vec<Example>> {
    let prompts: Vec<Vec<u32>> = CANARIES.iter().map(|q| prompter.single(q)).collect::<CliResult<_>>()?;
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let live = task.live.map(|(_, adapter)| adapter);
    let options = SessionOptions {
        ctx: Some(longest + ANSWER),
        slots: CANARIES.len(),
        modes: Modes::GENERATE,
        adapters: adapter_room(live),
        ..device.clone()
    };
    let mut session = Session::new(task.model, &options)?;
    if let Some(adapter) = live {
        session.set_adapters(&[(adapter, 1.0)])?;
    }
    let sampler = SamplerParams::greedy();
    let requests: Vec<Request<'_>> = prompts.iter().map(|prompt| Request { prompt, sampler }).collect();
    let tokenizer = prompter.tokenizer();
    let answers = session.generate_batch(&requests, ANSWER, &mut |_, token| {
        if tokenizer.is_eog(token) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let example = |(prompt, made): (&Vec<u32>, crate::session::Generated)| {
        let trained = (0..prompt.len() + made.tokens.len()).map(|i| i >= prompt.len()).collect();
        Example::new([prompt.as_slice(), &made.tokens].concat(), trained, Source::default())
    };
    Ok(prompts.iter().zip(answers).map(example).collect())
}
