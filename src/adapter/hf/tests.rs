use serde_json::json;

use super::super::testing::{adapter_for, golden, pair};
use super::*;
use crate::bounds;

/// Through `layout` and back on `base`.
fn there_and_back(adapter: &Adapter, base: &GgufFile, layout: Layout) -> Adapter {
    let (weights, config) = to_bytes(adapter, base.header(), layout).unwrap();
    from_bytes(&weights, Some(config.to_string().as_bytes()), None, base.header()).unwrap()
}

fn with_config(base: &GgufFile, layout: Layout, change: impl Fn(&mut Json)) -> Result<Adapter, AdapterError> {
    let (weights, mut config) = to_bytes(&adapter_for(base, 2), base.header(), layout).unwrap();
    change(&mut config);
    from_bytes(&weights, Some(config.to_string().as_bytes()), None, base.header())
}

#[test]
fn round_trips_keep_every_bit() {
    for name in ["llama-tied", "llama-untied", "mistral", "qwen2", "qwen3-untied"] {
        let base = golden(name);
        let mut adapter = adapter_for(&base, 4);
        adapter.alpha = 1.7;
        if base.header().tensor("output.weight").is_some() {
            let head = base.header().tensor("output.weight").unwrap();
            adapter.pairs.push(pair("output", 4, head.dim(0) as usize, head.dim(1) as usize, 99));
        }
        // Another rank, apart by a power of two.
        let last = adapter.pairs[3].clone();
        adapter.pairs[3] = pair(&last.target, 2, last.inputs, last.outputs, 98);
        for layout in [Layout::Peft, Layout::Mlx] {
            let back = there_and_back(&adapter, &base, layout);
            assert_eq!(back.pairs, adapter.pairs, "{name} {layout:?}");
            assert_eq!((back.alpha, back.architecture), (adapter.alpha, adapter.architecture.clone()));
        }
    }
}

#[test]
fn a_reward_models_head_is_the_score_of_transformers() {
    let base = golden("llama-tied");
    let mut adapter = adapter_for(&base, 2);
    let head: Vec<f32> =
        (0..base.header().tensor("token_embd.weight").unwrap().dim(0)).map(|i| i as f32).collect();
    adapter.head = Some(head.clone());
    let (weights, config) = to_bytes(&adapter, base.header(), Layout::Peft).unwrap();
    assert_eq!((&config["task_type"], &config["modules_to_save"]), (&json!("SEQ_CLS"), &json!(["score"])));
    let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let score = tensors.tensor("base_model.model.score.weight").unwrap();
    assert_eq!(score.shape(), [1, head.len()]);
    assert_eq!(score.data(), bytemuck::cast_slice::<f32, u8>(&head));
    let refused = to_bytes(&adapter, base.header(), Layout::Mlx).unwrap_err().to_string();
    assert!(refused.contains("reward model"), "{refused}");
}

#[test]
fn an_alpha_of_zero_is_a_scale_of_one() {
    let base = golden("llama-untied");
    let mut adapter = adapter_for(&base, 4);
    adapter.alpha = 0.0;
    let short = adapter.pairs[1].clone();
    adapter.pairs[1] = pair(&short.target, 2, short.inputs, short.outputs, 5);
    for layout in [Layout::Peft, Layout::Mlx] {
        let back = there_and_back(&adapter, &base, layout);
        for (old, new) in adapter.pairs.iter().zip(&back.pairs) {
            let ratio = back.scale(new) * new.b[1] / old.b[1];
            assert!(f64::from((ratio - 1.0).abs()) < bounds::ROUNDED, "{layout:?} {}: {ratio}", old.target);
        }
    }
}

