//! GGUF files made byte by byte, sound ones and hostile ones, for the tests of the reader.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

pub mod counting;

use std::path::PathBuf;

use emberlm::gguf::{GgufWriter, Metadata, StringArray, TensorSpec, Value};

/// A file under construction. Nothing is checked: what is called is what is written.
#[derive(Clone, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn header(version: u32, tensors: u64, entries: u64) -> Bytes {
        Bytes::default().raw(b"GGUF").u32(version).u64(tensors).u64(entries)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Bytes {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u32(self, n: u32) -> Bytes {
        self.raw(&n.to_le_bytes())
    }

    pub fn u64(self, n: u64) -> Bytes {
        self.raw(&n.to_le_bytes())
    }

    pub fn string(self, bytes: &[u8]) -> Bytes {
        self.u64(bytes.len() as u64).raw(bytes)
    }

    /// A key and the type of its value.
    pub fn key(self, key: &str, kind: u32) -> Bytes {
        self.string(key.as_bytes()).u32(kind)
    }

    /// A key and the start of an array.
    pub fn array(self, key: &str, kind: u32, count: u64) -> Bytes {
        self.key(key, 9).u32(kind).u64(count)
    }

    pub fn tensor(self, name: &str, dims: &[u64], type_id: u32, offset: u64) -> Bytes {
        let start = self.string(name.as_bytes()).u32(dims.len() as u32);
        dims.iter().fold(start, |bytes, &n| bytes.u64(n)).u32(type_id).u64(offset)
    }

    pub fn zeros(mut self, count: usize) -> Bytes {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// Zeros up to the next multiple of 32.
    pub fn pad(self) -> Bytes {
        let missing = self.0.len().next_multiple_of(32) - self.0.len();
        self.zeros(missing)
    }
}

/// A file that must be refused, and what the message must say.
pub struct Hostile {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub says: &'static [&'static str],
}

/// A file of one metadata entry, cut where `entry` ends.
fn one_entry(entry: impl FnOnce(Bytes) -> Bytes) -> Bytes {
    entry(Bytes::header(3, 0, 1))
}

/// A file of one tensor of type `type_id` and 4096 bytes of data.
fn one_tensor(dims: &[u64], type_id: u32, offset: u64) -> Bytes {
    Bytes::header(3, 1, 0).tensor("blk.0.w", dims, type_id, offset).pad().zeros(4096)
}

pub fn hostile() -> Vec<Hostile> {
    let mut all = hostile_metadata();
    all.extend(hostile_tensors());
    all
}

