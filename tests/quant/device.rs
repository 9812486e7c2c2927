//! The device layout: what is repacked decodes, by the shaders' addresses, to the same bits as the file's blocks.

use emberlm::quant::{Format, GROUP_ROWS, QuantError};

use crate::{Normal, assert_same_bits, decode, encode};

/// Row lengths that exercise odd numbers of blocks: two f16 scales share a word; floats that end in half an oct.
fn widths(format: Format) -> [usize; 3] {
    match format.block_len() {
        1 => [8, 20, 76],
        len => [len, 3 * len, 4 * len],
    }
}

fn repack(format: Format, bytes: &[u8], rows: usize, cols: usize) -> Vec<u32> {
    let mut words = vec![u32::MAX; format.planes(rows, cols).words];
    format.repack(bytes, rows, cols, &mut words).unwrap();
    words
}

#[test]
fn repacked_rows_decode_bit_for_bit() {
    let mut normal = Normal::new(3);
    for format in Format::ALL {
        for cols in widths(format) {
            for rows in [1, 5, 32, 33, 70] {
                let bytes = encode(format, &normal.vec(rows * cols));
                let expected = decode(format, &bytes, rows * cols);
                let words = repack(format, &bytes, rows, cols);
                let mut found = vec![0.0; rows * cols];
                format.decode_device(&words, rows, cols, &mut found).unwrap();
                assert_same_bits(&format!("{format} {rows} x {cols}"), &found, &expected);
            }
        }
    }
}

#[test]
fn random_codes_and_scales_decode_bit_for_bit() {
    let mut normal = Normal::new(4);
    for format in Format::ALL {
        let (rows, cols) = (7, 3 * format.block_len().max(8));
        let n = format.row_bytes(cols).unwrap() * rows;
        let bytes: Vec<u8> = (0..n).map(|_| (normal.uniform() * 256.0) as u8).collect();
        let expected = decode(format, &bytes, rows * cols);
        let words = repack(format, &bytes, rows, cols);
        let mut found = vec![0.0; rows * cols];
        format.decode_device(&words, rows, cols, &mut found).unwrap();
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            assert!(f.to_bits() == e.to_bits() || (f.is_nan() && e.is_nan()), "{format} {i}: {f} {e}");
        }
    }
}

#[test]
fn padding_rows_are_zero() {
    for format in Format::ALL {
        let cols = 2 * format.block_len().max(8);
        let bytes = encode(format, &vec![1.0; cols]);
        let words = repack(format, &bytes, 1, cols);
        assert_eq!(words.len() % GROUP_ROWS, 0);
        assert!(words.iter().enumerate().all(|(i, w)| i % GROUP_ROWS == 0 || *w == 0), "{format}");
    }
}

#[test]
fn pieces_of_whole_groups_make_the_whole() {
    let mut normal = Normal::new(5);
    for format in Format::ALL {
        let (rows, cols) = (75, 2 * format.block_len().max(8));
        let bytes = encode(format, &normal.vec(rows * cols));
        let planes = format.planes(rows, cols);
        let mut words = vec![0; planes.words];
        let mut piece = vec![0; format.planes(GROUP_ROWS, cols).words];
        let row_bytes = format.row_bytes(cols).unwrap();
        for (group, bytes) in bytes.chunks(GROUP_ROWS * row_bytes).enumerate() {
            format.repack(bytes, bytes.len() / row_bytes, cols, &mut piece).unwrap();
            let piece_planes = format.planes(GROUP_ROWS, cols);
            for p in 0..planes.count {
                words[planes.range(p, group, 1)].copy_from_slice(&piece[piece_planes.range(p, 0, 1)]);
            }
        }
        assert_eq!(words, repack(format, &bytes, rows, cols), "{format}");
    }
}

/// The layout that the shaders are written for, on one format, word by word.
#[test]
fn q4_1_layout_is_as_documented() {
    let cols = 64;
    let mut bytes = Vec::new();
    for block in 0..2u8 {
        bytes.extend([block, 0x3c, block, 0x40]);
        // Weight j is j % 16 in the first half, 15 - j % 16 in the second.
        bytes.extend((0..16).map(|j| j | ((15 - j) << 4)));
    }
    let words = repack(Format::Q4_1, &bytes, 1, cols);
    let planes = Format::Q4_1.planes(1, cols);
    assert_eq!((planes.count, planes.offset, planes.units), (2, [0, 256, 320, 320], [8, 2, 0, 0]));
    let row: Vec<u32> = words.iter().step_by(GROUP_ROWS).copied().collect();
    let quants = [0x7654_3210, 0xfedc_ba98, 0x89ab_cdef, 0x0123_4567];
    assert_eq!(row[..8], [quants, quants].concat());
    assert_eq!(row[8..], [0x4000_3c00, 0x4001_3c01]);
}

#[test]
fn wrong_sizes_are_typed_errors() {
    let f = Format::Q4K;
    assert_eq!(f.row_bytes(100), Err(QuantError::RowLength { format: f, cols: 100, multiple: 256 }));
    let mut words = [0; 4];
    assert!(matches!(f.repack(&[], 1, 100, &mut words), Err(QuantError::RowLength { .. })));
    assert!(matches!(f.repack(&[0; 144], 1, 256, &mut words), Err(QuantError::Words { expected: 1184, .. })));
    let error = Format::F16.repack(&[], 1, 10, &mut words).unwrap_err();
    assert_eq!(error, QuantError::RowLength { format: Format::F16, cols: 10, multiple: 4 });
    let huge = f.repack(&[], usize::MAX / 2, 256, &mut words);
    assert!(matches!(huge, Err(QuantError::TooLarge { .. })), "{huge:?}");
    assert!(matches!(
        f.decode(&[0; 143], &mut [0.0; 256]),
        Err(QuantError::Bytes { expected: 144, found: 143, .. })
    ));
    assert!(error.to_string().contains("multiple of 4"), "{error}");
}

#[test]
fn names_and_numbers_are_found_again() {
    for format in Format::ALL {
        assert_eq!(Format::from_ggml_id(format.ggml_id()), Some(format));
        assert_eq!(Format::from_name(&format.name().to_lowercase()), Some(format));
        assert_eq!(format.stem(), format.name().to_lowercase());
    }
    assert_eq!(Format::from_ggml_id(9), None);
    assert_eq!(Format::from_name("Q9_9"), None);
    let ids = Format::ALL.map(Format::ggml_id);
    assert_eq!(ids, [0, 1, 30, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20]);
}