#[test]
fn only_queries_and_keys_of_llama_are_reordered() {
    for (name, reordered) in [("llama-untied", true), ("qwen2", false)] {
        let base = golden(name);
        let adapter = adapter_for(&base, 1);
        let modules = assemble::modules(&adapter, base.header()).unwrap();
        for (module, pair) in modules.iter().zip(&adapter.pairs) {
            let roped = ["attn_q", "attn_k"].contains(&pair.kind());
            assert_eq!(module.pair.b != pair.b, roped && reordered, "{name} {}", pair.target);
            assert_eq!(module.pair.a, pair.a);
        }
        // Heads of 16: GGUF's second row is Hugging Face's row 8.
        if reordered {
            assert_eq!(modules[0].pair.b[8], adapter.pairs[0].b[1]);
            assert_eq!(modules[0].pair.b[16 + 8], adapter.pairs[0].b[16 + 1]);
        }
    }
}

#[test]
fn scales_of_peft_are_folded() {
    let base = golden("qwen2");
    let plain = adapter_for(&base, 2);
    let rs = with_config(&base, Layout::Peft, |c| c["use_rslora"] = json!(true)).unwrap();
    assert_eq!(rs.alpha, (16.0 * 2f64.sqrt()) as f32);
    assert_eq!(rs.pairs, plain.pairs);
    let pattern = with_config(&base, Layout::Peft, |c| c["alpha_pattern"] = json!({"q_proj": 8})).unwrap();
    assert_eq!(pattern.alpha, 16.0);
    for (old, new) in plain.pairs.iter().zip(&pattern.pairs) {
        let factor = if old.kind() == "attn_q" { 0.5 } else { 1.0 };
        assert!(old.b.iter().zip(&new.b).all(|(old, new)| old * factor == *new), "{}", old.target);
    }
    let scale = with_config(&base, Layout::Mlx, |c| c["lora_parameters"]["scale"] = json!(20.0)).unwrap();
    assert_eq!((scale.scale(&scale.pairs[0]), scale.pairs), (20.0, plain.pairs));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let base = golden("llama-tied");
    let says = |layout, key: &str, value: Json, part: &str| {
        let refused = with_config(&base, layout, |config| config[key] = value.clone());
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(part), "{key}: {said}");
    };
    for (key, value, part) in [
        ("peft_type", json!("IA3"), "IA3"),
        ("use_dora", json!(true), "DoRA"),
        ("bias", json!("all"), "bias: all"),
        ("bias", json!("lora_only"), "bias: lora_only"),
        ("modules_to_save", json!(["lm_head", "norm"]), "modules_to_save: lm_head, norm"),
        ("trainable_token_indices", json!([1, 2]), "trainable_token_indices"),
        ("fan_in_fan_out", json!(true), "fan_in_fan_out"),
        ("init_lora_weights", json!("pissa_niter_16"), "init_lora_weights"),
        ("layer_replication", json!([[0, 1]]), "layer_replication"),
        ("rank_pattern", json!({".*q_proj": 2}), ".*q_proj"),
        ("r", json!(3), "rank"),
        ("lora_alpha", json!(0), "alpha 0"),
        ("lora_alpha", json!("x"), "adapter_config.json"),
    ] {
        says(Layout::Peft, key, value, part);
    }
    for (key, value, part) in [
        ("fine_tune_type", json!("dora"), "DoRA"),
        ("fine_tune_type", json!("full"), "full"),
        ("use_dora", json!(true), "DoRA"),
        ("lora_parameters", json!({"rank": 2}), "lora_parameters.scale"),
    ] {
        says(Layout::Mlx, key, value, part);
    }
    with_config(&base, Layout::Peft, |c| c["init_lora_weights"] = json!("gaussian")).unwrap();
    with_config(&base, Layout::Peft, |c| c["modules_to_save"] = json!([])).unwrap();
}

/// A file of one pair under other names.
fn named(names: [&str; 2], shapes: [[usize; 2]; 2]) -> Result<Adapter, AdapterError> {
    let matrix = |shape: [usize; 2]| tensors::Matrix { shape, values: vec![0.5; shape[0] * shape[1]].into() };
    let matrices = names.iter().zip(shapes).map(|(name, shape)| ((*name).to_owned(), matrix(shape)));
    let bytes = tensors::write(matrices.collect(), "pt").unwrap();
    from_bytes(&bytes, None, Some(8.0), golden("llama-untied").header())
}