fn case(name: &'static str, bytes: Bytes, says: &'static [&'static str]) -> Hostile {
    Hostile { name, bytes: bytes.0, says }
}

fn hostile_metadata() -> Vec<Hostile> {
    let two = |first: Bytes| first.key("a.b", 4).u32(1);
    let nested = |depth: usize| {
        let start = one_entry(|b| b.key("deep", 9));
        (0..depth).fold(start, |bytes, _| bytes.u32(9).u64(1)).u32(4).u64(0)
    };
    vec![
        case("empty", Bytes::default(), &["offset 0", "magic", "0 left"]),
        case("magic only", Bytes::default().raw(b"GGUF"), &["offset 4", "version"]),
        case("another format", Bytes::default().raw(b"PK\x03\x04").zeros(60), &["offset 0", "GGUF"]),
        case("version 1", Bytes::header(1, 0, 0), &["offset 4", "version 1"]),
        case("version 4", Bytes::header(4, 0, 0), &["offset 4", "version 4"]),
        case("big-endian", Bytes::header(3 << 24, 0, 0), &["offset 4", "big-endian"]),
        case("endless metadata", Bytes::header(3, 0, u64::MAX), &["offset 16", "metadata"]),
        case("endless tensors", Bytes::header(3, u64::MAX, 0), &["offset 8", "tensor directory"]),
        case(
            "more entries than bytes",
            Bytes::header(3, 0, 8).zeros(100),
            &["offset 16", "8 entries", "112 bytes"],
        ),
        case(
            "endless key",
            one_entry(|b| b.u64(u64::MAX).zeros(40)),
            &["offset 32", "key of metadata entry 0"],
        ),
        case("empty key", one_entry(|b| b.string(b"").u32(4).u32(0)), &["offset 24", "0 bytes long"]),
        case(
            "long key",
            one_entry(|b| b.string(&[b'k'; 65_536]).u32(4).u32(0)),
            &["offset 24", "65536 bytes long"],
        ),
        case("key not UTF-8", one_entry(|b| b.string(b"\xff\xfe").u32(4).u32(0)), &["offset 24", "UTF-8"]),
        case("value type 13", one_entry(|b| b.key("k", 13).zeros(64)), &["offset 33", "\"k\"", "type 13"]),
        case("boolean 2", one_entry(|b| b.key("flag", 7).raw(&[2])), &["offset 40", "\"flag\"", "holds 2"]),
        case("value cut off", one_entry(|b| b.key("wide", 10).u32(7)), &["offset 40", "\"wide\"", "8 bytes"]),
        case(
            "string of 2^40",
            one_entry(|b| b.key("name", 8).u64(1 << 40).raw(b"xx")),
            &["\"name\"", "1099511627776"],
        ),
        case(
            "string not UTF-8",
            one_entry(|b| b.key("name", 8).string(b"\xc3")),
            &["offset 40", "\"name\"", "UTF-8"],
        ),
        case(
            "2^62 strings",
            one_entry(|b| b.array("tokens", 8, 1 << 62).zeros(64)),
            &["offset 54", "\"tokens\""],
        ),
        case(
            "2^61 numbers",
            one_entry(|b| b.array("scores", 12, 1 << 61).zeros(64)),
            &["offset 54", "\"scores\""],
        ),
        case(
            "strings whose lengths wrap",
            one_entry(|b| b.array("tokens", 8, 2).u64(u64::MAX - 7).u64(16).zeros(64)),
            &["string 0 of metadata key \"tokens\""],
        ),
        case(
            "one string of many not UTF-8",
            one_entry(|b| b.array("tokens", 8, 3).string(b"a").string(b"b\xff").string(b"c")),
            &["offset 71", "string 1 of metadata key \"tokens\"", "UTF-8"],
        ),
        case(
            "a character split over two strings",
            one_entry(|b| b.array("tokens", 8, 2).string(b"\xc3").string(b"\xa9")),
            &["offset 62", "string 0 of metadata key \"tokens\""],
        ),
        case("arrays nine deep", nested(8), &["\"deep\"", "8 deep"]),
        case("arrays a thousand deep", nested(1000), &["\"deep\"", "8 deep"]),
        case("2^60 arrays", one_entry(|b| b.array("a", 9, 1 << 60).zeros(64)), &["offset 49", "\"a\""]),
        case(
            "array of type 99",
            one_entry(|b| b.array("a", 99, 1).zeros(8)),
            &["offset 37", "\"a\"", "type 99"],
        ),
        case(
            "the same key twice",
            two(two(Bytes::header(3, 0, 2))),
            &["offset 43", "\"a.b\"", "second time"],
        ),
        case(
            "alignment 0",
            one_entry(|b| b.key("general.alignment", 4).u32(0)),
            &["\"general.alignment\"", "is 0"],
        ),
        case(
            "alignment 4",
            one_entry(|b| b.key("general.alignment", 4).u32(4)),
            &["\"general.alignment\"", "is 4"],
        ),
        case(
            "alignment 24",
            one_entry(|b| b.key("general.alignment", 4).u32(24)),
            &["\"general.alignment\"", "is 24"],
        ),
        case(
            "alignment -1",
            one_entry(|b| b.key("general.alignment", 5).u32(!0)),
            &["\"general.alignment\"", "i32 -1"],
        ),
        case(
            "file type a string",
            one_entry(|b| b.key("general.file_type", 8).string(b"oops")),
            &["\"general.file_type\"", "oops"],
        ),
        case(
            "architecture a number",
            one_entry(|b| b.key("general.architecture", 4).u32(1)),
            &["\"general.architecture\"", "string"],
        ),
    ]
}

fn hostile_tensors() -> Vec<Hostile> {
    let pair = |second: &str, offset: u64| {
        let start = Bytes::header(3, 2, 0).tensor("blk.0.w", &[16], 0, 0);
        start.tensor(second, &[16], 0, offset).pad().zeros(4096)
    };
    let named = |name: &[u8]| Bytes::header(3, 1, 0).string(name).u32(1).u64(8).u32(0).u64(0).pad().zeros(64);
    vec![
        case(
            "2^32 dimensions",
            Bytes::header(3, 1, 0).string(b"blk.0.w").u32(!0).zeros(64),
            &["tensor \"blk.0.w\"", "4294967295 dim"],
        ),
        case("five dimensions", one_tensor(&[1, 1, 1, 1, 1], 0, 0), &["tensor \"blk.0.w\"", "5 dim"]),
        case(
            "dimensions that wrap",
            one_tensor(&[1 << 33, 1 << 33], 0, 0),
            &["tensor \"blk.0.w\"", "64 bits"],
        ),
        case("bytes that wrap", one_tensor(&[1 << 62], 0, 0), &["tensor \"blk.0.w\"", "64 bits"]),
        case(
            "a dimension of zero",
            one_tensor(&[8, 0], 0, 0),
            &["tensor \"blk.0.w\"", "dimension 1", "zero"],
        ),
        case("half a block", one_tensor(&[48, 2], 2, 0), &["tensor \"blk.0.w\"", "48", "32", "Q4_0"]),
        case("type 1000", one_tensor(&[32], 1000, 0), &["tensor \"blk.0.w\"", "1000"]),
        case("type 40's neighbour that was removed", one_tensor(&[32], 38, 0), &["tensor \"blk.0.w\"", "38"]),
        case("type Q4_2, removed", one_tensor(&[32], 4, 0), &["tensor \"blk.0.w\"", "type id 4"]),
        case(
            "offset near 2^64",
            one_tensor(&[32], 0, u64::MAX - 31),
            &["tensor \"blk.0.w\"", "past the end"],
        ),
        case("offset 8", one_tensor(&[32], 0, 8), &["tensor \"blk.0.w\"", "8", "alignment 32"]),
        case(
            "data past the end",
            one_tensor(&[1025], 0, 0),
            &["tensor \"blk.0.w\"", "4100 bytes", "past the end"],
        ),
        case(
            "offset past the end",
            one_tensor(&[1], 0, 8192),
            &["tensor \"blk.0.w\"", "8192", "past the end"],
        ),
        case(
            "the same tensor twice",
            pair("blk.0.w", 64),
            &["tensor \"blk.0.w\"", "second time", "offset 63"],
        ),
        case("overlapping tensors", pair("blk.1.w", 32), &["tensor \"blk.1.w\"", "overlaps", "\"blk.0.w\""]),
        case("tensors at the same place", pair("blk.1.w", 0), &["overlaps", "\"blk.0.w\"", "\"blk.1.w\""]),
        case("empty name", named(b""), &["offset 24", "name of tensor 0"]),
        case("long name", named(&[b'n'; 65]), &["offset 24", "name of tensor 0", "65"]),
        case("name not UTF-8", named(b"\x80"), &["offset 24", "name of tensor 0", "UTF-8"]),
        case(
            "directory cut off",
            Bytes::header(3, 1, 0).string(b"blk.0.w").u32(1).u64(8),
            &["\"blk.0.w\"", "offset 51"],
        ),
    ]
}

/// Metadata with every type of value, and arrays of every type.
pub fn rich_metadata() -> Metadata {
    let tokens: StringArray = (0..40).map(|i| format!("▁tok{i}")).chain([String::new()]).collect();
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("general.file_type", 7u32);
    metadata.set("a.u8", 200u8);
    metadata.set("a.i8", -100i8);
    metadata.set("a.u16", 60_000u16);
    metadata.set("a.i16", -30_000i16);
    metadata.set("a.i32", i32::MIN);
    metadata.set("a.f32", 1.0e-5f32);
    metadata.set("a.bool", true);
    metadata.set("a.u64", u64::MAX);
    metadata.set("a.i64", i64::MIN);
    metadata.set("a.f64", std::f64::consts::PI);
    metadata.set("tokenizer.ggml.tokens", tokens);
    metadata.set("tokenizer.ggml.scores", (0..41).map(|i| -(i as f32) / 3.0).collect::<Vec<f32>>());
    metadata.set("tokenizer.ggml.token_type", (0..41).map(|i| i % 6).collect::<Vec<i32>>());
    metadata.set("b.u8", vec![1u8, 2, 255]);
    metadata.set("b.i8", vec![-1i8, 127]);
    metadata.set("b.u16", vec![1u16, 65_535]);
    metadata.set("b.i16", vec![-1i16, 32_767]);
    metadata.set("b.u32", vec![1u32, u32::MAX]);
    metadata.set("b.bool", vec![true, false, true]);
    metadata.set("b.u64", vec![u64::MAX]);
    metadata.set("b.i64", vec![i64::MIN, 0]);
    metadata.set("b.f64", vec![0.1f64, -0.0]);
    metadata.set("b.empty", Vec::<u32>::new());
    metadata
}

/// A few tensors of different types and numbers of dimensions.
pub fn some_tensors() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("token_embd.weight", [64, 41], 8),
        TensorSpec::new("blk.0.attn_norm.weight", [64], 0),
        TensorSpec::new("blk.0.attn_q.weight", [64, 64], 2),
        TensorSpec::new("blk.0.ffn.weight", [256, 3], 12),
        TensorSpec::new("blk.0.half", [3, 5, 7], 1),
        TensorSpec::new("blk.0.four", [2, 3, 4, 5], 30),
    ]
}

