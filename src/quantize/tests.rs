use super::*;
use crate::quant::loss;
use crate::quant::tests::noise;

fn model(width: u64, tied: bool) -> Vec<u8> {
    let mut specs = vec![
        TensorSpec::new("token_embd.weight", [width, 32], Format::F32.ggml_id()),
        TensorSpec::new("blk.0.attn_norm.weight", [width], Format::F32.ggml_id()),
        TensorSpec::new("blk.0.ffn_up.weight", [width, 32], Format::F16.ggml_id()),
    ];
    if !tied {
        specs.push(TensorSpec::new("output.weight", [width, 32], Format::F32.ggml_id()));
    }
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    for spec in &specs {
        let count = spec.dims.iter().product::<u64>() as usize;
        let values = noise(count, spec.name.len() as u32);
        let format = Format::from_ggml_id(spec.type_id).unwrap();
        let mut bytes = vec![0; count / format.block_len() * format.block_bytes()];
        format.encode(&values, &mut bytes).unwrap();
        writer.tensor(&spec.name, &bytes).unwrap();
    }
    writer.finish().unwrap()
}

fn opened(bytes: &[u8]) -> (tempfile::TempDir, GgufFile) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.gguf"), bytes).unwrap();
    let file = GgufFile::open(dir.path().join("in.gguf")).unwrap();
    (dir, file)
}

fn values(file: &GgufFile, name: &str) -> Vec<f32> {
    let tensor = file.header().tensor(name).unwrap();
    let mut out = vec![0.0; tensor.elements() as usize];
    Format::from_ggml_id(tensor.type_id)
        .unwrap()
        .decode(file.tensor_bytes(tensor).unwrap(), &mut out)
        .unwrap();
    out
}

fn run(file: &GgufFile, dir: &tempfile::TempDir, options: &QuantizeOptions) -> (Summary, GgufFile) {
    let out = dir.path().join("out.gguf");
    let summary = quantize(file, &out, options, &mut |_, _| ControlFlow::Continue(())).unwrap();
    (summary, GgufFile::open(out).unwrap())
}

#[test]
fn every_format_is_a_target_and_keeps_the_values() {
    let (dir, file) = opened(&model(512, true));
    for format in Format::ALL {
        let options = QuantizeOptions { embedding: Some(format), threads: 3, ..QuantizeOptions::new(format) };
        let (summary, out) = run(&file, &dir, &options);
        assert_eq!(summary.fallbacks, 0);
        for name in ["token_embd.weight", "blk.0.ffn_up.weight"] {
            assert_eq!(out.header().tensor(name).unwrap().type_id, format.ggml_id());
            let (a, b) = (values(&file, name), values(&out, name));
            let error: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let norm: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            let (lost, most) = ((error / norm).sqrt(), loss::bounds(format, &a).1);
            // Halves lie on eighths of BF16's steps: the mean square of those distances is 11/128 of a step, not 1/12.
            let halves = format == Format::BF16 && name.starts_with("blk");
            let most = if halves { most * (12.0 * 11.0 / 128.0f64).sqrt() } else { most };
            assert!(lost <= most, "{format} {name}: lost {lost:.5}, at most {most:.5}");
        }
        assert_eq!(values(&out, "blk.0.attn_norm.weight"), values(&file, "blk.0.attn_norm.weight"));
        assert_eq!(out.header().tensors.iter().map(|t| t.bytes).sum::<u64>(), summary.after);
        assert!(out.header().file_type().unwrap().is_some());
    }
}

#[test]
fn blocks_that_do_not_divide_the_row_fall_back() {
    let (dir, file) = opened(&model(96, false));
    let (summary, out) = run(&file, &dir, &QuantizeOptions::new(Format::Q4K));
    let format = |name: &str| Format::from_ggml_id(out.header().tensor(name).unwrap().type_id).unwrap();
    assert_eq!(format("blk.0.ffn_up.weight"), Format::Q5_0);
    assert_eq!(format("output.weight"), Format::Q8_0);
    assert_eq!(format("blk.0.attn_norm.weight"), Format::F32);
    assert_eq!((summary.fallbacks, summary.encoded, summary.copied), (3, 3, 1));
    assert_eq!(fitting(Format::Q4_0, 40), Format::F16);
    assert_eq!(fitting(Format::Q2K, 64), Format::Iq4Nl);
}