#[test]
fn names_come_with_and_without_prefix_and_adapter() {
    let shapes = [[2, 64], [128, 2]];
    for prefix in ["", "base_model.model."] {
        for infix in ["", ".default"] {
            let name = |part| format!("{prefix}model.layers.1.mlp.up_proj.lora_{part}{infix}.weight");
            let adapter = named([&name("A"), &name("B")], shapes).unwrap();
            assert_eq!((adapter.pairs[0].target.as_str(), adapter.alpha), ("blk.1.ffn_up", 8.0));
        }
    }
    let refused = |names: [&str; 2], shapes: [[usize; 2]; 2], part: &str| {
        let said = named(names, shapes).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    let up = "model.layers.1.mlp.up_proj.lora_A.weight";
    refused([up, "model.layers.1.mlp.up_proj.lora_B.other.weight"], shapes, "lora_B.other");
    refused([up, "model.layers.1.mlp.up_proj.lora_b"], shapes, "layout");
    refused([up, "model.layers.1.mlp.gate_proj.lora_B.weight"], shapes, "is missing");
    refused([up, "model.layers.1.mlp.up_proj.lora_A.default.weight"], shapes, "twice");
    refused([up, "model.layers.1.mlp.up_proj.lora_magnitude_vector"], shapes, "DoRA");
    refused([up, "model.embed_tokens.lora_embedding_A"], shapes, "token embedding");
    let conv = ["model.layers.1.conv.lora_A.weight", "model.layers.1.conv.lora_B.weight"];
    refused(conv, shapes, "model.layers.1.conv");
    let both = [up, "model.layers.1.mlp.up_proj.lora_B.weight"];
    refused(both, [[2, 64], [128, 3]], "rank");
    refused(both, [[2, 32], [128, 2]], "does not fit");
    refused(
        ["model.layers.9.mlp.up_proj.lora_A.weight", "model.layers.9.mlp.up_proj.lora_B.weight"],
        shapes,
        "blk.9",
    );
}

/// A PEFT folder with an adapter of the output of `base` and, under `name`, a matrix of its embedding's size.
fn with_copy(base: &GgufFile, dir: &Path, name: &str, rows: usize, change: f32) -> std::path::PathBuf {
    let embedding = base.header().tensor("token_embd.weight").unwrap();
    let (cols, all) = (embedding.dim(0) as usize, embedding.dim(1) as usize);
    let mut values = vec![0.0; cols * all];
    let format = crate::quant::Format::from_ggml_id(embedding.type_id).unwrap();
    format.decode(base.tensor_bytes(embedding).unwrap(), &mut values).unwrap();
    values.resize(rows * cols, 0.0);
    values.iter_mut().for_each(|v| *v *= 1.0 + change);
    let half = |shape: [usize; 2]| tensors::Matrix { shape, values: vec![0.25; shape[0] * shape[1]].into() };
    let matrices = vec![
        ("base_model.model.lm_head.lora_A.weight".to_owned(), half([2, cols])),
        ("base_model.model.lm_head.lora_B.weight".to_owned(), half([all, 2])),
        (format!("base_model.model.{name}"), tensors::Matrix { shape: [rows, cols], values: values.into() }),
    ];
    let weights = tensors::write(matrices, "pt").unwrap();
    std::fs::write(dir.join(Layout::Peft.weights_file()), weights).unwrap();
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["lm_head"]});
    std::fs::write(dir.join(CONFIG), config.to_string()).unwrap();
    dir.to_owned()
}

