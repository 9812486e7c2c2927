//! PEFT's configuration and tensor names.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json, json};

use super::assemble::{Module, Scaling, layers, most_common};
use super::names::Place;
use super::tensors::{self, Matrix};
use super::{config_error, json_number, parse};
use crate::adapter::error::short;
use crate::adapter::{Adapter, AdapterError};
use crate::gguf::Gguf;

/// What of `adapter_config.json` matters here; PEFT's defaults where it is silent.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Config {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    use_rslora: bool,
    rank_pattern: Option<Patterns>,
    alpha_pattern: Option<Patterns>,
    use_dora: bool,
    use_qalora: bool,
    fan_in_fan_out: bool,
    lora_bias: bool,
    bias: Option<String>,
    modules_to_save: Option<Vec<String>>,
    init_lora_weights: Option<Init>,
    trainable_token_indices: Option<IgnoredAny>,
    layer_replication: Option<IgnoredAny>,
    alora_invocation_tokens: Option<IgnoredAny>,
    target_parameters: Option<Vec<String>>,
    kasa_config: Option<IgnoredAny>,
    monteclora_config: Option<IgnoredAny>,
    arrow_config: Option<IgnoredAny>,
    use_bdlora: Option<IgnoredAny>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            peft_type: String::new(),
            r: 8,
            lora_alpha: 8.0,
            use_rslora: false,
            rank_pattern: None,
            alpha_pattern: None,
            use_dora: false,
            use_qalora: false,
            fan_in_fan_out: false,
            lora_bias: false,
            bias: None,
            modules_to_save: None,
            init_lora_weights: None,
            trainable_token_indices: None,
            layer_replication: None,
            alora_invocation_tokens: None,
            target_parameters: None,
            kasa_config: None,
            monteclora_config: None,
            arrow_config: None,
            use_bdlora: None,
        }
    }
}

/// `true`, `false`, or the name of a method.
#[derive(Deserialize)]
#[serde(untagged)]
enum Init {
    Usual(#[allow(dead_code, reason = "only its type tells it apart")] bool),
    Named(String),
}

/// Names that a message shows.
const SHOWN: usize = 8;

/// Methods that change the base model's matrices, so that the adapter means nothing on the original.
const CHANGES_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// The scales of an adapter, if it is a plain LoRA.
pub(super) fn scaling(config: &[u8]) -> Result<Scaling, AdapterError> {
    let config: Config = parse(config)?;
    config.check()?;
    Ok(Scaling::Peft(Box::new(config)))
}

/// Refuses the settings of what is no plain LoRA; those of MLX say nothing here.
pub(super) fn refuse(config: &[u8]) -> Result<(), AdapterError> {
    match parse::<Config>(config) {
        Ok(config) if !config.peft_type.is_empty() => config.check(),
        _ => Ok(()),
    }
}

impl Config {
    fn check(&self) -> Result<(), AdapterError> {
        if self.peft_type != "LORA" {
            return Err(AdapterError::unsupported(format!("the PEFT type `{}`", short(&self.peft_type))));
        }
        let changes_base = match &self.init_lora_weights {
            Some(Init::Named(name)) => CHANGES_BASE.iter().any(|method| name.starts_with(method)),
            _ => false,
        };
        let filled = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let bias = self.bias.as_deref().filter(|bias| *bias != "none").map(short);
        if let Some(bias) = bias {
            return Err(AdapterError::unsupported(format!("trained biases (bias: {bias})")));
        }
        if filled(&self.modules_to_save) {
            let modules = self
                .modules_to_save
                .iter()
                .flatten()
                .take(SHOWN)
                .map(|m| short(m))
                .collect::<Vec<_>>()
                .join(", ");
            let what = format!("a fully trained module (modules_to_save: {})", short(&modules));
            return Err(AdapterError::unsupported(what));
        }
        let unsupported = [
            (self.use_dora, "DoRA (use_dora)"),
            (self.use_qalora, "QALoRA (use_qalora)"),
            (self.fan_in_fan_out, "fan_in_fan_out"),
            (self.lora_bias, "a bias on B (lora_bias)"),
            (filled(&self.target_parameters), "a LoRA of parameters (target_parameters)"),
            (changes_base, "an initialisation that changes the base model (init_lora_weights)"),
            (self.trainable_token_indices.is_some(), "trained tokens (trainable_token_indices)"),
            (self.layer_replication.is_some(), "repeated layers (layer_replication)"),
            (self.alora_invocation_tokens.is_some(), "an activated LoRA (alora_invocation_tokens)"),
            (self.kasa_config.is_some(), "KaSA (kasa_config)"),
            (self.monteclora_config.is_some(), "MonteCLoRA (monteclora_config)"),
            (self.arrow_config.is_some(), "Arrow routing (arrow_config)"),
            (self.use_bdlora.is_some(), "BD-LoRA (use_bdlora)"),
        ];
        if let Some((_, what)) = unsupported.iter().find(|(is, _)| *is) {
            return Err(AdapterError::unsupported(*what));
        }
        let patterns = [&self.rank_pattern, &self.alpha_pattern];
        patterns.into_iter().flatten().try_for_each(Patterns::check)
    }

