//! Reads `.npy` files of f32, i32 and i64.

use std::fs;
use std::path::Path;

/// An array: its shape and its little-endian bytes.
pub struct Npy {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    kind: String,
    bytes: Vec<u8>,
    path: String,
}

impl Npy {
    /// Reads the whole file.
    pub fn read(path: &Path) -> Self {
        let shown = path.display().to_string();
        let file = fs::read(path).unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert!(file.len() > 12 && &file[..6] == b"\x93NUMPY", "{shown}: not an .npy file");
        let (start, length) = match file[6] {
            1 => (10, usize::from(u16::from_le_bytes([file[8], file[9]]))),
            _ => (12, u32::from_le_bytes([file[8], file[9], file[10], file[11]]) as usize),
        };
        let header = std::str::from_utf8(&file[start..start + length]).expect("an ASCII header");
        assert!(header.contains("'fortran_order': False"), "{shown}: column order");
        let kind = between(header, "'descr': '", "'").to_owned();
        let shape =
            between(header, "'shape': (", ")").split(',').filter_map(|n| n.trim().parse().ok()).collect();
        Self { shape, kind, bytes: file[start + length..].to_vec(), path: shown }
    }

    /// The values of an f32 array.
    pub fn f32(&self) -> Vec<f32> {
        self.values("<f4", |b: [u8; 4]| f32::from_le_bytes(b))
    }

    /// The values of an i32 array.
    pub fn i32(&self) -> Vec<i32> {
        self.values("<i4", |b: [u8; 4]| i32::from_le_bytes(b))
    }

    /// The values of an i32 or i64 array of token ids.
    pub fn tokens(&self) -> Vec<u32> {
        match self.kind.as_str() {
            "<i8" => {
                self.values("<i8", |b: [u8; 8]| u32::try_from(i64::from_le_bytes(b)).expect("a token id"))
            }
            _ => self.values("<i4", |b: [u8; 4]| u32::try_from(i32::from_le_bytes(b)).expect("a token id")),
        }
    }

    fn values<T, const N: usize>(&self, kind: &str, read: impl Fn([u8; N]) -> T) -> Vec<T> {
        assert_eq!(self.kind, kind, "{}: type of the elements", self.path);
        let values: Vec<T> = self.bytes.as_chunks().0.iter().map(|b| read(*b)).collect();
        assert_eq!(
            values.len(),
            self.shape.iter().product::<usize>(),
            "{}: as many values as the shape says",
            self.path
        );
        values
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).expect("a key of the header").1;
    rest.split_once(after).expect("its end").0
}

/// The values of an f32 file.
pub fn read_f32(path: &Path) -> Vec<f32> {
    Npy::read(path).f32()
}

/// The values of a file of token ids.
pub fn read_tokens(path: &Path) -> Vec<u32> {
    Npy::read(path).tokens()
}