#[test]
fn an_adapter_of_a_tied_output_brings_its_base_along() {
    let dir = tempfile::tempdir().unwrap();
    for model in ["llama-tied", "qwen3-tied"] {
        let base = golden(model);
        let rows = base.header().tensor("token_embd.weight").unwrap().dim(1) as usize;
        for name in ["lm_head.base_layer.weight", "model.embed_tokens.weight"] {
            let made =
                |rows, change| import(&with_copy(&base, dir.path(), name, rows, change), &base, None, false);
            let adapter = made(rows, 0.0).unwrap();
            assert_eq!((adapter.pairs.len(), adapter.pairs[0].target.as_str()), (1, "output"));
            assert_eq!(adapter.scale(&adapter.pairs[0]), 2.0);
            let trained = made(rows, 0.05).unwrap_err().to_string();
            assert!(trained.contains("differs by") && trained.contains("merge it"), "{trained}");
            let larger = made(rows + 8, 0.0).unwrap_err().to_string();
            assert!(larger.contains("tokens were added"), "{larger}");
        }
        // Back in PEFT's form; MLX has no place for it.
        let adapter = import(dir.path(), &base, None, false);
        assert!(adapter.is_err());
        let adapter =
            import(&with_copy(&base, dir.path(), "lm_head.base_layer.weight", rows, 0.0), &base, None, false)
                .unwrap();
        assert_eq!(there_and_back(&adapter, &base, Layout::Peft).pairs, adapter.pairs);
        let mlx = to_bytes(&adapter, base.header(), Layout::Mlx).unwrap_err().to_string();
        assert!(mlx.contains("tied"), "{mlx}");
    }
}

#[test]
fn other_kinds_are_known_by_their_tensors() {
    let up = "base_model.model.model.layers.1.mlp.up_proj";
    let refused = |names: [String; 2], part: &str| {
        let said = named([&names[0], &names[1]], [[2, 64], [128, 2]]).unwrap_err().to_string();
        assert!(said.contains(part) && !said.contains("damaged"), "{said}");
    };
    let lora = format!("{up}.lora_A.weight");
    refused([format!("{up}.ia3_l"), "x".into()], "IA3");
    refused([format!("{up}.hada_w1_a"), format!("{up}.hada_w1_b")], "LoHa");
    refused(["prompt_embeddings".into(), "x".into()], "prompt tuning");
    refused([lora.clone(), format!("{up}.lora_magnitude_vector.weight")], "DoRA");
    refused([lora.clone(), "base_model.model.model.norm.weight".into()], "fully trained module");
    refused([lora.clone(), "base_model.model.model.embed_tokens.lora_embedding_A".into()], "embed_tokens");
    refused([lora, format!("{up}.bias")], "trained bias");
    refused(["model.layers.1.mlp.up_proj.weight".into(), "lm_head.weight".into()], "whole model");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("model.safetensors"), b"").unwrap();
    let folder = import(dir.path(), &golden("llama-tied"), None, false).unwrap_err();
    assert!(matches!(folder, AdapterError::WholeModel { .. }), "{folder}");
}

#[test]
fn folders_and_files_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let base = golden("llama-tied");
    let adapter = adapter_for(&base, 2);
    for layout in [Layout::Peft, Layout::Mlx] {
        let folder = dir.path().join("new").join(layout.name());
        export(&adapter, &base, layout, &folder, Existing::Refuse, false).unwrap();
        let back = import(&folder, &base, None, false).unwrap();
        assert_eq!((&back.pairs, back.name.as_str()), (&adapter.pairs, layout.name()));
        back.check_base(&base, false).unwrap();
        assert!(back.base.is_some());
        let file = folder.join(layout.weights_file());
        assert_eq!(import(&file, &base, None, false).unwrap().alpha, 16.0);
        assert_eq!(import(&file, &base, Some(4.0), false).unwrap().alpha, 4.0);
        std::fs::remove_file(folder.join(CONFIG)).unwrap();
        assert!(matches!(import(&file, &base, None, false), Err(AdapterError::NoAlpha { .. })));
        assert_eq!(import(&file, &base, Some(4.0), false).unwrap().alpha, 4.0);
    }
    // A GGUF adapter without a fingerprint gets one.
    adapter.save(dir.path().join("plain.gguf")).unwrap();
    let stamped = import(&dir.path().join("plain.gguf"), &base, None, false).unwrap();
    assert!(stamped.base.is_some() && stamped.pairs == adapter.pairs);
    let mut foreign = stamped.clone();
    foreign.base.as_mut().unwrap().sha256 = "0".repeat(64);
    foreign.save(dir.path().join("foreign.gguf")).unwrap();
    let foreign = |force| import(&dir.path().join("foreign.gguf"), &base, None, force);
    assert!(matches!(foreign(false), Err(AdapterError::OtherBase { .. })));
    assert_eq!(foreign(true).unwrap().base, stamped.base);
    assert!(matches!(import(dir.path(), &base, None, false), Err(AdapterError::NothingThere { .. })));
}

