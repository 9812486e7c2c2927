//! The `ember` command.
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", feature = "gpu"))]
    without_a_display();
    emberlm::cli::main()
}

/// Vulkan's layers look for a Wayland display, and complain on stderr where XDG_RUNTIME_DIR names no folder for one. A path that
/// nothing can ever lie in says quietly that there is none.
#[cfg(all(target_os = "linux", feature = "gpu"))]
fn without_a_display() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none_or(|folder| folder.is_empty()) {
        // SAFETY: it is the first thing that the program does: no other thread reads the environment yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", "/dev/null") };
    }
}