    /// The scale of a module times its rank: rsLoRA's root is folded in.
    pub fn alpha(&self, module: &str, rank: usize) -> Result<f64, AdapterError> {
        let of = |patterns: &Option<Patterns>| patterns.as_ref().and_then(|p| p.find(module));
        let configured = of(&self.rank_pattern).unwrap_or(self.r as f64);
        if configured != rank as f64 {
            let what = short(module);
            return Err(config_error(format!(
                "the rank of `{what}` is {configured}, and its tensors have {rank}"
            )));
        }
        let alpha = of(&self.alpha_pattern).unwrap_or(self.lora_alpha);
        Ok(if self.use_rslora { alpha * (rank as f64).sqrt() } else { alpha })
    }
}

/// Values for modules whose path ends so, in the file's order: the first that fits counts.
struct Patterns(Vec<(String, f64)>);

impl Patterns {
    /// PEFT takes them as regular expressions; only plain paths are understood here.
    fn check(&self) -> Result<(), AdapterError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match self
            .0
            .iter()
            .find(|(path, _)| path.is_empty() || !path.trim_start_matches('^').chars().all(plain))
        {
            Some((path, _)) => Err(AdapterError::unsupported(format!(
                "the regular expression `{}` as a pattern",
                short(path)
            ))),
            None => Ok(()),
        }
    }

    fn find(&self, module: &str) -> Option<f64> {
        let fits = |path: &str| match path.strip_prefix('^') {
            Some(whole) => module == whole,
            None => {
                module.strip_suffix(path).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
        };
        self.0.iter().find(|(path, _)| fits(path)).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Patterns;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers by module path")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Patterns, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Patterns(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// What transformers calls the head of a reward model.
const SCORE: &str = "score";

/// Tensors and configuration of an adapter.
pub(super) fn write(
    adapter: &Adapter,
    modules: &[Module],
    base: &Gguf,
) -> Result<(Vec<u8>, Json), AdapterError> {
    let matrices = modules.iter().flat_map(|Module { place, pair }| {
        let name = |part| format!("base_model.model.{}.lora_{part}.weight", place.module());
        let of = |shape, values| Matrix { shape, values: Cow::Borrowed(values) };
        [
            (name("A"), of([pair.rank, pair.inputs], &pair.a[..])),
            (name("B"), of([pair.outputs, pair.rank], &pair.b[..])),
        ]
    });
    // The head of a model for sequence classification with one label.
    let head = adapter.head.iter().map(|head| {
        let matrix = Matrix { shape: [1, head.len()], values: Cow::Borrowed(&head[..]) };
        (format!("base_model.model.{SCORE}.weight"), matrix)
    });
    let weights = tensors::write(matrices.chain(head).collect(), "pt")?;
    let ranks: Vec<usize> = modules.iter().map(|module| module.pair.rank).collect();
    let rank = most_common(&ranks).ok_or(AdapterError::Empty)?;
    // An alpha of 0 stands for a scale of 1, whatever the rank.
    let alpha_of = |rank: usize| if adapter.alpha == 0.0 { rank as f32 } else { adapter.alpha };
    let others = || modules.iter().filter(|module| module.pair.rank != rank);
    let rank_pattern: Map<String, Json> = others().map(|m| (m.place.module(), json!(m.pair.rank))).collect();
    let alpha_pattern: Map<String, Json> = others()
        .filter(|m| alpha_of(m.pair.rank) != alpha_of(rank))
        .map(|m| (m.place.module(), json_number(alpha_of(m.pair.rank))))
        .collect();
    let config = json!({
        "peft_type": "LORA",
        "task_type": if adapter.head.is_some() { "SEQ_CLS" } else { "CAUSAL_LM" },
        "base_model_name_or_path": base.metadata.find::<&str>("general.name")?.unwrap_or_default(),
        "r": rank,
        "lora_alpha": json_number(alpha_of(rank)),
        "lora_dropout": 0.0,
        "target_modules": target_modules(modules, layers(base)?),
        "rank_pattern": rank_pattern,
        "alpha_pattern": alpha_pattern,
        "bias": "none",
        "use_rslora": false,
        "use_dora": false,
        "fan_in_fan_out": false,
        "modules_to_save": adapter.head.as_ref().map(|_| [SCORE]),
        "inference_mode": true,
    });
    Ok((weights, config))
}

/// Short names of modules that are adapted in every layer, whole paths of the others.
fn target_modules(modules: &[Module], layers: usize) -> Vec<String> {
    let everywhere = |place: Place| {
        place.is_head() || modules.iter().filter(|m| m.place.leaf() == place.leaf()).count() == layers
    };
    let mut names: Vec<String> = Vec::new();
    for place in modules.iter().map(|module| module.place) {
        let name = if everywhere(place) { place.leaf().to_owned() } else { place.module() };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_parts_of_a_path_in_the_order_of_the_file() {
        let config: Config = parse(
            br#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "use_rslora": true,
                 "rank_pattern": {"layers.1.self_attn.q_proj": 4, "q_proj": 2},
                 "alpha_pattern": {"^model.layers.0.mlp.up_proj": 3.5}}"#,
        )
        .unwrap();
        config.check().unwrap();
        let alpha = |module: &str, rank| config.alpha(module, rank).unwrap();
        assert_eq!(alpha("model.layers.1.self_attn.q_proj", 4), 16.0 * 2.0);
        assert_eq!(alpha("model.layers.11.self_attn.q_proj", 2), 16.0 * 2f64.sqrt());
        assert_eq!(alpha("model.layers.1.self_attn.other_q_proj", 8), 16.0 * 8f64.sqrt());
        assert_eq!(alpha("model.layers.0.mlp.up_proj", 8), 3.5 * 8f64.sqrt());
        assert!(config.alpha("model.layers.1.self_attn.q_proj", 8).unwrap_err().to_string().contains("rank"));
    }
}
