//! Asking for facts: the likeliest answers of the model as it is now.

use std::time::Instant;

use super::circles;
use super::teach::{ANSWER, Fact, Lecture, Recall, School, Step, go_on};

impl School<'_> {
    /// Asks for the new facts in all wordings; true if there is nothing more to do for them.
    pub(super) fn ask(&mut self) -> Step<bool> {
        let prompts: Vec<Vec<u32>> = self.facts.iter().flat_map(|fact| fact.asked.iter().cloned()).collect();
        let mut answers = self.answers(&prompts)?.into_iter();
        self.recalls = self.facts.iter().map(|fact| recall(fact, &mut answers)).collect();
        let known = self.recalls.iter().filter(|recall| recall.known()).count();
        go_on((self.watch)(Lecture::Asked { known, of: self.facts.len(), earlier: None }))?;
        Ok(self.recalls.iter().all(|recall| recall.firm()))
    }

    /// Asks for the earlier facts, each as it was asked; true if no fewer are known than before.
    pub(super) fn earlier_hold(&mut self) -> Step<bool> {
        if self.earlier.is_empty() {
            return Ok(true);
        }
        let prompts: Vec<Vec<u32>> =
            self.earlier.iter().filter_map(|fact| fact.asked.first().cloned()).collect();
        let answers = self.answers(&prompts)?;
        let known: Vec<bool> =
            self.earlier.iter().zip(answers).map(|(fact, answer)| (fact.known)(&answer)).collect();
        let count = known.iter().filter(|known| **known).count();
        self.earlier_known = Some(known);
        let new = self.recalls.iter().filter(|recall| recall.known()).count();
        let earlier = Some((count, self.earlier.len()));
        go_on((self.watch)(Lecture::Asked { known: new, of: self.facts.len(), earlier }))?;
        Ok(count >= self.known_before.min(self.earlier.len()))
    }

    /// The likeliest answers to prompts.
    fn answers(&mut self, prompts: &[Vec<u32>]) -> Step<Vec<String>> {
        go_on((self.watch)(Lecture::Asking { questions: prompts.len() }))?;
        let start = Instant::now();
        let tokenizer = self.judge.tokenizer();
        let written = circles::greedy(self.trainer.engine(), prompts, ANSWER, tokenizer)?;
        // A model that cannot write says nothing.
        let mut answers: Vec<String> =
            written.iter().flatten().map(|made| tokenizer.decode(&made.tokens, true)).collect();
        answers.resize(prompts.len(), String::new());
        self.asking = start.elapsed();
        (self.pause)(self.asking);
        Ok(answers)
    }
}

/// What the next answers say of a fact.
fn recall(fact: &Fact, answers: &mut impl Iterator<Item = String>) -> Recall {
    let mut right = (0..fact.asked.len()).map(|_| answers.next().is_some_and(|answer| (fact.known)(&answer)));
    let as_asked = right.next().unwrap_or(false);
    Recall { as_asked, others: right.filter(|right| *right).count(), of: fact.asked.len().saturating_sub(1) }
}
