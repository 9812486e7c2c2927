//! Fine-tuning at the command line.

pub mod preview;
