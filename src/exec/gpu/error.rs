//! Errors of the driver as this crate's.

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

/// Runs `work` and returns the first error that the driver raised meanwhile on this thread.
pub fn guarded<T>(device: &wgpu::Device, work: impl FnOnce() -> T) -> Result<T, ExecError> {
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let result = work();
    // Popped inside out; memory first, since it explains the others.
    let internal = pollster::block_on(internal.pop());
    let memory = pollster::block_on(memory.pop());
    let validation = pollster::block_on(validation.pop());
    match memory.or(internal).or(validation) {
        None => Ok(result),
        Some(error) => Err(device_error(error)),
    }
}
