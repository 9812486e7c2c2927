//! The `ember` command as a user meets it: help, errors, exit codes, the store, files.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod adapt;
mod adapter;
mod common;
mod eval;
mod general;
mod journal;
mod live;
mod lora;
mod model_files;
mod models;
mod plan_tune;
mod prefer;
mod rl;
mod store;
mod tune;
