//! What stands where an executor was that has been given up.

use super::{DeviceInfo, ExecError, Executor, OpTime, Ticket};
use crate::plan::{PlanId, Program, SegmentKind, Step, TensorId};

/// Runs nothing, and says why. It holds no memory of the device.
pub struct Gone {
    program: Program,
    device: DeviceInfo,
    why: String,
}

impl Gone {
    /// In the place of `executor`, whose device failed so.
    pub fn of(executor: &dyn Executor, why: String) -> Self {
        Self { program: executor.program().clone(), device: executor.device().clone(), why }
    }

    fn error<T>(&self) -> Result<T, ExecError> {
        Err(ExecError::DeviceLost(self.why.clone()))
    }
}

impl Executor for Gone {
    fn program(&self) -> &Program {
        &self.program
    }

    fn device(&self) -> &DeviceInfo {
        &self.device
    }

    fn allocated(&self) -> Vec<(SegmentKind, u64)> {
        Vec::new()
    }

    fn depth(&self) -> usize {
        1
    }

    fn submit(&mut self, _: PlanId, _: &Step) -> Result<Ticket, ExecError> {
        self.error()
    }

    fn wait(&mut self, _: Ticket, _: &mut Vec<u32>) -> Result<(), ExecError> {
        self.error()
    }

    fn write(&mut self, _: TensorId, _: &[f32]) -> Result<(), ExecError> {
        self.error()
    }

    fn read(&mut self, _: TensorId, _: &mut Vec<f32>) -> Result<(), ExecError> {
        self.error()
    }

    fn profile(&mut self, _: bool) {}

    fn op_times(&mut self) -> Result<Vec<OpTime>, ExecError> {
        self.error()
    }
}
