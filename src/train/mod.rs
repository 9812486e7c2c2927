//! Fine-tuning: what becomes of text before a model is trained on it.

pub mod data;
