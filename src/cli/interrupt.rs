//! Ctrl-C. A command that can stop cleanly listens; anywhere else the program ends at once with 130.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static PRESSED: AtomicBool = AtomicBool::new(false);
static LISTENERS: AtomicUsize = AtomicUsize::new(0);
static INSTALL: Once = Once::new();

/// While it lives, Ctrl-C only sets a flag. A second press that finds the flag still set ends the program.
#[derive(Debug)]
pub struct Listen(());

impl Listen {
    /// Starts listening with a clear flag.
    pub fn new() -> Self {
        install();
        PRESSED.store(false, Ordering::SeqCst);
        LISTENERS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }

    /// Whether Ctrl-C was pressed since.
    pub fn pressed(&self) -> bool {
        PRESSED.load(Ordering::SeqCst)
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
        PRESSED.store(false, Ordering::SeqCst);
    }
}

/// Installs the handler once. Where it cannot be installed, Ctrl-C keeps the system's meaning.
pub fn install() {
    INSTALL.call_once(|| {
        let _ = ctrlc::set_handler(|| {
            let listening = LISTENERS.load(Ordering::SeqCst) > 0;
            if !listening || PRESSED.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(super::error::Ending::Interrupted.code()));
            }
        });
    });
}
