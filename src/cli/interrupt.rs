//! Ctrl-C. A command that can stop cleanly listens; anywhere else the program ends at once with 130.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Presses that end the program even while someone listens: the way out of a step that takes too long.
const INSIST: usize = 3;

static PRESSES: AtomicUsize = AtomicUsize::new(0);
static LISTENERS: AtomicUsize = AtomicUsize::new(0);
static INSTALL: Once = Once::new();

/// While it lives, Ctrl-C is only counted; the third press ends the program.
#[derive(Debug)]
pub struct Listen(());

impl Listen {
    /// Starts listening, with no presses yet.
    pub fn new() -> Self {
        install();
        PRESSES.store(0, Ordering::SeqCst);
        LISTENERS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }

    /// Whether Ctrl-C was pressed since.
    pub fn pressed(&self) -> bool {
        PRESSES.load(Ordering::SeqCst) > 0
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Listen {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::SeqCst);
        PRESSES.store(0, Ordering::SeqCst);
    }
}

/// Installs the handler once. Where it cannot be installed, Ctrl-C keeps the system's meaning.
pub fn install() {
    INSTALL.call_once(|| {
        let _ = ctrlc::set_handler(|| {
            let listening = LISTENERS.load(Ordering::SeqCst) > 0;
            if !listening || PRESSES.fetch_add(1, Ordering::SeqCst) + 1 >= INSIST {
                super::keys::release();
                std::process::exit(i32::from(super::error::Ending::Interrupted.code()));
            }
        });
    });
}
