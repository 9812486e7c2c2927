//! Python's values, operators, methods and formatting, and Jinja2's filters and tests, for templates that were written
//! for Python. [`super::rewrite`] makes templates call what is here.
//!
//! Everything counts its work ([`work`]), because templates come from files that nobody vouches for.

mod args;
mod checks;
mod class;
mod filters;
mod format;
mod globals;
mod json;
mod methods;
mod number;
mod numeric;
mod ops;
mod printf;
mod sequences;
mod show;
mod strings;
mod value;
mod wording;
mod work;

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, Value};

use args::Args;
pub(super) use class::is_space;
pub(super) use globals::refusal;
pub(super) use methods::may_be_method;
pub(super) use value::{Dict, adopt, list};
pub(super) use work::Rendering;

/// What the names of the functions begin with that rewritten templates call.
pub(super) const FUNCTION: &str = "__ember_";

/// Gives an environment all of it, and takes away what the engine brings.
pub(super) fn install(env: &mut Environment<'_>) {
    for &name in filters::NAMES {
        env.add_filter(name, move |args: Rest<ValueOrKwargs>| {
            let mut args = Args::of(args)?;
            let value = args.take_first()?;
            filters::apply(name, &value, &args)
        });
    }
    env.set_unknown_method_callback(|_, value, name, args| methods::call(value, name, args));
    env.set_formatter(|out, _, value| {
        match value.as_str() {
            Some(text) => out.write_str(text),
            None => out.write_str(&show::text(value)?),
        }
        .map_err(Error::from)
    });
    operators(env);
    globals::install(env);
}

/// The functions that stand for syntax.
fn operators(env: &mut Environment<'_>) {
    let mut add = |name: &str, function: fn(&[Value]) -> Result<Value, Error>| {
        env.add_function(format!("{FUNCTION}{name}"), move |args: Rest<ValueOrKwargs>| {
            function(&args.into_values())
        });
    };
    add("chain", ops::chain);
    add("compare", ops::compare);
    add("concatenate", ops::concatenate);
    add("negative", |args| ops::signed(true, &first(args)));
    add("positive", |args| ops::signed(false, &first(args)));
    add("infinity", |_| Ok(Value::from(f64::INFINITY)));
    add("tuple", |args| value::tuple(args.to_vec()));
    add("list", |args| list(args.to_vec()));
    add("dict", |args| {
        let pairs =
            args.chunks_exact(2).filter_map(|pair| Some((pair.first()?.clone(), pair.last()?.clone())));
        Dict::make(pairs)
    });
    add("item", |args| ops::item(&first(args), &at(args, 1)));
    add("slice", |args| ops::slice(&first(args), &at(args, 1), &at(args, 2), &at(args, 3)));
    add("attribute", |args| methods::attribute(&first(args), at(args, 1).as_str().unwrap_or_default()));
    add("iterate", |args| filters::to_list(&first(args)));
    add("set", globals::set);
    add("cycle", globals::cycle);
    add("test", |args| {
        let (name, value) = (first(args), at(args, 1));
        let args = Args::new(args.get(2..).unwrap_or_default())?;
        checks::test(name.as_str().unwrap_or_default(), &value, &args).map(Value::from)
    });
}

fn first(args: &[Value]) -> Value {
    at(args, 0)
}

fn at(args: &[Value], index: usize) -> Value {
    args.get(index).cloned().unwrap_or_default()
}
