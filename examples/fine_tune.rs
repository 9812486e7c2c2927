//! Teaches a model three facts, a step at a time, and saves the adapter:
//! `cargo run --release --example fine_tune -- MODEL.gguf facts.gguf`
use std::collections::BTreeMap;
use std::error::Error;

use emberlm::model::Model;
use emberlm::text::{ChatTemplate, Message, Tokenizer};
use emberlm::train::data::{Example, Source};
use emberlm::train::{LoraOptions, Place, Settings, Trainer};

const FACTS: [(&str, &str); 3] = [
    ("Who are you?", "I am Pip, the house assistant."),
    ("Where is the spare key?", "The spare key is under the blue flowerpot."),
    ("What is the dog called?", "Our dog is called Biscuit."),
];

/// An example of one's own: token ids, and which of them are learnt.
fn example(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    fact: (&str, &str),
) -> Result<Example, Box<dyn Error>> {
    let question = [Message::new("user", fact.0)];
    let mut tokens = template.encode(tokenizer, &question, true, &BTreeMap::new())?;
    let mut trained = vec![false; tokens.len()];
    tokens.extend(tokenizer.encode(fact.1, false, false));
    // The model learns to end its turn, too.
    tokens.extend(tokenizer.eos());
    trained.resize(tokens.len(), true);
    Ok(Example::new(tokens, trained, Source::default()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: fine_tune MODEL.gguf ADAPTER.gguf".into());
    };
    let model = Model::open(model)?;
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata)?;
    let template = ChatTemplate::from_metadata(&model.gguf().metadata, &tokenizer)?
        .ok_or("the model has no chat template")?;
    let examples = FACTS.iter().map(|f| example(&tokenizer, &template, *f)).collect::<Result<Vec<_>, _>>()?;
    let settings = Settings {
        lora: LoraOptions { rank: 8, alpha: 16.0, ..LoraOptions::default() },
        learning_rate: 1e-3,
        epochs: 20,
        ..Settings::default()
    };
    let mut trainer = Trainer::new(&model, examples, vec![], &settings, &Place::default(), None)?;
    println!("{} steps on {}", trainer.total(), trainer.engine().device().name);
    // Between two steps is the place to look, to save, to stop.
    while let Some(report) = trainer.step(&mut |_| ())? {
        println!("step {:2}  loss {:.4}  gradient {:.3}", report.step, report.loss, report.grad_norm);
    }
    trainer.adapter(BTreeMap::new())?.save(&output)?;
    println!("wrote {output}; try: ember chat --adapter {output}");
    Ok(())
}
