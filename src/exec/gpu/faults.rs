//! What a driver reports, as this crate's errors: at once, on its own, and that the device is gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::exec::ExecError;

/// An error of the driver, typed.
pub fn device_error(error: wgpu::Error) -> ExecError {
    match error {
        wgpu::Error::OutOfMemory { source } => ExecError::OutOfMemory(source.to_string()),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            ExecError::Device(description)
        }
    }
}

/// First fault that the driver reported outside of an error scope, and whether the device is gone.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Option<Fault>>>);

enum Fault {
    /// As text already: in a browser wgpu's own errors stay on the thread that made them.
    Error(ExecError),
    Lost(String),
}

impl Faults {
    /// Has a device tell its errors and its loss.
    pub fn watch(&self, device: &wgpu::Device) {
        let on_error = self.clone();
        device.on_uncaptured_error(Arc::new(move |e| on_error.set(Fault::Error(device_error(e)))));
        let on_loss = self.clone();
        device.set_device_lost_callback(move |reason, message| {
            let taken = reason == wgpu::DeviceLostReason::Destroyed;
            on_loss.set(Fault::Lost(if taken { "it was taken away".into() } else { message }));
        });
    }

    fn set(&self, fault: Fault) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A loss explains all errors that came with it.
        if held.is_none() || matches!(fault, Fault::Lost(_)) {
            *held = Some(fault);
        }
    }

    /// The fault, if there was one. A lost device stays lost.
    pub fn check(&self) -> Result<(), ExecError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.take() {
            None => Ok(()),
            Some(Fault::Error(e)) => Err(e),
            Some(Fault::Lost(why)) => {
                *held = Some(Fault::Lost(why.clone()));
                Err(ExecError::DeviceLost(why))
            }
        }
    }
}

/// What `wait` gives. wgpu panics where a driver says, while it is waited for, that its device is gone: that is a loss as any
/// other.
pub fn no_panic<T>(wait: impl FnOnce() -> T) -> Result<T, ExecError> {
    let lost = |_| ExecError::DeviceLost("it was gone while it was waited for".into());
    catch_unwind(AssertUnwindSafe(wait)).map_err(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_explains_the_errors_before_it_and_stays() {
        let faults = Faults::default();
        assert!(faults.check().is_ok());
        faults.set(Fault::Error(ExecError::Device("first".into())));
        faults.set(Fault::Error(ExecError::Device("second".into())));
        assert!(matches!(faults.check(), Err(ExecError::Device(why)) if why == "first"));
        assert!(faults.check().is_ok(), "an error is told once");
        faults.set(Fault::Error(ExecError::Device("third".into())));
        faults.set(Fault::Lost("reset".into()));
        faults.set(Fault::Error(ExecError::Device("fourth".into())));
        for _ in 0..2 {
            assert!(matches!(faults.check(), Err(ExecError::DeviceLost(why)) if why == "reset"));
        }
    }

    #[test]
    fn a_panic_of_the_wait_is_a_loss() {
        assert_eq!(no_panic(|| 7).ok(), Some(7));
        // Not `panic!`, whose message would stand among the test's.
        let lost = no_panic(|| -> u32 { std::panic::resume_unwind(Box::new("Error in Device::poll")) });
        assert!(matches!(lost, Err(ExecError::DeviceLost(_))));
    }
}
