//! Keys that are pressed while an answer is written: they are not shown within it, and wait for the next question.

#[cfg(unix)]
mod held {
    use std::io::IsTerminal;
    use std::sync::{Mutex, PoisonError};

    use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// How the terminal was, while it is otherwise.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// Sets the terminal so that keys are kept as they are pressed; Ctrl-C goes on to interrupt.
    pub fn hold() {
        let stdin = std::io::stdin();
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_some() || !stdin.is_terminal() {
            return;
        }
        let Ok(mut modes) = tcgetattr(&stdin) else { return };
        *before = Some(modes.clone());
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        modes.input_modes.remove(InputModes::ICRNL);
        // A terminal that stays as it is shows the keys, and loses nothing.
        let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
    }

    /// Sets the terminal back.
    pub fn release() {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(modes) = before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &modes);
        }
    }
}

#[cfg(not(unix))]
mod held {
    /// The console keeps what is typed by itself.
    pub fn hold() {}

    /// See [`hold`].
    pub fn release() {}
}

/// While it lives, keys wait.
#[derive(Debug)]
pub struct Held(());

impl Held {
    /// Lets keys wait from here on.
    pub fn new() -> Self {
        held::hold();
        Self(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        release();
    }
}

/// Sets the terminal as it was, for a program that ends at once.
pub fn release() {
    held::release();
}
