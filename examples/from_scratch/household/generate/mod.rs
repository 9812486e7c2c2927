//! Texts and rows about a household, made from a seed alone.

pub mod action;
pub mod asked;
pub mod corpus;
pub mod frame;
pub mod frames;
pub mod mistakes;
pub mod numbers;
pub mod rng;
pub mod rows;
pub mod stories;
pub mod words;
