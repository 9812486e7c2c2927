//! The `ember` command as a user meets it: help, errors, exit codes, the store, files.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod adapt;
mod adapter;
#[path = "../../src/bounds.rs"]
mod bounds;
mod common;
mod data;
mod eval;
mod explain;
mod first;
mod fuzz;
mod general;
mod habits;
mod hostile;
mod hub;
mod journal;
mod live;
mod loops;
mod lora;
mod memory;
mod model_files;
mod models;
mod options;
mod outputs;
mod plan_tune;
mod prefer;
#[cfg(feature = "tokenizer")]
mod pretrain;
mod records;
mod repeat;
mod rl;
mod setting_up;
mod store;
mod terminal;
mod thinking;
mod tiny;
#[cfg(feature = "tokenizer")]
mod tokenizer;
mod tune;
#[cfg(all(feature = "gpu", feature = "plot"))]
mod tuning;
mod typing;
