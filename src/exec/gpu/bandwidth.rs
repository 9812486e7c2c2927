//! How fast the device moves memory: copies between two buffers of its own, which are freed again.

use std::time::Instant;

use super::device::Device;
use crate::exec::ExecError;

/// Bytes of a buffer: beyond the caches of most GPUs.
const BYTES: u64 = 128 << 20;
/// Copies of one submission, so that its cost does not count; few enough for a watchdog.
const COPIES: u64 = 4;
/// The best of so many submissions counts.
const PASSES: usize = 5;

/// GB/s, bytes read and bytes written together.
pub fn measure(device: &Device) -> Result<f64, ExecError> {
    let bytes = BYTES.min(device.limits.max_buffer_size) & !255;
    let descriptor = wgpu::BufferDescriptor {
        label: Some("bandwidth"),
        size: bytes,
        usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    };
    let make = || device.device.create_buffer(&descriptor);
    let (from, to) = device.guarded(|| (make(), make()))?;
    let mut best = f64::INFINITY;
    // The first pass also pays for the driver's clearing of new buffers.
    for _ in 0..=PASSES {
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for _ in 0..COPIES {
            encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes);
        }
        device.wait_idle()?;
        let start = Instant::now();
        device.queue.submit([encoder.finish()]);
        device.wait_idle()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok((2 * bytes * COPIES) as f64 / best / 1e9)
}
