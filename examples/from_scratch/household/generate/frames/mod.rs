//! Wordings of everything that can be asked.
//!
//! A wording that begins with `!` asks for something to be done, so that "could you" may stand before it. `@value ` at the
//! beginning says which list is meant by the words alone. The gaps are those of [`frame`](super::frame). Wordings in `test`
//! stand nowhere else, in no other spelling and in no longer sentence.

mod clock;
mod house;
mod lists;
mod talk;

/// Something that can be asked, with its wordings.
#[derive(Debug)]
pub struct Kind {
    /// What is asked: the name of the arm in [`Asked`](super::asked::Asked).
    pub name: &'static str,
    /// Wordings for fine-tuning.
    pub sft: &'static [&'static str],
    /// More of them, for learning from rewards.
    pub rl: &'static [&'static str],
    /// Those of learning from rewards that are not in the corpus either.
    pub more: &'static [&'static str],
    /// Wordings that are held out.
    pub test: &'static [&'static str],
}

/// All kinds, in a fixed order.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    [house::KINDS, clock::KINDS, lists::KINDS, talk::KINDS].into_iter().flatten()
}
