//! Bounds the work of one rendering: what it visits, and how many bytes it makes.
//!
//! The engine's fuel counts steps, but one step may visit a value that shares its parts 2^200 times. Whatever walks over a
//! value here counts each visit, shared or not. Once the budget is spent every further charge fails, so that code which
//! cannot report an error (a comparison inside the engine) may give any answer: the rendering fails at its end.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};

use minijinja::{Error, ErrorKind, Value};

use super::value::Namespace;

/// Visits allowed in one rendering; 48 bytes of text count as one.
const BUDGET: u64 = 4_000_000;
/// How deeply values may be nested: everything that recurses over them, dropping included, fits any thread's stack.
pub(super) const MAX_DEPTH: u32 = 200;

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(BUDGET) };
    static NAMESPACES: RefCell<Vec<Weak<Namespace>>> = const { RefCell::new(Vec::new()) };
}

/// One rendering on this thread.
pub(in crate::text::template) struct Rendering(());

impl Rendering {
    pub(in crate::text::template) fn begin() -> Self {
        LEFT.set(BUDGET);
        NAMESPACES.take();
        Self(())
    }

    /// Whether the budget was spent.
    pub(in crate::text::template) fn exhausted(&self) -> bool {
        LEFT.get() == 0
    }
}

impl Drop for Rendering {
    /// Namespaces may refer to each other in circles: they are emptied, all at once so that no chain of them is dropped
    /// recursively.
    fn drop(&mut self) {
        let held: Vec<_> = NAMESPACES.take().iter().filter_map(Weak::upgrade).map(|n| n.empty()).collect();
        drop(held);
    }
}

/// Counts `units` visits.
pub(super) fn charge(units: u64) -> Result<(), Error> {
    let left = LEFT.get().saturating_sub(units);
    LEFT.set(left);
    if left == 0 {
        return Err(Error::from(ErrorKind::OutOfFuel));
    }
    Ok(())
}

/// Counts a text of `bytes` that is about to be made.
pub(super) fn charge_text(bytes: usize) -> Result<(), Error> {
    charge(bytes as u64 / 48 + 1)
}

/// A text of `unit` bytes `count` times is about to be made.
pub(super) fn charge_repeated(unit: usize, count: usize) -> Result<(), Error> {
    charge_text(unit.saturating_mul(count))
}

/// Remembers a namespace until the end of the rendering.
pub(super) fn register(namespace: &Arc<Namespace>) -> Result<Value, Error> {
    charge(1)?;
    NAMESPACES.with_borrow_mut(|all| {
        // Those that are gone make room.
        if all.len() == all.capacity() {
            all.retain(|n| n.strong_count() > 0);
        }
        all.push(Arc::downgrade(namespace));
    });
    Ok(Value::from_dyn_object(namespace.clone()))
}

pub(super) fn error(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
