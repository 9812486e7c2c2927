//! Kinds of calls: what decides which ways there are to run a call, and how long they take.

use crate::plan::{Accepts, DType, OpCall, Program};

/// What a kind's text is made of, apart.
const FIELDS: usize = 6;

/// A kind of call, as a line of words: op, formats of its weights, type of its cache, most active rows of its plan, shape for
/// people, and all parameters with the optional arguments that are there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kind(String);

impl Kind {
    /// That of a call of a plan with so many active rows at most.
    pub fn of(program: &Program, call: &OpCall, capacity: usize) -> Self {
        let formats: Vec<&str> = weight_stems(program, call).into_iter().flatten().collect();
        let words: Vec<String> = call.words().words().iter().map(u32::to_string).collect();
        let optional =
            call.def().args.iter().zip(call.args()).filter(|(arg, id)| arg.optional && id.is_some());
        let there: Vec<&str> = optional.map(|(arg, _)| arg.name).collect();
        let or = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let fields: [String; FIELDS] = [
            call.def().stem.to_owned(),
            or(formats.join("+")),
            kv_stem(program, call).unwrap_or("-").to_owned(),
            capacity.to_string(),
            or(shape(program, call)),
            or([words, there.into_iter().map(str::to_owned).collect()].concat().join(",")),
        ];
        Self(fields.join(" "))
    }

    /// Reads its text.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(' ').collect();
        let whole = fields.len() == FIELDS && fields.iter().all(|field| !field.is_empty());
        (whole && fields[3].parse::<usize>().is_ok()).then(|| Self(text.to_owned()))
    }

    /// Its text: one line.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn field(&self, at: usize) -> &str {
        self.0.split(' ').nth(at).unwrap_or_default()
    }

    /// The op, with its formats and its cache: `linear q4_1`.
    pub fn op(&self) -> String {
        let parts = [self.field(0), self.field(1), self.field(2)];
        parts.into_iter().filter(|part| *part != "-").collect::<Vec<_>>().join(" ")
    }

    /// Its shape: `1536x576`, rows by columns of the weights, or the widths of its arguments.
    pub fn shape(&self) -> &str {
        self.field(4)
    }
}

/// Sizes of the weights; without any, widths of what is read and written.
fn shape(program: &Program, call: &OpCall) -> String {
    let args =
        || call.def().args.iter().zip(call.args()).filter_map(|(arg, id)| Some((arg, program.get((*id)?))));
    let weights = args().filter(|(_, tensor)| matches!(tensor.dtype, DType::Matrix(_)));
    let weights: Vec<String> = weights.map(|(_, w)| format!("{}x{}", w.rows.per, w.width)).collect();
    if !weights.is_empty() {
        return weights.join("+");
    }
    let wide = args().filter(|(arg, _)| arg.accepts != Accepts::U32);
    wide.map(|(arg, tensor)| format!("{}:{}", arg.name, tensor.width)).collect::<Vec<_>>().join(",")
}

/// The formats of a call's weights, in the order of its arguments.
pub fn weight_stems(program: &Program, call: &OpCall) -> [Option<&'static str>; 2] {
    let mut stems = call.args().iter().flatten().filter_map(|id| match program.get(*id).dtype {
        DType::Matrix(format) => Some(format.stem()),
        _ => None,
    });
    [stems.next(), stems.next()]
}

/// The type of the cache that a call works on.
pub fn kv_stem(program: &Program, call: &OpCall) -> Option<&'static str> {
    let cache = call.def().args.iter().zip(call.args()).find(|(arg, _)| arg.accepts == Accepts::Cache);
    let id = cache.and_then(|(_, id)| *id);
    id.map(|id| if program.get(id).dtype == DType::Block16 { "block16" } else { "f32" })
}
