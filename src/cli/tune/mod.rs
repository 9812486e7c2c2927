//! Fine-tuning at the command line.

pub mod args;
pub mod preview;
