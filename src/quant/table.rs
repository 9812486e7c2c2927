//! The table of formats, in the order of [`Format::ALL`](super::Format::ALL).

use super::codec::{Codec, block_codec};
use super::float;
use super::iq4_nl::Iq4Nl;
use super::k_affine::{Q2K, Q4K, Q5K};
use super::k_symmetric::{Q3K, Q6K};
use super::legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

pub(super) static TABLE: [Codec; 14] = [
    float::F32,
    float::F16,
    float::BF16,
    block_codec::<Q4_0, _, _>(),
    block_codec::<Q4_1, _, _>(),
    block_codec::<Q5_0, _, _>(),
    block_codec::<Q5_1, _, _>(),
    block_codec::<Q8_0, _, _>(),
    block_codec::<Q2K, _, _>(),
    block_codec::<Q3K, _, _>(),
    block_codec::<Q4K, _, _>(),
    block_codec::<Q5K, _, _>(),
    block_codec::<Q6K, _, _>(),
    block_codec::<Iq4Nl, _, _>(),
];