/// `s B A` of a pair, row-major.
fn update(adapter: &Adapter, target: &str) -> Vec<f32> {
    let pair = adapter.pair(target).unwrap();
    let mut out = vec![0f32; pair.outputs * pair.inputs];
    let rows = out.chunks_mut(pair.inputs).enumerate();
    rows.for_each(|(row, out)| pair.add_row(adapter.scale(pair), row, out));
    out
}

#[test]
fn updates_are_those_that_peft_computes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adapter");
    let adapter = import(&folder.join("peft"), &golden("llama-untied"), None, false).unwrap();
    assert_eq!(adapter.pairs.len(), 9);
    let ranks: Vec<usize> = adapter.pairs.iter().map(|pair| pair.rank).collect();
    assert_eq!(ranks, [2, 2, 2, 3, 2, 2, 2, 2, 2]);
    let bytes = std::fs::read(folder.join("delta.safetensors")).unwrap();
    let deltas = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(deltas.len(), 4);
    for (target, delta) in deltas.iter() {
        let want = delta.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        let got = update(&adapter, target);
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!(f64::from((got - want).abs()) < bounds::ROUNDED, "{target} {i}: {got} {want}");
        }
    }
}

/// A model of SmolLM2-135M's shapes without content.
fn smollm2_shapes() -> Gguf {
    use crate::gguf::{GgufWriter, Metadata, TensorSpec};
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.attention.head_count", 9u32);
    metadata.set("llama.attention.head_count_kv", 3u32);
    metadata.set("llama.block_count", 30u32);
    let shapes = [
        ("attn_q", 576, 576),
        ("attn_k", 576, 192),
        ("attn_v", 576, 192),
        ("attn_output", 576, 576),
        ("ffn_gate", 576, 1536),
        ("ffn_up", 576, 1536),
        ("ffn_down", 1536, 576),
    ];
    let specs: Vec<TensorSpec> = (0..30)
        .flat_map(|i| shapes.map(|(kind, n, m)| TensorSpec::new(format!("blk.{i}.{kind}.weight"), [n, m], 2)))
        .collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    for spec in &specs {
        let bytes = spec.dims.iter().product::<u64>() / 32 * 18;
        writer.tensor(&spec.name, &vec![0; bytes as usize]).unwrap();
    }
    Gguf::read(crate::io::MemStream::new(writer.finish().unwrap())).unwrap()
}

#[test]
fn the_reference_adapter_is_read_where_it_is_at_hand() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/sft/adapter_rand_hf.safetensors");
    // A clone without the reference data has the golden adapter above.
    let Ok(bytes) = std::fs::read(path) else { return };
    let base = smollm2_shapes();
    let adapter = from_bytes(&bytes, None, Some(16.0), &base).unwrap();
    assert_eq!((adapter.pairs.len(), adapter.scale(&adapter.pairs[0])), (210, 2.0));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f32> {
        let tensor = file.tensor(name).unwrap();
        tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let b = values("model.layers.7.self_attn.k_proj.lora_B.weight");
    let k = adapter.pair("blk.7.attn_k").unwrap();
    assert_eq!(k.a, values("model.layers.7.self_attn.k_proj.lora_A.weight"));
    // Heads of 64: GGUF's rows 0 and 1 of the second head are Hugging Face's 0 and 32 of it.
    assert_eq!(k.b[64 * 8..66 * 8], [&b[64 * 8..65 * 8], &b[96 * 8..97 * 8]].concat());
    assert_eq!(adapter.pair("blk.7.ffn_up").unwrap().b, values("model.layers.7.mlp.up_proj.lora_B.weight"));
    let (weights, config) = to_bytes(&adapter, &base, Layout::Peft).unwrap();
    let back = from_bytes(&weights, Some(config.to_string().as_bytes()), None, &base).unwrap();
    assert_eq!(back.pairs, adapter.pairs);
}
