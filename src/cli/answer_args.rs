//! Where an answer ends, and what becomes of thoughts before it.

use clap::{Args, ValueEnum};

use crate::cli::args::tokens;

/// What an answer is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Answer")]
pub struct AnswerArgs {
    /// Most tokens of an answer; -1 for no limit [default: in a chat 512, or 2048 if the model thinks first; else until it or
    /// the context ends]
    #[arg(short = 'n', long, alias = "predict", value_name = "N", value_parser = tokens)]
    n_predict: Option<usize>,
    /// End the answer before this text, which is not printed; may be repeated; \n and \t are line end and tab
    #[arg(short = 'r', long, alias = "reverse-prompt", value_name = "TEXT", allow_hyphen_values = true, value_parser = unescaped)]
    stop: Vec<String>,
    /// Whether an answer is ended that begins to run in a circle: with a run of eight words for the third time, counting the
    /// answers before, or a piece that is repeated without end; code may come again, but not the smallest models' [default: on;
    /// off with --raw, as texts may repeat themselves]
    #[arg(long, value_enum, value_name = "WHEN")]
    loop_guard: Option<Switch>,
    /// Whether the model is to think before it answers, where its template has a switch for that
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub think: Think,
    /// What becomes of a model's thoughts (`<think>` and the like): on a terminal they are shown dim, and stdout in a pipe has
    /// the answer alone
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    thoughts: ThoughtsShown,
    /// As --thoughts hide
    #[arg(long, conflicts_with = "thoughts")]
    hide_thoughts: bool,
}

impl AnswerArgs {
    /// Most tokens, if there is a limit.
    pub fn limit(&self) -> Option<usize> {
        self.n_predict.filter(|n| *n < usize::MAX)
    }

    /// Most tokens of an answer in a chat.
    pub fn chat_limit(&self, thinks: bool) -> usize {
        self.n_predict.unwrap_or(if thinks { 2048 } else { 512 })
    }

    /// Whether the limit of a chat's answers is the default one.
    pub fn limit_is_default(&self) -> bool {
        self.n_predict.is_none()
    }

    /// Whether answers that run in circles are ended; `raw`: the text is continued as it is.
    pub fn guards(&self, raw: bool) -> bool {
        self.loop_guard.map_or(!raw, |switch| switch == Switch::On)
    }

    /// What ends an answer: what was asked for, and what the model needs.
    pub fn stop(&self, of_model: &[String]) -> Vec<String> {
        self.stop.iter().chain(of_model).cloned().collect()
    }

    /// What becomes of thoughts.
    pub fn thoughts(&self) -> ThoughtsShown {
        if self.hide_thoughts { ThoughtsShown::Hide } else { self.thoughts }
    }
}

/// On or off.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Do it
    On,
    /// Do not
    Off,
}

/// Whether a model thinks before it answers.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Think {
    /// As its template has it
    #[default]
    Auto,
    /// It is to
    On,
    /// It is not to
    Off,
}

/// What becomes of thoughts.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThoughtsShown {
    /// Apart from the answer: dim on a terminal; in a pipe, stdout has the answer alone
    #[default]
    Apart,
    /// Not at all
    Hide,
    /// As the model writes them, marks included
    Inline,
}

/// `\\n`, `\\t`, `\\r` and `\\\\` as the characters they stand for; anything else is itself.
fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.clone().next() } else { None };
        let stands_for = match escaped {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('\\') => '\\',
            _ => {
                out.push(c);
                continue;
            }
        };
        chars.next();
        out.push(stands_for);
    }
    if out.is_empty() { Err("an empty text ends nothing".into()) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_strings_have_line_ends() {
        assert_eq!(unescaped("\\n\\tUser:").as_deref(), Ok("\n\tUser:"));
        assert_eq!(unescaped("a\\\\n\\q\\").as_deref(), Ok("a\\n\\q\\"));
        assert!(unescaped("").is_err());
    }
}