#[test]
fn the_output_matrix_gets_more_bits() {
    let (dir, file) = opened(&model(512, true));
    let (_, out) = run(&file, &dir, &QuantizeOptions::new(Format::Q4_0));
    assert_eq!(out.header().tensor("token_embd.weight").unwrap().type_id, Format::Q6K.ggml_id());
    let (dir, file) = opened(&model(512, false));
    let (_, out) = run(&file, &dir, &QuantizeOptions::new(Format::Q4_0));
    assert_eq!(out.header().tensor("token_embd.weight").unwrap().type_id, Format::Q4_0.ggml_id());
    assert_eq!(out.header().tensor("output.weight").unwrap().type_id, Format::Q6K.ggml_id());
}

/// A model whose weight `at` of the feed-forward is `value`, in F32.
fn with_weight(at: usize, value: f32) -> Vec<u8> {
    let specs = [
        TensorSpec::new("blk.0.attn_norm.weight", [512], Format::F32.ggml_id()),
        TensorSpec::new("blk.0.ffn_up.weight", [512, 16], Format::F32.ggml_id()),
    ];
    let mut writer = GgufWriter::new(Vec::new(), &Metadata::new(), &specs).unwrap();
    let mut values = vec![0.5f32; 512 * 16];
    values[at] = value;
    writer.tensor(&specs[0].name, bytemuck::cast_slice(&values[..512])).unwrap();
    writer.tensor(&specs[1].name, bytemuck::cast_slice(&values)).unwrap();
    writer.finish().unwrap()
}

#[test]
fn numbers_that_a_format_cannot_hold_are_refused_by_name() {
    let refused = |at: usize, value: f32, format: Format| -> Option<String> {
        let (dir, file) = opened(&with_weight(at, value));
        let out = dir.path().join("out.gguf");
        let done =
            quantize(&file, &out, &QuantizeOptions::new(format), &mut |_, _| ControlFlow::Continue(()));
        assert_eq!(out.exists(), done.is_ok());
        done.err().map(|error| error.to_string())
    };
    for format in [Format::F16, Format::Q8_0, Format::Q4K, Format::Iq4Nl] {
        for (at, value) in [(700, 1e6), (8191, -65_520.0), (513, f32::NAN), (600, f32::INFINITY)] {
            let said = refused(at, value, format).unwrap();
            let number = format!("weight {at} is {value}");
            assert!(said.contains("blk.0.ffn_up.weight") && said.contains(&number), "{format}: {said}");
        }
    }
    // What rounds to the largest half float is taken, and so is what only other formats cannot hold.
    assert_eq!(refused(700, 65_519.0, Format::F16), None);
    assert_eq!(refused(700, 1e6, Format::BF16), None);
    assert_eq!(refused(700, f32::MAX, Format::F32), None);
    for (value, format) in [(f32::MAX, Format::BF16), (f32::NAN, Format::BF16), (f32::NAN, Format::F32)] {
        assert!(refused(700, value, format).unwrap().contains("weight 700"), "{value} {format}");
    }
    // Vectors are copied, and looked at, too.
    assert!(refused(3, f32::NAN, Format::F16).unwrap().contains("attn_norm"));
}

#[test]
fn what_cannot_be_done_leaves_the_output_alone() {
    let (dir, file) = opened(&model(512, true));
    let options = QuantizeOptions::new(Format::Q8_0);
    let stopped = quantize(&file, &dir.path().join("out.gguf"), &options, &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(QuantizeError::Stopped)));
    let same = quantize(&file, &dir.path().join("in.gguf"), &options, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(same, Err(QuantizeError::SameFile { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
