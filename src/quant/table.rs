//! The table of formats, in the order of [`Format::ALL`](super::Format::ALL).

use super::codec::{Block, Codec, block_codec};
use super::float;
use super::fused::{self, codes, one};
use super::iq4_nl::Iq4Nl;
use super::k_affine::{Q2K, Q4K, Q5K};
use super::k_symmetric::{Q3K, Q6K};
use super::legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

pub(super) static TABLE: [Codec; 14] = [
    float::F32,
    float::F16,
    float::BF16,
    scaled::<Q4_0, 18, { codes::CENTRED }>(),
    scaled::<Q4_1, 20, { codes::MINIMUM }>(),
    block_codec::<Q5_0, _, _>(),
    block_codec::<Q5_1, _, _>(),
    scaled::<Q8_0, 34, { codes::SIGNED }>(),
    block_codec::<Q2K, _, _>(),
    block_codec::<Q3K, _, _>(),
    block_codec::<Q4K, _, _>(),
    block_codec::<Q5K, _, _>(),
    block_codec::<Q6K, _, _>(),
    block_codec::<Iq4Nl, _, _>(),
];

/// The table row of a format whose batches meet scaled weights, undecoded.
const fn scaled<B: Block<32, BYTES>, const BYTES: usize, const CODES: u8>() -> Codec {
    Codec {
        dot: one::dot::<B, BYTES>,
        product: Some(one::rows::<B, BYTES>),
        fused: Some(fused::step::<BYTES, CODES>),
        ..block_codec::<B, 32, BYTES>()
    }
}
