//! The device layout: a weight tensor as up to four planes of words, interleaved by groups of 32 rows.
//!
//! Word `k` of row `r` in plane `p` lies at `offset[p] + ((r / 32) * units[p] + k) * 32 + r % 32`, so 32 lanes that each
//! hold a row read 32 consecutive words. Rows are padded with zero words to a multiple of 32. A plane of a row is the
//! concatenation of what its blocks add to it, little-endian, padded to a whole word; rows of floats are padded with zeros
//! to a multiple of eight, so that shaders read eight at a time to the end.

use super::codec::Codec;
use super::{Format, QuantError};
use crate::simd::half::from_f16;

/// Rows that are interleaved.
pub const GROUP_ROWS: usize = 32;
/// The most planes a format has.
pub const MAX_PLANES: usize = 4;
/// Weights that a shader reads at once.
const OCT: usize = 8;
/// What the rows of floats must be multiples of: shaders read activations in fours.
const FOUR: usize = 4;
/// The most bytes a block has in all planes together (Q6_K: 256 weights, 8-bit scales, f16).
const MAX_BLOCK_BYTES: usize = 256;

/// Where the planes of one tensor lie, in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Planes {
    /// First word of each plane; unused planes have the total.
    pub offset: [usize; MAX_PLANES],
    /// Words of a row in each plane; 0 for unused planes.
    pub units: [usize; MAX_PLANES],
    /// Number of planes in use.
    pub count: usize,
    /// Words of all planes.
    pub words: usize,
}

impl Planes {
    /// The offsets as the shaders' `planes` argument, if they fit 32 bits.
    pub fn to_u32(&self) -> Option<[u32; MAX_PLANES]> {
        let mut out = [0; MAX_PLANES];
        for (to, &from) in out.iter_mut().zip(&self.offset) {
            *to = u32::try_from(from).ok()?;
        }
        Some(out)
    }

    /// The same for the rows from `first` on, a multiple of [`GROUP_ROWS`].
    pub fn from_row(&self, first: usize) -> Self {
        let offset = std::array::from_fn(|plane| self.range(plane, first / GROUP_ROWS, 0).start);
        Self { offset, ..*self }
    }

    /// The words of plane `plane` that hold the rows of the groups `first .. first + groups`.
    ///
    /// A tensor repacked in pieces of whole groups is copied piece by piece to these ranges.
    pub fn range(&self, plane: usize, first: usize, groups: usize) -> std::ops::Range<usize> {
        let (offset, units) = match (self.offset.get(plane), self.units.get(plane)) {
            (Some(&offset), Some(&units)) => (offset, units),
            _ => (self.words, 0),
        };
        let start = offset + first * units * GROUP_ROWS;
        start..start + groups * units * GROUP_ROWS
    }
}

impl Format {
    /// The planes of a tensor of `rows` rows of `cols` weights. Sizes that overflow saturate, and [`Format::repack`]
    /// refuses them.
    pub fn planes(self, rows: usize, cols: usize) -> Planes {
        let codec = self.codec();
        let blocks = cols.next_multiple_of(OCT).div_ceil(codec.block_len);
        let padded = rows.div_ceil(GROUP_ROWS).saturating_mul(GROUP_ROWS);
        let mut planes = Planes { count: codec.plane_bytes.len(), ..Planes::default() };
        for (p, &bytes) in codec.plane_bytes.iter().enumerate() {
            planes.offset[p] = planes.words;
            planes.units[p] = blocks.saturating_mul(bytes).div_ceil(4);
            planes.words = planes.words.saturating_add(planes.units[p].saturating_mul(padded));
        }
        planes.offset[planes.count..].fill(planes.words);
        planes
    }

    /// Rewrites an encoded tensor of `rows` rows of `cols` weights into its planes.
    ///
    /// Any piece of whole groups of 32 rows may be repacked on its own: its planes are then copied to
    /// [`Planes::range`] of the whole.
    ///
    /// # Errors
    /// [`QuantError::RowLength`], [`QuantError::Bytes`] or [`QuantError::Words`] if the lengths do not fit.
    pub fn repack(self, src: &[u8], rows: usize, cols: usize, dst: &mut [u32]) -> Result<(), QuantError> {
        let planes = self.checked_planes(rows, cols, dst.len())?;
        let row_bytes = self.row_bytes(cols)?;
        let expected = row_bytes * rows;
        if src.len() != expected {
            let weights = rows * cols;
            return Err(QuantError::Bytes { format: self, weights, expected, found: src.len() });
        }
        dst.fill(0);
        if row_bytes == 0 {
            return Ok(());
        }
        for (row, bytes) in src.chunks_exact(row_bytes).enumerate() {
            repack_row(self.codec(), bytes, row, &planes, dst);
        }
        Ok(())
    }

