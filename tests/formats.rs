//! Models re-encoded in every block format, on both executors: the default model for how much each format loses, a
//! tiny one whose rows every format divides for whether the executors agree.
#![cfg(all(feature = "cli", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;
use std::path::Path;

use common::bounds::MODEL;
use common::npy::read_tokens;
use common::{boot, golden, none_failed, open, options, relative_l2};
use emberlm::gguf::GgufFile;
use emberlm::model::{KvType, Model};
use emberlm::quant::Format;
use emberlm::quantize::{QuantizeOptions, quantize};
use emberlm::session::{DeviceChoice, Modes, SessionOptions};

fn encode(input: &Path, format: Format, dir: &Path) -> Model {
    let path = dir.join(format!("{}.gguf", format.name()));
    let input = GgufFile::open(input).unwrap();
    let options =
        QuantizeOptions { output: Some(format), embedding: Some(format), ..QuantizeOptions::new(format) };
    quantize(&input, &path, &options, &mut |_, _| ControlFlow::Continue(()))
        .unwrap_or_else(|e| panic!("{}: {e}", format.name()));
    open(&path)
}

#[test]
fn executors_agree_on_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden("arch/llama-formats.gguf");
    let tokens = read_tokens(&golden("arch/llama-formats.tokens.npy"));
    let mut failures = Vec::new();
    for format in Format::ALL {
        let model = encode(&source, format, dir.path());
        let matrices = model.gguf().tensors.iter().filter(|t| t.dims.len() == 2);
        let wrong: Vec<_> = matrices.filter(|t| t.type_id != format.ggml_id()).map(|t| &t.name).collect();
        assert!(wrong.is_empty(), "{}: not re-encoded: {wrong:?}", format.name());
        let logits = |device| {
            let options =
                SessionOptions { logit_rows: 32, exact: true, ..options(device, KvType::F32, Modes::LOGITS) };
            boot(&model, &options).all_logits(&tokens).unwrap()
        };
        let apart = relative_l2(&logits(DeviceChoice::Gpu), &logits(DeviceChoice::Cpu));
        println!("{}: {apart:.1e}", format.name());
        if apart > MODEL {
            failures.push(format!("{}: executors {apart:.1e} apart, tolerance {MODEL:.0e}", format.name()));
        }
    }
    none_failed(&failures);
}

/// Part of `scripts/test long`: fourteen encodings of the whole default model.
#[cfg(feature = "long-tests")]
mod default_model_sweep {
    use super::common::default_model::default_model;
    use super::common::mean_nll;
    use super::common::reference::{Reference, references};
    use super::*;

    /// From least to most lost, in root mean square over a text's log-probabilities. The default model's rows are not
    /// multiples of 256, so that the K formats stand for those that `quantize` takes instead.
    const ORDER: [Format; 7] =
        [Format::F16, Format::BF16, Format::Q8_0, Format::Q6K, Format::Q5_0, Format::Q4_0, Format::Q2K];
    /// Half precision loses next to nothing, eight bits hardly more.
    const F16_RMS: f64 = 0.005;
    const Q8_RMS: f64 = 0.08;

    fn scores(model: &Model, device: DeviceChoice, tokens: &[u32]) -> Vec<f32> {
        let options = options(device, KvType::F32, Modes::SCORE);
        boot(model, &SessionOptions { ctx: Some(512), ..options }).score(tokens).unwrap()
    }

    /// Root mean square of the differences.
    fn rms(a: &[f32], b: &[f32]) -> f64 {
        let squares: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (squares / a.len() as f64).sqrt()
    }

    #[test]
    fn the_default_model_loses_what_its_format_says() {
        let dir = tempfile::tempdir().unwrap();
        let all = references();
        let find = |name: &str| -> &Reference { all.iter().find(|r| r.name == name).unwrap() };
        let (long, short) = (find("prose"), find("turns"));
        println!("format    mean NLL  rms of log-probabilities  bytes");
        println!("(exact)   {:.5}", mean_nll(&long.log_probs));
        let mut lost = Vec::new();
        let mut failures = Vec::new();
        for format in Format::ALL {
            let model = encode(default_model().path(), format, dir.path());
            let got = scores(&model, DeviceChoice::Cpu, &long.tokens);
            let rms_lost = rms(&got, &long.log_probs);
            println!("{:8}  {:.5}   {rms_lost:.4}  {}", format.name(), mean_nll(&got), model.tensor_bytes());
            lost.push((format, rms_lost));
            let [gpu, cpu] = [DeviceChoice::Gpu, DeviceChoice::Cpu].map(|d| scores(&model, d, &short.tokens));
            let apart = relative_l2(&gpu, &cpu);
            if apart > 10.0 * MODEL {
                failures.push(format!("{}: executors {apart:.1e} apart", format.name()));
            }
            std::fs::remove_file(model.path()).unwrap();
        }
        none_failed(&failures);
        let of = |format: Format| lost.iter().find(|(f, _)| *f == format).unwrap().1;
        assert!(
            of(Format::F32) < F16_RMS && of(Format::F16) < F16_RMS && of(Format::Q8_0) < Q8_RMS,
            "{lost:?}"
        );
        let ordered: Vec<f64> = ORDER.iter().map(|f| of(*f)).collect();
        assert!(ordered.is_sorted(), "{ORDER:?} lose {ordered:?}");
    }
}
