#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod adapter;
#[cfg(test)]
mod bounds;
pub mod chat;
#[cfg(feature = "cli")]
pub mod cli;
pub mod exec;
pub mod explain;
pub mod gguf;
pub mod io;
#[cfg(feature = "train")]
pub mod journal;
pub mod kernels;
#[cfg(feature = "train")]
pub mod learn;
pub mod model;
pub mod ops;
pub mod plan;
pub mod quant;
pub mod quantize;
pub mod session;
pub mod simd;
pub mod text;
#[cfg(feature = "train")]
pub mod train;