    /// Decodes a tensor from its planes as the shaders do: same addresses, same order of operations.
    ///
    /// # Errors
    /// [`QuantError::RowLength`] or [`QuantError::Words`] if the lengths do not fit, [`QuantError::Bytes`] if `out` does
    /// not have `rows * cols` weights.
    pub fn decode_device(
        self,
        words: &[u32],
        rows: usize,
        cols: usize,
        out: &mut [f32],
    ) -> Result<(), QuantError> {
        let planes = self.checked_planes(rows, cols, words.len())?;
        let weights = rows * cols;
        if out.len() != weights {
            let (expected, found) = (weights * 4, out.len() * 4);
            return Err(QuantError::Bytes { format: Format::F32, weights, expected, found });
        }
        let view = View { words, planes };
        for (row, out) in out.chunks_mut(cols.max(1)).enumerate() {
            for (oct, out) in out.chunks_mut(OCT).enumerate() {
                out.copy_from_slice(&(self.codec().oct)(&view, row, oct)[..out.len()]);
            }
        }
        Ok(())
    }

    fn checked_planes(self, rows: usize, cols: usize, found: usize) -> Result<Planes, QuantError> {
        let multiple = self.block_len().max(FOUR);
        if !cols.is_multiple_of(multiple) {
            return Err(QuantError::RowLength { format: self, cols, multiple });
        }
        // Four bytes a weight and the padding to whole groups bound every plane of every format.
        let padded = cols.checked_add(OCT);
        let addressable = rows
            .checked_add(GROUP_ROWS)
            .zip(padded)
            .and_then(|(r, cols)| r.checked_mul(cols)?.checked_mul(4));
        if addressable.is_none() {
            return Err(QuantError::TooLarge { format: self, rows, cols });
        }
        let planes = self.planes(rows, cols);
        if planes.words != found {
            return Err(QuantError::Words { format: self, rows, cols, expected: planes.words, found });
        }
        Ok(planes)
    }
}

/// Adds the blocks of one row to zeroed planes.
fn repack_row(codec: &Codec, bytes: &[u8], row: usize, planes: &Planes, dst: &mut [u32]) {
    // Floats are copied eight at a time; the last may be four.
    let run = if codec.block_len == 1 { OCT } else { 1 };
    let mut buffer = [0u8; MAX_BLOCK_BYTES];
    for (b, blocks) in bytes.chunks(run * codec.block_bytes).enumerate() {
        if blocks.len() < run * codec.block_bytes {
            buffer.fill(0);
        }
        (codec.to_planes)(blocks, &mut buffer);
        let mut rest = &buffer[..];
        for (p, len) in codec.plane_bytes.iter().map(|len| run * len).enumerate() {
            let (piece, tail) = rest.split_at(len);
            rest = tail;
            let first =
                planes.offset[p] + (row / GROUP_ROWS) * planes.units[p] * GROUP_ROWS + row % GROUP_ROWS;
            put_bytes(piece, b * len, first, dst);
        }
    }
}

/// Puts bytes at `position` of a row's plane whose first word is `first`.
fn put_bytes(piece: &[u8], position: usize, first: usize, dst: &mut [u32]) {
    if let (0, (words, [])) = (position % 4, piece.as_chunks::<4>()) {
        for (k, word) in words.iter().enumerate() {
            dst[first + (position / 4 + k) * GROUP_ROWS] = u32::from_le_bytes(*word);
        }
        return;
    }
    for (i, pair) in piece.as_chunks::<2>().0.iter().enumerate() {
        let at = position + 2 * i;
        dst[first + (at / 4) * GROUP_ROWS] |= u32::from(u16::from_le_bytes(*pair)) << (8 * (at % 4));
    }
}

/// A tensor on the device, as the shaders see it.
pub(crate) struct View<'a> {
    words: &'a [u32],
    planes: Planes,
}

impl View<'_> {
    /// The shaders' `w_word`.
    pub(crate) fn word(&self, plane: usize, row: usize, k: usize) -> u32 {
        let units = self.planes.units[plane];
        self.words
            [self.planes.offset[plane] + ((row / GROUP_ROWS) * units + k) * GROUP_ROWS + row % GROUP_ROWS]
    }

    /// The byte at `index` of a row's plane.
    pub(crate) fn byte(&self, plane: usize, row: usize, index: usize) -> u8 {
        self.word(plane, row, index / 4).to_le_bytes()[index % 4]
    }

    /// The f16 at `index` of a row's plane.
    pub(crate) fn f16(&self, plane: usize, row: usize, index: usize) -> f32 {
        from_f16((self.word(plane, row, index / 2) >> (16 * (index % 2))) as u16)
    }

    /// Eight integers of `bits` bits each, from bit `first` of a word.
    pub(crate) fn ints(&self, plane: usize, row: usize, k: usize, first: usize, bits: usize) -> [u32; 8] {
        let word = self.word(plane, row, k) >> first;
        std::array::from_fn(|i| (word >> (bits * i)) & ((1 << bits) - 1))
    }
}

/// Packs the bits `shift .. shift + bits` of each code, first code lowest.
pub(crate) fn pack_bits(codes: &[u8], shift: usize, bits: usize, out: &mut [u8]) {
    let mask = ((1u16 << bits) - 1) as u8;
    for (out, codes) in out.iter_mut().zip(codes.chunks_exact(8 / bits)) {
        *out = codes.iter().enumerate().fold(0, |byte, (i, c)| byte | (((c >> shift) & mask) << (bits * i)));
    }
}