/// Bytes that are the same on every run and unlike each other.
pub fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed | 1);
    (0..count).map(|_| random.next() as u8).collect()
}

/// A file as the writer makes it; tensor `i` holds `noise(size, i)`.
pub fn written(metadata: &Metadata, tensors: &[TensorSpec]) -> Vec<u8> {
    let mut writer = GgufWriter::new(Vec::new(), metadata, tensors).unwrap();
    for (i, spec) in tensors.iter().enumerate() {
        let data = noise(size_of_tensor(spec), i as u64);
        writer.tensor(&spec.name, &data).unwrap();
    }
    writer.finish().unwrap()
}

/// Bytes of a tensor's data.
pub fn size_of_tensor(spec: &TensorSpec) -> usize {
    let ty = emberlm::gguf::TensorType::by_id(spec.type_id).unwrap();
    (spec.dims.iter().product::<u64>() / ty.block_len * ty.block_bytes) as usize
}

/// A small random generator (xorshift64*), the same on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    /// A number below `bound` (which is at least one).
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// The folder of fixtures that a development machine may have beside the repository.
pub fn fixtures(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures").join(folder);
    path.is_dir().then_some(path)
}

/// The GGUF files in a folder, in order.
pub fn gguf_files(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "gguf")).collect();
    files.sort();
    files
}

