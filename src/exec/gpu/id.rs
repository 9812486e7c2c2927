//! Candidates by their places in the table of kernels, and by their names.

use std::collections::HashMap;

use super::candidates::Term;
use super::kernels::KERNELS;

/// A candidate, by its places in the table of kernels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CandidateId {
    /// Index into [`KERNELS`].
    pub kernel: usize,
    /// Which of its candidates.
    pub candidate: usize,
}

impl CandidateId {
    /// For people: `linear.tiled.q4_1`, and which of its candidates where it has several, `linear.q4_1#3 TOKENS=4`.
    pub fn name(self) -> String {
        let Some(kernel) = KERNELS.get(self.kernel) else { return String::new() };
        let mut name = kernel.name();
        if let (true, Some(candidate)) = (kernel.candidates.len() > 1, kernel.candidates.get(self.candidate))
        {
            name += &format!("#{}", self.candidate + 1);
            for (constant, value) in candidate.constants {
                if let Term::Number(number) = value.term {
                    name += &format!(" {constant}={number}");
                }
            }
        }
        name
    }

    /// For files: one word, with the number always.
    pub fn word(self) -> String {
        let kernel = KERNELS.get(self.kernel).map(super::kernels::Kernel::name).unwrap_or_default();
        format!("{kernel}#{}", self.candidate + 1)
    }
}

/// Candidates by their words.
pub struct Named(HashMap<String, usize>);

impl Named {
    /// All of the table.
    pub fn all() -> Self {
        Self(KERNELS.iter().enumerate().map(|(at, kernel)| (kernel.name(), at)).collect())
    }

    /// The candidate that a word names.
    pub fn find(&self, word: &str) -> Option<CandidateId> {
        let (kernel, number) = word.rsplit_once('#')?;
        let kernel = *self.0.get(kernel)?;
        let candidate = number.parse::<usize>().ok()?.checked_sub(1)?;
        KERNELS.get(kernel)?.candidates.get(candidate)?;
        Some(CandidateId { kernel, candidate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_found_by_its_word() {
        let named = Named::all();
        for (kernel, each) in KERNELS.iter().enumerate() {
            for candidate in 0..each.candidates.len() {
                let id = CandidateId { kernel, candidate };
                assert_eq!(named.find(&id.word()), Some(id), "{}", id.word());
                assert!(!id.word().contains(char::is_whitespace));
            }
        }
        let first = CandidateId { kernel: 0, candidate: 0 }.word();
        for bad in
            ["", "nothing#1", first.trim_end_matches("#1"), &first.replace("#1", "#0"), &format!("{first}99")]
        {
            assert_eq!(named.find(bad), None, "{bad}");
        }
    }
}
