//! What a program needs, checked against a budget before any device is touched.

use crate::plan::fit::human;
use crate::plan::{Layout, Program, SegmentKind, Suggestion, TensorId};

/// One item of the map, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// `kv cache`, `token_embd.weight`, `activations`.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
}

/// The program does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// More than the budget.
    #[error("the plan needs {}, the budget is {}; largest: {}{}", human(*needed), human(*budget), list(largest), hint(fits))]
    Over {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
        /// Largest items first.
        largest: Vec<Demand>,
        /// What would fit, where that was looked for.
        fits: Option<Suggestion>,
    },
    /// One tensor is larger than the device can bind.
    #[error("{tensor} needs {}, the device binds at most {}{}", human(*needed), human(*limit), hint(fits))]
    Binding {
        /// Tensor name.
        tensor: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
        /// What would fit, where that was looked for.
        fits: Option<Suggestion>,
    },
}

impl BudgetError {
    /// The same refusal with what would fit.
    pub fn with_fit(mut self, suggestion: Option<Suggestion>) -> Self {
        *self.fits_mut() = suggestion;
        self
    }

    /// What would fit, where that was looked for.
    pub fn fits_mut(&mut self) -> &mut Option<Suggestion> {
        match self {
            BudgetError::Over { fits, .. } | BudgetError::Binding { fits, .. } => fits,
        }
    }
}

fn list(items: &[Demand]) -> String {
    items.iter().map(|d| format!("{} {}", d.name, human(d.bytes))).collect::<Vec<_>>().join(", ")
}

fn hint(fits: &Option<Suggestion>) -> String {
    fits.as_ref().map_or(String::new(), |f| format!("; what fits: {f}"))
}

impl Layout {
    /// Items of the map, largest first: weights and state by tensor group, the rest by segment.
    pub fn demands(&self, program: &Program) -> Vec<Demand> {
        let mut items: Vec<Demand> = Vec::new();
        for kind in SegmentKind::ALL {
            if !matches!(kind, SegmentKind::Weights | SegmentKind::State) {
                items.push(Demand { name: kind.name().into(), bytes: self.segment(kind).bytes() });
            }
        }
        for (index, tensor) in program.tensors.iter().enumerate() {
            let Some(place) = self.placement(TensorId(index as u32)) else { continue };
            if !matches!(place.segment, SegmentKind::Weights | SegmentKind::State) {
                continue;
            }
            let name = group(&tensor.name);
            match items.iter_mut().find(|d| d.name == name) {
                Some(item) => item.bytes += place.bytes,
                None => items.push(Demand { name, bytes: place.bytes }),
            }
        }
        items.retain(|d| d.bytes > 0);
        items.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        items
    }

    /// Refuses a map over `budget` bytes (`None`: no budget) or with a tensor larger than the device binds.
    pub fn check(&self, program: &Program, budget: Option<u64>) -> Result<(), BudgetError> {
        if let Some(budget) = budget.filter(|b| self.total() > *b) {
            let mut largest = self.demands(program);
            largest.truncate(4);
            return Err(BudgetError::Over { needed: self.total(), budget, largest, fits: None });
        }
        for (index, place) in self.placements.iter().enumerate() {
            if let Some(place) = place.filter(|p| p.bytes > self.profile.max_binding) {
                return Err(BudgetError::Binding {
                    tensor: program.tensors[index].name.clone(),
                    needed: place.bytes,
                    limit: self.profile.max_binding,
                    fits: None,
                });
            }
        }
        let largest = self.segments.iter().flat_map(|s| s.buffers.iter().map(move |b| (s.kind, *b)));
        match largest.max_by_key(|(_, b)| *b) {
            Some((kind, bytes)) if bytes > self.profile.max_buffer => Err(BudgetError::Binding {
                tensor: kind.name().into(),
                needed: bytes,
                limit: self.profile.max_buffer,
                fits: None,
            }),
            _ => Ok(()),
        }
    }
}

/// `blk.3.attn_q.weight` and `kv.3.k` counted by what they are: `blk.*.attn_q.weight`, `kv.*.k`.
fn group(name: &str) -> String {
    name.split('.')
        .map(|p| if p.bytes().all(|b| b.is_ascii_digit()) { "*" } else { p })
        .collect::<Vec<_>>()
        .join(".")
}
