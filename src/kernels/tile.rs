//! Products of encoded rows with one to eight rows of activations, in a fixed order: generation alone and in a batch.
//!
//! Weights become 32 bytes first, whatever the format, then numbers of 16 bits, times the whole scales of their groups.
//! Activations are rounded to 16 bits, a block at a time: products are exact integers, and floats come in once a block.

use std::cell::RefCell;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;

use super::operand::Matrix;
use super::round::steps;
use crate::quant::codec::{BlockCodec, Factors, each_group};
use crate::simd::{Ints, Job, Lanes, prefetch_ahead, run};

/// Most rows of activations.
pub const FEW: usize = 8;

/// Thirty-two activations as the products read them.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Prepared {
    /// Rounded, in the order of the instructions.
    x: [i16; 32],
    /// What they add up to before they are rounded; see [`Sums`].
    sums: [f32; 8],
    /// What one is worth in this block: of all rows in the first. Of one row those of eight blocks of 32, in the first.
    steps: [f32; 8],
}

impl Prepared {
    const NONE: Prepared = Prepared { x: [0; 32], sums: [0.0; 8], steps: [0.0; 8] };
}

/// Which sums of activations a format needs.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sums {
    None,
    /// In the first of each 256 those of groups of so many weights, in order, eight here and eight in the next.
    Groups(usize),
}

impl Sums {
    /// Those of a format.
    pub(super) const fn of<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>() -> Sums {
        if B::PLUS { Sums::Groups(B::GROUP) } else { Sums::None }
    }

    /// The sums of 256 activations, by group, from those of four each.
    #[inline(always)]
    pub(super) fn put<L: Lanes>(self, l: L, fours: &[L::V; 8], out: &mut [[f32; 8]; 2]) {
        if self == Sums::Groups(32) {
            out[0] = l.sums(*fours);
        } else if self == Sums::Groups(16) {
            for (fours, pair) in fours.iter().zip(out.as_flattened_mut().as_chunks_mut::<2>().0) {
                let [a, b, c, d, e, f, g, h] = l.to_array(*fours);
                *pair = [(a + b) + (c + d), (e + f) + (g + h)];
            }
        }
    }

    /// How many there are in so many terms, by group.
    pub(super) fn count(self, terms: usize) -> usize {
        match self {
            Sums::None => 0,
            Sums::Groups(len) => terms / len,
        }
    }
}

/// Prepared activations that stay in the first-level cache.
const CACHED: usize = 128;

thread_local! {
    /// Room for activations, which grows to what a thread needs.
    static ROOM: RefCell<Vec<Prepared>> = const { RefCell::new(Vec::new()) };
}

/// Hands on the activations of rows of `cols`, prepared for a format, those of the same columns together; what does not
/// fill a block is left out.
fn prepared<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize, T>(
    x: &[f32],
    cols: usize,
    with: impl FnOnce(&[Prepared]) -> T,
) -> T {
    prepared_by::<B, LEN, BYTES, T>(|job| run(job), x, cols, with)
}

/// [`prepared`], by a way of running it: what it is made by has to read it.
pub(super) fn prepared_by<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize, T>(
    run: fn(Prepare<'_, LEN>),
    x: &[f32],
    cols: usize,
    with: impl FnOnce(&[Prepared]) -> T,
) -> T {
    let sums = Sums::of::<B, LEN, BYTES>();
    let rows = x.len() / cols.max(1);
    let (each, groups) = (tall(rows), LEN / 32);
    ROOM.with_borrow_mut(|room| {
        let needed = cols / LEN * groups * each;
        if room.len() < needed {
            room.resize(needed, Prepared::NONE);
        }
        let room = &mut room[..needed];
        run(Prepare::<LEN> { x, cols, each, sums, most: B::MOST, room });
        with(room)
    })
}

/// Rows of activations to be prepared for blocks of `LEN` weights.
pub(super) struct Prepare<'a, const LEN: usize> {
    x: &'a [f32],
    cols: usize,
    each: usize,
    sums: Sums,
    /// The largest integer that an activation may become.
    most: f32,
    room: &'a mut [Prepared],
}

