//! What Hugging Face calls the matrices that GGUF calls otherwise, for the architectures that have such matrices.

/// (GGUF, Hugging Face), in the order of a forward pass.
const MODULES: [(&str, &str); 7] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const HEAD: (&str, &str) = ("output", "lm_head");
/// Architectures whose matrices these are.
pub(super) const ARCHITECTURES: [&str; 5] = ["llama", "qwen2", "qwen3", "gemma2", "gemma3"];
/// Where a model's layers are: alone, or as the part of one that sees.
const LAYERS: [&str; 3] = ["model.layers.", "model.language_model.layers.", "language_model.model.layers."];

/// Layer and module within it (`self_attn.q_proj`); no layer for the output head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The layer; the head comes after all.
    layer: u32,
    /// Index into the table.
    module: usize,
}

const HEAD_PLACE: Place = Place { layer: u32::MAX, module: MODULES.len() };

impl Place {
    /// From a GGUF target such as `blk.3.attn_q`.
    pub fn of_target(target: &str) -> Option<Place> {
        if target == HEAD.0 {
            return Some(HEAD_PLACE);
        }
        let (layer, kind) = target.strip_prefix("blk.")?.split_once('.')?;
        Place::new(layer, MODULES.iter().position(|(gguf, _)| *gguf == kind)?)
    }

    /// From a module path such as `model.layers.3.self_attn.q_proj`.
    pub fn of_module(path: &str) -> Option<Place> {
        if path == HEAD.1 {
            return Some(HEAD_PLACE);
        }
        let within = LAYERS.iter().find_map(|layers| path.strip_prefix(layers))?;
        let (layer, module) = within.split_once('.')?;
        Place::new(layer, MODULES.iter().position(|(_, hf)| *hf == module)?)
    }

    fn new(layer: &str, module: usize) -> Option<Place> {
        let number: u32 = layer.parse().ok().filter(|n| *n < u32::MAX)?;
        (number.to_string() == layer).then_some(Place { layer: number, module })
    }

    /// Its name in GGUF.
    pub fn target(self) -> String {
        match MODULES.get(self.module) {
            Some((gguf, _)) => format!("blk.{}.{gguf}", self.layer),
            None => HEAD.0.into(),
        }
    }

    /// Its path in Hugging Face's models.
    pub fn module(self) -> String {
        match MODULES.get(self.module) {
            Some((_, hf)) => format!("model.layers.{}.{hf}", self.layer),
            None => HEAD.1.into(),
        }
    }

    /// The path within its layer.
    pub fn within_layer(self) -> &'static str {
        MODULES.get(self.module).map_or(HEAD.1, |(_, hf)| hf)
    }

    /// The last part of the path.
    pub fn leaf(self) -> &'static str {
        let path = self.within_layer();
        path.rsplit('.').next().unwrap_or(path)
    }

    /// Whether rope turns its rows: queries or keys.
    pub fn is_roped(self) -> Option<Roped> {
        match self.module {
            0 => Some(Roped::Query),
            1 => Some(Roped::Key),
            _ => None,
        }
    }

    /// Whether it is the output head, of which there is one.
    pub fn is_head(self) -> bool {
        self == HEAD_PLACE
    }
}

/// Which heads a roped matrix has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roped {
    /// As many as there are queries.
    Query,
    /// As many as there are keys and values.
    Key,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_lead_to_each_other() {
        for (target, module) in [
            ("blk.0.attn_q", "model.layers.0.self_attn.q_proj"),
            ("blk.12.attn_output", "model.layers.12.self_attn.o_proj"),
            ("blk.3.ffn_down", "model.layers.3.mlp.down_proj"),
            ("output", "lm_head"),
        ] {
            let place = Place::of_target(target).unwrap();
            assert_eq!(Place::of_module(module), Some(place));
            assert_eq!((place.target(), place.module()), (target.into(), module.into()));
        }
        for whole in ["model.language_model", "language_model.model"] {
            let place = Place::of_module(&format!("{whole}.layers.3.mlp.down_proj"));
            assert_eq!(place, Place::of_target("blk.3.ffn_down"));
        }
        assert!(Place::of_target("blk.9.ffn_down") < Place::of_target("blk.10.attn_q"));
        assert!(Place::of_target("blk.10.attn_q") < Place::of_target("output"));
        assert_eq!(Place::of_module("model.layers.3.mlp.down_proj").map(Place::leaf), Some("down_proj"));
        for odd in ["blk.01.attn_q", "blk.+1.attn_q", "blk.1.attn_norm", "blk..attn_q", "attn_q", ""] {
            assert_eq!(Place::of_target(odd), None, "{odd}");
        }
        for odd in
            ["layers.1.mlp.up_proj", "model.layers.x.mlp.up_proj", "model.embed_tokens", "model.layers.1.q"]
        {
            assert_eq!(Place::of_module(odd), None, "{odd}");
        }
    }
}
