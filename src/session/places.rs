//! Where to go on when a device fails: on it, on another, on the CPU.

use super::auto::{Preference, for_session};
use super::boot::{Device, boot_on};
use super::{DeviceChoice, Session, SessionError, SessionOptions};
use crate::exec::{DeviceInfo, DeviceKind, ExecError, Failed, Remedy};
use crate::model::Model;

/// See [`Session::new`].
pub fn boot(model: &Model, options: &SessionOptions) -> Result<Session, SessionError> {
    let mut places = Places::new(options);
    places.prefer(|options| for_session(model, options));
    places.boot(|device, options| boot_on(device, model, options))
}

/// An error in which that of a device may be.
pub(crate) trait DeviceError: From<SessionError> {
    /// The device's error, if it is one.
    fn of_device(&self) -> Option<&ExecError>;
}

impl DeviceError for SessionError {
    fn of_device(&self) -> Option<&ExecError> {
        match self {
            SessionError::Exec(error) => Some(error),
            _ => None,
        }
    }
}

/// The places to run at, the next one first.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    options: SessionOptions,
    /// The next failure moves on, whatever device was asked for: something is under way that is worth more than the choice.
    free: bool,
    /// Times that the device was lost since it last got on.
    idle: u32,
    /// Why the next one is.
    why: Option<String>,
    /// The devices have been compared.
    compared: bool,
}

impl Places {
    /// Those of the device that was asked for: with `auto` others, where it fails.
    pub fn new(options: &SessionOptions) -> Self {
        let free = options.device == DeviceChoice::Auto;
        Self { options: options.clone(), free, idle: 0, why: None, compared: false }
    }

    /// Begins with the device that `compare` prefers; it is asked once.
    pub fn prefer(&mut self, compare: impl FnOnce(&SessionOptions) -> Option<Preference>) {
        if std::mem::replace(&mut self.compared, true) {
            return;
        }
        if let Some(Preference { device, why }) = compare(&self.options) {
            (self.options.device, self.why) = (device, Some(why));
        }
    }

    /// Moves to where what `error` ended on `device` may go on; false if that is nowhere. `progress`: the device has done some
    /// of it. From here on other devices than the one asked for are taken too.
    pub fn flee(&mut self, device: &DeviceInfo, error: &ExecError, progress: bool) -> bool {
        self.free = true;
        self.idle = if progress { 0 } else { self.idle };
        match error.remedy() {
            // A device may have been lost since it was last used. What is lost each time would be opened for ever.
            Some(Remedy::Again) if self.idle == 0 => {
                self.idle = 1;
                true
            }
            _ => self.leave(device, error),
        }
    }

    /// Boots at the first place that can.
    ///
    /// # Errors
    /// Those of the last place, and those that no other place mends.
    pub fn boot<T, E: DeviceError>(
        &mut self,
        boot: impl Fn(Device, &SessionOptions) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let opened = Device::open(&self.options);
            let (name, failure) = match opened {
                Ok(device) => {
                    let device = match &self.why {
                        Some(why) => device.because(why.clone()),
                        None => device,
                    };
                    let info = device.info();
                    match boot(device, &self.options) {
                        Ok(booted) => return Ok(booted),
                        Err(error) => (info, error),
                    }
                }
                Err(error) => (nothing(), E::from(error)),
            };
            let left = failure.of_device().is_some_and(|error| self.leave(&name, error));
            if !left {
                return Err(failure);
            }
        }
    }

    /// Gives a device up.
    fn leave(&mut self, device: &DeviceInfo, error: &ExecError) -> bool {
        if !self.free || error.remedy().is_none() || device.kind == DeviceKind::Cpu {
            return false;
        }
        let failed = Failed { device: device.name.clone(), why: error.to_string() };
        // The best of those that are left: a software rasterizer that was not asked for is none.
        let again = self.options.failed.iter().any(|other| other.device == failed.device);
        self.options.device = if again { DeviceChoice::Cpu } else { DeviceChoice::Auto };
        self.options.failed.push(failed);
        (self.idle, self.why) = (0, None);
        true
    }
}

/// The device that there was none of.
fn nothing() -> DeviceInfo {
    DeviceInfo { name: String::new(), kind: DeviceKind::Other, driver: String::new(), why: String::new() }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn gpu(name: &str) -> DeviceInfo {
        DeviceInfo { name: name.into(), kind: DeviceKind::Discrete, ..nothing() }
    }

    fn places(device: DeviceChoice) -> Places {
        Places::new(&SessionOptions { device, ..SessionOptions::default() })
    }

    fn lost() -> ExecError {
        ExecError::DeviceLost("reset".into())
    }

    #[test]
    fn a_lost_device_is_opened_again_while_it_gets_on() {
        let mut places = places(DeviceChoice::Named("one".into()));
        for _ in 0..50 {
            assert!(places.flee(&gpu("one"), &lost(), true));
            assert_eq!(places.options.device, DeviceChoice::Named("one".into()));
        }
        assert!(places.flee(&gpu("one"), &lost(), false), "then another");
        assert!(places.flee(&gpu("two"), &lost(), false), "which may have been lost before it was used");
        assert_eq!(places.options.failed.len(), 1);
        assert_eq!(places.options.device, DeviceChoice::Auto);
        assert_eq!(places.options.failed[0].device, "one");
        let (cpu, short) =
            (DeviceInfo { kind: DeviceKind::Cpu, ..nothing() }, ExecError::OutOfMemory("no".into()));
        assert!(!places.flee(&cpu, &short, true), "there is nothing behind the CPU");
    }

    #[test]
    fn a_shortage_is_not_tried_again() {
        let mut places = places(DeviceChoice::Gpu);
        assert!(places.flee(&gpu("one"), &ExecError::OutOfMemory("full".into()), true));
        assert_eq!(places.options.device, DeviceChoice::Auto);
        assert!(!places.flee(&gpu("two"), &ExecError::Internal("a defect".into()), true));
    }

    #[test]
    fn booting_ends_on_the_cpu_if_it_may() {
        let tried = RefCell::new(vec![]);
        let boot = |device: Device, _: &SessionOptions| {
            tried.borrow_mut().push(device.info().kind);
            match device.info().kind {
                DeviceKind::Cpu => Ok(()),
                _ => Err(SessionError::Exec(ExecError::OutOfMemory("full".into()))),
            }
        };
        // Whatever adapters there are, all fail.
        places(DeviceChoice::Auto).boot(boot).unwrap();
        assert_eq!(tried.take().last(), Some(&DeviceKind::Cpu));
        let mut stubborn = places(DeviceChoice::Named("no such adapter".into()));
        assert!(matches!(stubborn.boot(boot), Err(SessionError::Exec(ExecError::NoDevice(_)))));
        // Not where a conversation is at stake.
        stubborn.flee(&gpu("no such adapter"), &lost(), true);
        stubborn.boot(boot).unwrap();
        assert_eq!(tried.take(), [DeviceKind::Cpu]);
    }

    #[test]
    fn a_fault_that_is_not_the_devices_ends_it() {
        let fail = |_: Device, _: &SessionOptions| Err::<(), _>(SessionError::EmptyPrompt);
        assert!(matches!(places(DeviceChoice::Auto).boot(fail), Err(SessionError::EmptyPrompt)));
    }
}