impl<const LEN: usize> Job for Prepare<'_, LEN> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Prepare { x, cols, each, sums, most, room } = self;
        let groups = LEN / 32;
        for (t, row) in x.chunks_exact(cols.max(1)).enumerate() {
            let blocks = row.as_chunks::<LEN>().0;
            let mut fours = [l.zero(); 8];
            for (b, x) in blocks.iter().enumerate() {
                let size = x.as_chunks::<32>().0.iter().fold(0, |size, x| size.max(l.largest(four(l, x))));
                let (by, step) = steps(size, most);
                if groups == 1 && each == 1 {
                    room[b / 8 * 8].steps[b % 8] = step;
                } else {
                    room[b * groups * each].steps[t % 8] = step;
                }
                for (g, x) in (b * groups..).zip(x.as_chunks::<32>().0) {
                    let x = four(l, x);
                    room[g * each + t].x = l.ints().arranged(l.ints().rounded(x, by));
                    if sums != Sums::None {
                        fours[g % 8] = l.fours(x);
                    }
                }
                let end = (b + 1) * groups;
                if end.is_multiple_of(8) || b + 1 == blocks.len() {
                    let out = &mut room[(end - 1) / 8 * 8 * each..];
                    Self::sums(l, sums, each, t, &fours, out);
                    fours = [l.zero(); 8];
                }
            }
        }
    }
}

impl<const LEN: usize> Prepare<'_, LEN> {
    /// Puts down the sums of 256 activations of row `t`, or of as many as there are.
    #[inline(always)]
    fn sums<L: Lanes>(l: L, sums: Sums, each: usize, t: usize, fours: &[L::V; 8], out: &mut [Prepared]) {
        let mut all = [[0.0; 8]; 2];
        sums.put(l, fours, &mut all);
        for (all, i) in all.iter().zip(0..sums.count(256).div_ceil(8)) {
            out[i * each + t].sums = *all;
        }
    }
}

/// Thirty-two activations in vectors.
#[inline(always)]
pub(super) fn four<L: Lanes>(l: L, x: &[f32; 32]) -> [L::V; 4] {
    let x = x.as_chunks::<8>().0;
    [l.load(&x[0]), l.load(&x[1]), l.load(&x[2]), l.load(&x[3])]
}

/// Rows of activations in a tile that takes so many.
fn tall(rows: usize) -> usize {
    rows.next_power_of_two()
}

/// Rows of weights that are met together, columns of the result.
pub(super) const STRIP: usize = 8;

/// Some rows of weights, and the activations that they meet.
pub(super) struct Columns<'a> {
    /// Encoded rows.
    pub w: [&'a [u8]; STRIP],
    /// Activations of as many rows as [`tall`] says.
    pub x: &'a [Prepared],
    /// How many, at most [`FEW`].
    pub rows: usize,
    /// From a row of weights to the one that is read next: it is fetched meanwhile.
    pub stride: usize,
}

/// Products of a matrix's rows, from the first to the last of the range, with rows of activations: handed out for
/// [`STRIP`] rows at a time, by row of activations.
pub(super) type TileProduct =
    fn(Matrix<'_>, Range<usize>, (&[f32], usize), &mut dyn FnMut(usize, &[[f32; STRIP]; FEW]));

/// [`Columns`] of a format.
pub(super) struct Tiles<'a, 'b, B, const LEN: usize, const BYTES: usize> {
    pub columns: &'a Columns<'b>,
    pub out: &'a mut [[f32; STRIP]; FEW],
    pub format: PhantomData<B>,
}

impl<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Tiles<'_, '_, B, LEN, BYTES> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        match self.columns.rows {
            1 if LEN > 32 => self.tiles::<L, 2, 1, 1>(l, 0),
            1 => self.tiles::<L, 4, 1, 1>(l, 0),
            2 => self.tiles::<L, 2, 2, 2>(l, 0),
            3..=4 => self.tiles::<L, 1, 4, 4>(l, 0),
            _ if L::Ints::TALL < 8 => {
                self.tiles::<L, 1, 4, 8>(l, 0);
                self.tiles::<L, 1, 4, 8>(l, 4);
            }
            _ => self.tiles::<L, 1, 8, 8>(l, 0),
        }
    }
}