/// The value as JSON, which is what the crate `gguf-rs` gives.
pub fn as_json(value: &Value) -> serde_json::Value {
    use emberlm::gguf::Array;
    match value {
        Value::U8(n) => (*n).into(),
        Value::I8(n) => (*n).into(),
        Value::U16(n) => (*n).into(),
        Value::I16(n) => (*n).into(),
        Value::U32(n) => (*n).into(),
        Value::I32(n) => (*n).into(),
        Value::F32(n) => (*n).into(),
        Value::Bool(b) => (*b).into(),
        Value::Str(s) => (**s).into(),
        Value::U64(n) => (*n).into(),
        Value::I64(n) => (*n).into(),
        Value::F64(n) => (*n).into(),
        Value::Array(array) => match &**array {
            Array::U8(items) => items.to_vec().into(),
            Array::I8(items) => items.to_vec().into(),
            Array::U16(items) => items.to_vec().into(),
            Array::I16(items) => items.to_vec().into(),
            Array::U32(items) => items.to_vec().into(),
            Array::I32(items) => items.to_vec().into(),
            Array::F32(items) => items.to_vec().into(),
            Array::Bool(items) => items.to_vec().into(),
            Array::Str(items) => items.iter().collect::<Vec<_>>().into(),
            Array::U64(items) => items.to_vec().into(),
            Array::I64(items) => items.to_vec().into(),
            Array::F64(items) => items.to_vec().into(),
            Array::Array(items) => items.iter().map(|a| as_json(&a.clone().into())).collect(),
        },
    }
}
