//! What a CPU twin sees: its arguments as slices, its parameters, the step, and its share of the work.
//!
//! Twins run on several threads at once. Each part gets a disjoint piece of every output, so that the code of
//! the ops stays free of `unsafe`; it is confined to this folder.

mod cache;
mod context;
mod parts;
mod plain;
mod real;

pub use crate::kernels::Matrix;
pub use cache::{Cache, CacheColumns};
pub use context::Context;
pub use parts::{Columns, Pieces, Raw, View};
pub use real::Real;