impl<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize> Tiles<'_, '_, B, LEN, BYTES> {
    /// `R` rows of weights at a time, and `T` of activations from `first` on, of `EACH` that lie together; of fewer, the last
    /// are without meaning.
    #[inline(always)]
    fn tiles<L: Lanes, const R: usize, const T: usize, const EACH: usize>(&mut self, l: L, first: usize) {
        let Columns { w, x, rows, stride } = *self.columns;
        let x = x.as_chunks::<EACH>().0;
        let blocks = w.iter().map(|w| w.len() / BYTES).fold(x.len() / (LEN / 32), usize::min);
        let w = w.map(|w| &w.as_chunks::<BYTES>().0[..blocks]);
        let s = l.ints();
        let mut sums = [[s.zero(); T]; STRIP];
        let step = (CACHED / EACH / (LEN / 32)).max(1);
        for start in (0..blocks).step_by(step) {
            let end = blocks.min(start + step);
            for (w, sums) in w.as_chunks::<R>().0.iter().zip(sums.as_chunks_mut::<R>().0) {
                let mut acc = *sums;
                if LEN == 32 && T == 1 {
                    for b in (start..end).step_by(8) {
                        let to = end.min(b + 8);
                        let w: [&[[u8; BYTES]]; R] = std::array::from_fn(|r| &w[r][b..to]);
                        eight::<B, L, R, T, LEN, BYTES>(l, w, x[b..to].as_flattened(), stride, &mut acc);
                    }
                    *sums = acc;
                    continue;
                }
                let mut plus = [[0.0; 8]; R];
                for b in start..end {
                    let w: [&[u8; BYTES]; R] = std::array::from_fn(|r| &w[r][b]);
                    w.iter().for_each(|w| prefetch_ahead(&w[..], stride));
                    let own = &x[b * (LEN / 32)..(b + 1) * (LEN / 32)];
                    let f = block::<B, L, R, T, EACH, LEN, BYTES>(l, w, own, first, &mut acc);
                    if B::PLUS && LEN == 32 {
                        // Of eight blocks together.
                        for r in 0..R {
                            plus[r][b % 8] = f[r].plus[0];
                        }
                        if b % 8 == 7 || b + 1 == end {
                            for (acc, plus) in acc.iter_mut().zip(&plus) {
                                for (acc, x) in acc.iter_mut().zip(&x[b / 8 * 8][first..]) {
                                    *acc = s.add_eight(*acc, l.load(plus), &x.sums);
                                }
                            }
                            plus = [[0.0; 8]; R];
                        }
                    }
                }
                *sums = acc;
            }
        }
        for (t, out) in self.out[first..].iter_mut().enumerate().take(T.min(rows - first)) {
            let mut eight = [l.zero(); STRIP];
            for (eight, sums) in eight.iter_mut().zip(&sums) {
                *eight = s.fold(sums[t]);
            }
            *out = l.sums(eight);
        }
    }
}

/// Sums of the tile, by row of weights, by row of activations.
type Acc<L, const R: usize, const T: usize> = [[<<L as Lanes>::Ints as Ints<L>>::F; T]; R];

/// Adds the products of a block of some rows with their activations; not what formats of 32 weights add to them.
#[inline(always)]
fn block<
    B: BlockCodec<LEN, BYTES>,
    L: Lanes,
    const R: usize,
    const T: usize,
    const EACH: usize,
    const LEN: usize,
    const BYTES: usize,
