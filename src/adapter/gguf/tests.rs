use super::super::testing::{adapter, numbers};
use super::*;
use crate::bounds;
use crate::io::{Faulty, MemStream};

fn full() -> Adapter {
    let mut adapter = adapter(&[("blk.1.attn_q", 3, 64, 32), ("blk.0.ffn_down", 5, 700, 64)]);
    adapter.base =
        Some(BaseFingerprint { sha256: "0f".repeat(32), name: "a base".into(), file_len: 1 << 40 });
    adapter.info.insert("data.sha256".into(), "abc".into());
    adapter.info.insert("task_name".into(), "classify".into());
    adapter
}

fn read(bytes: &[u8]) -> Result<Adapter, AdapterError> {
    Adapter::read_gguf(&mut MemStream::new(bytes))
}

/// A file of `tensors` (name, dims, values) in `format`, with the keys of an adapter, changed by `change`.
fn file(tensors: &[(&str, &[u64], &[f32])], format: Format, change: impl Fn(&mut Metadata)) -> Vec<u8> {
    let mut metadata = adapter(&[]).metadata();
    change(&mut metadata);
    let spec = |(name, dims, _): &(&str, &[u64], &[f32])| TensorSpec::new(*name, *dims, format.ggml_id());
    let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    for (name, _, values) in tensors {
        let mut bytes = vec![0; format.row_bytes(values.len()).unwrap()];
        format.encode(values, &mut bytes).unwrap();
        writer.tensor(name, &bytes).unwrap();
    }
    writer.finish().unwrap()
}

const A: &str = "blk.0.attn_q.weight.lora_a";
const B: &str = "blk.0.attn_q.weight.lora_b";

#[test]
fn everything_survives_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    full().save(&path).unwrap();
    assert_eq!(Adapter::open(&path).unwrap(), full());
    // The keys, names and shapes that llama.cpp looks for.
    let gguf = Gguf::read(MemStream::new(std::fs::read(&path).unwrap())).unwrap();
    let text = |key| gguf.metadata.get::<&str>(key).unwrap();
    assert_eq!((text("general.type"), text("adapter.type")), ("adapter", "lora"));
    assert_eq!((text("general.architecture"), text("adapter.lora.task_name")), ("llama", "classify"));
    assert_eq!(gguf.get_f32("adapter.lora.alpha").unwrap(), 16.0);
    assert_eq!(gguf.require_tensor("blk.1.attn_q.weight.lora_a").unwrap().dims, [64, 3]);
    assert_eq!(gguf.require_tensor("blk.1.attn_q.weight.lora_b").unwrap().dims, [3, 32]);
    // A failed save leaves the old file.
    let mut broken = full();
    broken.pairs.clear();
    assert!(broken.save(&path).is_err());
    assert_eq!(Adapter::open(&path).unwrap(), full());
}

#[test]
fn the_four_formats_are_read() {
    let (a, b) = (numbers(64 * 32, 1), numbers(32 * 96, 2));
    for format in FORMATS {
        let bytes = file(&[(B, &[32, 96], &b), (A, &[64, 32], &a)], format, |_| ());
        let adapter = read(&bytes).unwrap();
        let pair = &adapter.pairs[0];
        assert_eq!((pair.rank, pair.inputs, pair.outputs), (32, 64, 96));
        // Of numbers below 1: a rounding, or half a step and the rounding of the scale that makes it.
        let most = match format {
            Format::F32 => 0.0,
            Format::F16 => bounds::HALF,
            Format::BF16 => 8.0 * bounds::HALF,
            _ => 0.5 / 127.0 + bounds::HALF,
        };
        let near = |(got, want): (&f32, &f32)| f64::from((got - want).abs()) <= most;
        let near = |got: &[f32], want: &[f32]| got.iter().zip(want).all(near);
        assert!(near(&pair.a, &a) && near(&pair.b, &b), "{format}");
        assert!(format != Format::F32 || (pair.a == a && pair.b == b));
        // A slow stream gives the same.
        let mut slow = Faulty::new(MemStream::new(&bytes)).at_most(7);
        assert_eq!(Adapter::read_gguf(&mut slow).unwrap(), adapter);
    }
    let other = file(&[(A, &[64, 32], &a), (B, &[32, 96], &b)], Format::Q4_0, |_| ());
    assert!(read(&other).unwrap_err().to_string().contains("Q8_0"));
}

#[test]
fn what_llama_cpp_ignores_or_refuses() {
    let values = numbers(64, 3);
    let good: [(&str, &[u64], &[f32]); 2] = [(A, &[16, 2], &values[..32]), (B, &[2, 8], &values[..16])];
    let norm: (&str, &[u64], &[f32]) = ("blk.0.attn_norm.weight", &[16], &values[..16]);
    let adapter = read(&file(&[good[0], norm, good[1]], Format::F32, |_| ())).unwrap();
    assert_eq!((adapter.pairs.len(), adapter.ignored), (1, vec!["blk.0.attn_norm.weight".to_owned()]));
    let refused = |tensors: &[(&str, &[u64], &[f32])], change: &dyn Fn(&mut Metadata), part: &str| {
        let said = read(&file(tensors, Format::F32, change)).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    let keep = |_: &mut Metadata| ();
    refused(&good, &|m| m.set("general.type", "model"), "\"model\"");
    refused(&good, &|m| drop(m.remove("general.type")), "missing");
    refused(&good, &|m| m.set("adapter.type", "control"), "adapter.type");
    refused(&good, &|m| drop(m.remove(ALPHA)), ALPHA);
    refused(&good, &|m| m.set(ALPHA, f32::INFINITY), ALPHA);
    refused(&good, &|m| drop(m.remove("general.architecture")), "general.architecture");
    refused(&good, &|m| m.set(ACTIVATED, vec![1u32]), "activated");
    refused(&good, &|m| m.set(BASE_SHA256, "beef"), BASE_SHA256);
    refused(&[], &keep, "no matrix");
    refused(&good[..1], &keep, "lora_b");
    refused(&good[1..], &keep, "lora_a");
    refused(&[good[0], good[1], ("blk.0.attn_q.bias", &[8], &values[..8])], &keep, "attn_q.bias");
    refused(&[("blk.0.attn_q.lora_a", &[16, 2], &values[..32])], &keep, "does not update a matrix");
    refused(&[(A, &[2, 16], &values[..32]), good[1]], &keep, "transposed");
    refused(&[(A, &[4, 4, 2], &values[..32]), good[1]], &keep, "matrix");
    refused(&[(A, &[16, 2], &[f32::NAN; 32]), good[1]], &keep, "not finite");
    let embedding: [(&str, &[u64], &[f32]); 2] = [
        ("token_embd.weight.lora_a", &[2, 8], &values[..16]),
        ("token_embd.weight.lora_b", &[2, 16], &values[..32]),
    ];
    refused(&embedding, &keep, "token_embd");
}

#[test]
fn a_stream_that_fails_is_an_error_at_every_byte() {
    let bytes = full().write_gguf(Vec::new()).unwrap();
    for limit in (0..bytes.len() as u64).step_by(97) {
        assert!(Adapter::read_gguf(&mut Faulty::new(MemStream::new(&bytes)).fail_after(limit)).is_err());
        assert!(full().write_gguf(Faulty::new(Vec::new()).fail_after(limit)).is_err(), "{limit}");
    }
}
