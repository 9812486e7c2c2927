//! Jinja2's statements, for the engine.

use super::SyntaxError;
use super::expr::{LINE, MAX_PARTS, Parsed, Parser, function, literal};
use super::lex::Token;

/// The statements that are open.
#[derive(Default)]
pub(super) struct Statements {
    open: Vec<Open>,
    captures: usize,
    /// Branches of each open `if`.
    elifs: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Open {
    /// Closed by its own name with `end` before it.
    Plain(&'static str),
    /// `{% generation %}`: a scope that does nothing else.
    Generation,
    /// `{% set name.field %}`, with the variable that takes the text.
    Field { object: String, field: String, variable: String },
}

/// What is assigned to.
enum Target {
    Name(String),
    Field(String, String),
    Tuple(Vec<Target>),
}

const BLOCKS: [&str; 8] = ["for", "if", "macro", "call", "set", "with", "filter", "block"];

impl Statements {
    pub(super) fn rewrite(&mut self, tokens: &[Token], line: usize) -> Parsed {
        let mut parser = Parser::new(tokens, line);
        let word = parser.expect_name()?;
        let body = match word.as_str() {
            "for" => self.open_plain("for", for_loop(&mut parser)?),
            "if" => {
                self.elifs.push(0);
                self.open_plain("if", format!("if {}", parser.tuple(false)?))
            }
            "elif" => {
                // The engine nests them.
                if let Some(count) = self.elifs.last_mut() {
                    *count += 1;
                    if *count > MAX_PARTS {
                        return parser.fail(format!("more than {MAX_PARTS} branches of an 'if'"));
                    }
                }
                format!("elif {}", parser.tuple(false)?)
            }
            "else" | "break" | "continue" => word,
            "set" => self.set(&mut parser)?,
            "macro" => {
                let name = parser.expect_name()?;
                let (signature, defaults) = signature(&mut parser)?;
                self.open_plain("macro", format!("macro {name}{signature}{defaults}"))
            }
            "call" => {
                let (signature, defaults) =
                    if parser.is_op("(") { signature(&mut parser)? } else { Default::default() };
                let call = parser.expression()?;
                self.open_plain("call", format!("call{signature} {call}{defaults}"))
            }
            "filter" => {
                let chain = filter_chain(&mut parser)?;
                self.open_plain("filter", format!("filter {chain}"))
            }
            "with" => {
                let with = with(&mut parser)?;
                self.open_plain("with", format!("with {with}"))
            }
            "block" => {
                let name = parser.expect_name()?;
                let _ = parser.skip_name("scoped") || parser.skip_name("required");
                self.open_plain("block", format!("block {name}"))
            }
            "generation" => {
                self.open.push(Open::Generation);
                "with".to_owned()
            }
            "print" => {
                let mut values = vec![parser.expression()?];
                while parser.skip_op(",") {
                    values.push(parser.expression()?);
                }
                parser.end()?;
                let values = function("concatenate", &values);
                return Ok(format!("{{{{ {LINE}{line}{LINE}{values} }}}}"));
            }
            word => match word.strip_prefix("end") {
                Some(name) => self.close(name, &mut parser)?,
                None => return parser.fail(format!("Encountered unknown tag '{word}'.")),
            },
        };
        parser.end()?;
        // Some become several tags.
        let tags = body.split('\n').map(|tag| format!("{{% {LINE}{line}{LINE}{tag} %}}"));
        Ok(tags.collect())
    }

    fn open_plain(&mut self, name: &'static str, body: String) -> String {
        self.open.push(Open::Plain(name));
        body
    }

    fn close(&mut self, name: &str, parser: &mut Parser<'_>) -> Parsed {
        match (self.open.pop(), name) {
            (Some(Open::Plain(open)), name) if open == name => {
                if name == "if" {
                    self.elifs.pop();
                }
                if name == "block" && !parser.done() {
                    parser.expect_name()?;
                }
                Ok(format!("end{name}"))
            }
            (Some(Open::Generation), "generation") => Ok("endwith".to_owned()),
            (Some(Open::Field { object, field, variable }), "set") => {
                Ok(format!("endset\n{}", set_field(&object, &field, &variable)))
            }
            (Some(Open::Plain(open)), _) => {
                parser.fail(format!("Encountered unknown tag 'end{name}'; 'end{open}' was expected."))
            }
            _ if BLOCKS.contains(&name) || name == "generation" => {
                parser.fail(format!("'end{name}' closes nothing"))
            }
            _ => parser.fail(format!("Encountered unknown tag 'end{name}'.")),
        }
    }

    fn set(&mut self, parser: &mut Parser<'_>) -> Parsed {
        let target = targets(parser, true)?;
        if !parser.skip_op("=") {
            let chain =
                if parser.skip_op("|") { format!(" | {}", filter_chain(parser)?) } else { String::new() };
            return match target {
                Target::Field(object, field) => {
                    self.captures += 1;
                    let variable = format!("{}{}", crate::text::template::python::FUNCTION, self.captures);
                    self.open.push(Open::Field { object, field, variable: variable.clone() });
                    Ok(format!("set {variable}{chain}"))
                }
                target => {
                    let target = written(&target, parser)?;
                    Ok(self.open_plain("set", format!("set {target}{chain}")))
                }
            };
        }
        let value = parser.tuple(true)?;
        match target {
            Target::Field(object, field) => Ok(set_field(&object, &field, &value)),
            target => Ok(format!("set {} = {value}", written(&target, parser)?)),
        }
    }
}

fn set_field(object: &str, field: &str, value: &str) -> String {
    format!("do {}", function("set", &[object.to_owned(), literal(field), value.to_owned()]))
}

fn for_loop(parser: &mut Parser<'_>) -> Parsed {
    let target = targets(parser, false)?;
    let target = written(&target, parser)?;
    if !parser.skip_name("in") {
        return parser.fail("expected 'in'");
    }
    let mut out = format!("for {target} in {}", function("iterate", &[parser.tuple(false)?]));
    if parser.skip_name("if") {
        out.push_str(" if ");
        out.push_str(&parser.expression()?);
    }
    if parser.skip_name("recursive") {
        out.push_str(" recursive");
    }
    Ok(out)
}

/// Names, fields where those are allowed, and tuples of them.
fn targets(parser: &mut Parser<'_>, fields: bool) -> Result<Target, SyntaxError> {
    let mut all = Vec::new();
    let mut tuple = false;
    loop {
        if parser.skip_op("(") {
            all.push(targets(parser, fields)?);
            parser.expect_op(")")?;
        } else {
            let name = parser.expect_name()?;
            if fields && parser.skip_op(".") {
                all.push(Target::Field(name, parser.expect_name()?));
            } else {
                all.push(Target::Name(name));
            }
        }
        if !parser.skip_op(",") {
            break;
        }
        tuple = true;
        if parser.is_name("in") || parser.is_op("=") || parser.is_op(")") {
            break;
        }
    }
    match all.pop() {
        Some(only) if !tuple => Ok(only),
        last => {
            all.extend(last);
            Ok(Target::Tuple(all))
        }
    }
}

/// A name, or a tuple in parentheses.
fn single_target(parser: &mut Parser<'_>) -> Result<Target, SyntaxError> {
    if !parser.skip_op("(") {
        return parser.expect_name().map(Target::Name);
    }
    let target = targets(parser, false)?;
    parser.expect_op(")")?;
    Ok(target)
}

fn written(target: &Target, parser: &Parser<'_>) -> Parsed {
    match target {
        Target::Name(name) if ["true", "false", "none", "True", "False", "None"].contains(&name.as_str()) => {
            parser.fail("can't assign to 'const'")
        }
        Target::Name(name) => Ok(name.clone()),
        Target::Field(..) => parser.fail("fields of namespaces cannot be part of a tuple here"),
        Target::Tuple(all) => {
            let all = all.iter().map(|target| written(target, parser)).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("({},)", all.join(", ")))
        }
    }
}

/// `(a, b=1)`, and the tags that follow: a default may refer to the parameters before it.
fn signature(parser: &mut Parser<'_>) -> Result<(String, String), SyntaxError> {
    parser.expect_op("(")?;
    let mut names: Vec<String> = Vec::new();
    let mut defaults = String::new();
    while !parser.skip_op(")") {
        if !names.is_empty() {
            parser.expect_op(",")?;
        }
        let name = parser.expect_name()?;
        if parser.skip_op("=") {
            let value = parser.expression()?;
            let missing = function("test", &[literal("undefined"), name.clone()]);
            defaults.push_str(&format!("\nif {missing}\nset {name} = {value}\nendif"));
        } else if !defaults.is_empty() {
            return parser.fail("non-default argument follows default argument");
        }
        names.push(name);
    }
    Ok((format!("({})", names.join(", ")), defaults))
}

fn filter_chain(parser: &mut Parser<'_>) -> Parsed {
    let mut chain = vec![parser.filter()?];
    while parser.skip_op("|") {
        chain.push(parser.filter()?);
    }
    Ok(chain.join(" | "))
}

/// All values are found before any name is set.
fn with(parser: &mut Parser<'_>) -> Parsed {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    while !parser.done() {
        if !names.is_empty() {
            parser.expect_op(",")?;
        }
        let target = single_target(parser)?;
        names.push(written(&target, parser)?);
        parser.expect_op("=")?;
        values.push(parser.expression()?);
    }
    if names.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("({},) = {}", names.join(", "), function("tuple", &values)))
}