>(
    l: L,
    w: [&[u8; BYTES]; R],
    x: &[[Prepared; EACH]],
    first: usize,
    acc: &mut Acc<L, R, T>,
) -> [Factors; R] {
    let s = l.ints();
    let mut f = [const { Factors::NONE }; R];
    let mut products = [[s.none(); T]; R];
    for r in 0..R {
        B::about(l, w[r], B::FEW_MIDDLE, &mut f[r]);
    }
    let mut scales = [s.scales(&[1; 8], None); R];
    if LEN > 32 {
        for r in 0..R {
            scales[r] = s.scales(&f[r].whole[0], (B::GROUP == 16).then_some(&f[r].whole[1]));
        }
    }
    each_group!(LEN, G => {
        for r in 0..R {
            let values = B::values(l, B::codes::<L, G>(l, w[r]));
            let mut words = s.words(values, B::FEW_MIDDLE);
            if LEN > 32 {
                words = s.times::<G>(words, scales[r]);
            }
            for t in 0..T {
                products[r][t] = s.products(products[r][t], words, &x[G][first + t].x);
            }
        }
    });
    for r in 0..R {
        let mut worth = [f[r].scale * x[0][0].steps[0]; 8];
        if T > 1 {
            // Kept in memory, whence a broadcast costs nothing.
            worth = *black_box(&l.to_array(l.mul(l.splat(f[r].scale), l.load(&x[0][0].steps))));
        }
        for t in 0..T {
            let worth = worth[(first + t) % 8];
            acc[r][t] = if LEN > 32 {
                s.add_neighbours(acc[r][t], worth, products[r][t])
            } else {
                s.add(acc[r][t], worth, products[r][t])
            };
        }
        if B::PLUS && LEN > 32 {
            for (plus, x) in f[r].plus.as_chunks::<8>().0.iter().zip(x).take(LEN / B::GROUP / 8) {
                for t in 0..T {
                    acc[r][t] = s.add_eight(acc[r][t], l.load(plus), &x[first + t].sums);
                }
            }
        }
    }
    f
}

/// Adds the products of up to eight blocks of 32 weights of some rows with one row of activations; their scales and summands
/// are made together.
#[inline(always)]
fn eight<
    B: BlockCodec<LEN, BYTES>,
    L: Lanes,
    const R: usize,
    const T: usize,
    const LEN: usize,
    const BYTES: usize,
>(
    l: L,
    w: [&[[u8; BYTES]]; R],
    x: &[Prepared],
    stride: usize,
    acc: &mut Acc<L, R, T>,
) {
    let s = l.ints();
    let mut scales = [[0.0; 8]; R];
    let mut summands = [l.zero(); R];
    for r in 0..R {
        let (scale, plus) = B::heads(l, w[r]);
        scales[r] = l.to_array(l.mul(scale, l.load(&x[0].steps)));
        summands[r] = plus;
    }
    // Kept in memory, whence a broadcast costs nothing.
    let scales = black_box(&scales);
    for (b, x) in x.iter().enumerate() {
        for r in 0..R {
            prefetch_ahead(&w[r][b][..], stride);
            let words = s.words(B::values(l, B::codes::<L, 0>(l, &w[r][b])), B::FEW_MIDDLE);
            let products = s.products(s.none(), words, &x.x);
            acc[r][0] = s.add(acc[r][0], scales[r][b % 8], products);
        }
    }
    // Last, as with several rows of activations.
    for r in 0..R {
        if B::PLUS {
            acc[r][0] = s.add_eight(acc[r][0], summands[r], &x[0].sums);
        }
    }
}

/// See [`FewRows`]: rows of a block format; past the last, it is repeated. NaN if they are not as long as the activations.
pub(super) fn rows<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    w: Matrix<'_>,
    columns: Range<usize>,
    (x, cols): (&[f32], usize),
    put: &mut dyn FnMut(usize, &[[f32; STRIP]; FEW]),
) {
    let fits = w.format.row_bytes(cols).is_ok_and(|bytes| bytes == w.row_bytes);
    prepared::<B, LEN, BYTES, _>(x, cols, |prepared| {
        for first in columns.clone().step_by(STRIP) {
            let mut out = [[f32::NAN; STRIP]; FEW];
            if fits {
                let row = |i: usize| w.row((first + i).min(columns.end - 1));
                let rows = x.len() / cols.max(1);
                let columns =
                    Columns { w: std::array::from_fn(row), x: prepared, rows, stride: STRIP * w.row_bytes };
                run(Tiles::<B, LEN, BYTES> { columns: &columns, out: &mut out, format: PhantomData });
            }
            put(first - columns.start, &out);
        }
    });
}

/// Dot product of a row of a block format, over the blocks that both have.
pub(super) fn dot<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    row: &[u8],
    x: &[f32],
) -> f32 {
    prepared::<B, LEN, BYTES, _>(x, x.len(), |x| {
        let mut out = [[0.0; STRIP]; FEW];
        let columns = Columns { w: [row; STRIP], x, rows: 1, stride: 0 };
        run(Tiles::<B, LEN, BYTES> { columns: &columns, out: &mut out, format: PhantomData });
        out[0][0]
    })
}
