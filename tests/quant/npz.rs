//! A reader of NumPy's archives: a zip of `.npy` files, of which little-endian f32 and bytes in C order are read.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Array {
    pub(crate) fn floats(&self) -> Vec<f32> {
        self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

pub(crate) fn read(path: &Path) -> HashMap<String, Array> {
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut arrays = HashMap::new();
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).unwrap();
        let name = member.name().unwrap().trim_end_matches(".npy").to_owned();
        let mut data = Vec::new();
        member.read_to_end(&mut data).unwrap();
        arrays.insert(name, parse(&data));
    }
    arrays
}

fn parse(data: &[u8]) -> Array {
    assert_eq!(&data[..6], b"\x93NUMPY");
    assert_eq!(data[6], 1, "only version 1 of the npy header is read");
    let header_len = usize::from(u16::from_le_bytes([data[8], data[9]]));
    let header = std::str::from_utf8(&data[10..10 + header_len]).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    assert!(header.contains("'<f4'") || header.contains("'|u1'"), "{header}");
    let (_, shape) = header.split_once("'shape': (").unwrap();
    let (shape, _) = shape.split_once(')').unwrap();
    let shape = shape.split(',').filter_map(|s| s.trim().parse().ok()).collect();
    Array { shape, bytes: data[10 + header_len..].to_vec() }
}
