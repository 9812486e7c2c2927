//! What follows a value: attributes, subscripts, calls, filters and tests.

use super::*;

impl Parser<'_> {
    pub(super) fn postfix(&mut self, mut value: String) -> Parsed {
        let mut count = 0;
        loop {
            if self.skip_op(".") {
                value = self.attribute(value)?;
            } else if self.skip_op("[") {
                value = self.subscript(value)?;
            } else if self.is_op("(") {
                value = self.call(value)?;
            } else {
                return Ok(value);
            }
            count += 1;
            if count > MAX_DEPTH {
                return self.fail("too many look-ups in a row");
            }
        }
    }

    fn attribute(&mut self, value: String) -> Parsed {
        if let Some(Lexeme::Int(Some(int))) = self.peek() {
            self.at += 1;
            return Ok(function("item", &[value, int.to_string()]));
        }
        let name = self.expect_name()?;
        let private = name.starts_with('_') || !name.is_ascii();
        if !self.is_op("(") || private {
            let plain = !private && !may_be_method(&name);
            return Ok(if plain {
                format!("{value}.{name}")
            } else {
                function("attribute", &[value, literal(&name)])
            });
        }
        let args = self.arguments()?;
        // The engine's own `cycle` cannot do without arguments.
        if name == "cycle" {
            return Ok(function("cycle", &[vec![value], args].concat()));
        }
        Ok(format!("{value}.{name}({})", args.join(", ")))
    }

    fn subscript(&mut self, value: String) -> Parsed {
        let mut slice = None;
        let keys = self.nested(|parser| {
            parser.items("]", |p| {
                let bound = |p: &mut Self| {
                    let missing = p.is_op(":") || p.is_op("]") || p.is_op(",");
                    if missing { Ok("none".to_owned()) } else { p.expression() }
                };
                let first = bound(p)?;
                if !p.is_op(":") {
                    return Ok(first);
                }
                let mut parts = vec![first];
                while parts.len() < 3 && p.skip_op(":") {
                    parts.push(bound(p)?);
                }
                parts.resize(3, "none".to_owned());
                Ok(format!("{LINE}{LINE}{}", parts.join(", ")))
            })
        })?;
        if let [only] = keys.as_slice() {
            // Two marks of a line in a row are those of a slice.
            slice = only.strip_prefix(&format!("{LINE}{LINE}")).map(str::to_owned);
        }
        match (slice, keys.as_slice()) {
            (Some(parts), _) => Ok(function("slice", &[value, parts])),
            (None, []) => self.fail("expected a subscript"),
            (None, [key]) => Ok(function("item", &[value, key.clone()])),
            (None, keys) if keys.iter().any(|k| k.starts_with(&format!("{LINE}{LINE}"))) => {
                self.fail("a slice cannot be part of a tuple here")
            }
            (None, keys) => Ok(function("item", &[value, function("tuple", keys)])),
        }
    }

    pub(super) fn call(&mut self, value: String) -> Parsed {
        let args = self.arguments()?;
        if value.rsplit(LINE).next() == Some("loop") {
            // A recursive loop walks over what Python can walk over.
            let walked: Vec<String> = args.into_iter().map(|arg| function("iterate", &[arg])).collect();
            return Ok(format!("{value}({})", walked.join(", ")));
        }
        Ok(format!("{value}({})", args.join(", ")))
    }

    /// The arguments of a call, brackets included.
    pub(in super::super) fn arguments(&mut self) -> Result<Vec<String>, SyntaxError> {
        self.expect_op("(")?;
        self.nested(|parser| {
            parser.items(")", |p| {
                if p.skip_op("*") {
                    return Ok(format!("*{}", function("iterate", &[p.expression()?])));
                }
                if p.skip_op("**") {
                    return Ok(format!("**{}", p.expression()?));
                }
                let next = p.tokens.get(p.at + 1).map(|token| &token.kind);
                if let (Some(Lexeme::Name(name)), Some(Lexeme::Op("="))) = (p.peek(), next) {
                    p.at += 2;
                    return Ok(format!("{name}={}", p.expression()?));
                }
                p.expression()
            })
        })
    }

    /// Filters and tests behind a value.
    pub(super) fn filters(&mut self, mut value: String) -> Parsed {
        let mut count = 0;
        loop {
            if self.skip_op("|") {
                value = format!("{value}|{}", self.filter()?);
            } else if self.skip_name("is") {
                value = self.test(value)?;
            } else if self.is_op("(") {
                let args = self.arguments()?;
                value = format!("({value})({})", args.join(", "));
            } else {
                return Ok(value);
            }
            count += 1;
            if count > MAX_DEPTH {
                return self.fail("too many filters in a row");
            }
        }
    }

    /// `name(args)` of a filter.
    pub(in super::super) fn filter(&mut self) -> Parsed {
        let name = self.expect_name()?;
        let args = if self.is_op("(") { self.arguments()? } else { Vec::new() };
        Ok(format!("{name}({})", args.join(", ")))
    }

    pub(super) fn test(&mut self, value: String) -> Parsed {
        let negated = self.skip_name("not");
        let name = self.expect_name()?;
        let ends = ["else", "or", "and"].iter().any(|word| self.is_name(word));
        let follows = match self.peek() {
            Some(Lexeme::Name(_)) => !ends,
            Some(Lexeme::Text(_) | Lexeme::Int(_) | Lexeme::Float(_) | Lexeme::Op("[" | "{")) => true,
            _ => false,
        };
        let args = if self.is_op("(") {
            self.arguments()?
        } else if follows {
            if self.is_name("is") {
                return self.fail("You cannot chain multiple tests with is");
            }
            let arg = self.primary()?;
            vec![self.postfix(arg)?]
        } else {
            Vec::new()
        };
        let test = function("test", &[vec![literal(&name), value], args].concat());
        Ok(if negated { format!("(not {test})") } else { test })
    }
}
