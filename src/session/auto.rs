//! `auto`: each device is measured once with each model, and the fastest is taken.
//!
//! The KV cache cannot be moved between devices, so that a session is on one: the choice is by the time of a prompt and an answer
//! together, not by phase.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::boot::{Device, boot_on};
use super::{DeviceChoice, Modes, Session, SessionError, SessionOptions};
use crate::adapter::BaseFingerprint;
use crate::exec::choice::{Fastest, Phase, Rates, Speed, fastest};
use crate::exec::{DeviceInfo, notes};
use crate::model::{AdapterShape, Model};
use crate::text::SamplerParams;

/// What a session is chosen for: a prompt with what was said before, and an answer.
const SESSION: [(Phase, u64); 2] = [(Phase::Prompt, 512), (Phase::Generation, 128)];
/// Time for measuring a phase.
const BUDGET: Duration = Duration::from_secs(2);
/// Tokens of the prompts that are measured, as long as the next is expected to take no longer than that.
const PROMPTS: [usize; 3] = [8, 32, 128];
/// Most tokens that are generated to measure it.
const GENERATED: usize = 24;

/// A device to run on, and why it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Preference {
    pub device: DeviceChoice,
    pub why: String,
}

/// What `auto` knows of a model: its name, and how fast each device is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Speeds {
    /// The model's name.
    pub model: String,
    /// The devices, in the order in which they were measured.
    pub speeds: Vec<Speed>,
}

impl Speeds {
    /// That of a device, if need be a new one.
    fn of(&mut self, device: &str, driver: &str) -> Option<&mut Speed> {
        let same = |speed: &Speed| speed.device == device && speed.driver == driver;
        let at = self.speeds.iter().position(same).unwrap_or_else(|| {
            let (device, driver) = (device.to_owned(), driver.to_owned());
            self.speeds.push(Speed { device, driver, ..Speed::default() });
            self.speeds.len() - 1
        });
        self.speeds.get_mut(at)
    }
}

/// Devices to choose among, and what is said of those that are none.
pub(crate) struct Field {
    devices: Vec<(DeviceChoice, DeviceInfo)>,
    unusable: String,
}

impl Field {
    /// The devices that `auto` may take, the CPU first: of equals it is taken. `None` where nothing is to be chosen: another
    /// device than `auto` was asked for, or nothing would be remembered.
    pub fn of(options: &SessionOptions) -> Option<Self> {
        if options.device != DeviceChoice::Auto || options.double || options.notes.is_none() {
            return None;
        }
        let cpu = SessionOptions { device: DeviceChoice::Cpu, ..options.clone() };
        let cpu = Device::open(&cpu).ok()?.info();
        let (gpus, unusable) = gpus(options);
        Some(Self { devices: [(DeviceChoice::Cpu, cpu)].into_iter().chain(gpus).collect(), unusable })
    }

    /// The CPU and one more device.
    #[cfg(all(test, feature = "gpu"))]
    pub fn with(options: &SessionOptions, other: &str) -> Self {
        let open = |device: DeviceChoice| {
            let info =
                Device::open(&SessionOptions { device: device.clone(), ..options.clone() }).unwrap().info();
            (device, info)
        };
        let other = DeviceChoice::Named(other.into());
        Self { devices: vec![open(DeviceChoice::Cpu), open(other)], unusable: String::new() }
    }
}

/// The fastest device for a session of a model: by what is known, else by measuring. `None` where there is nothing to choose.
pub(crate) fn for_session(model: &Model, options: &SessionOptions) -> Option<Preference> {
    session_among(&Field::of(options)?, model, options)
}

fn session_among(field: &Field, model: &Model, options: &SessionOptions) -> Option<Preference> {
    // What is only scored is read as a prompt is.
    let work = if options.modes.generate { &SESSION[..] } else { &SESSION[..1] };
    prefer(field, model, options, "session", work, &mut |place| {
        let small = SessionOptions {
            ctx: Some(PROMPTS.iter().sum::<usize>() + GENERATED + 16),
            slots: 1,
            chunk: None,
            adapters: AdapterShape::default(),
            modes: Modes::GENERATE,
            ..place.clone()
        };
        let mut session = boot_on(Device::open(&small)?, model, &small)?;
        measure(&mut session)
    })
}

/// The same of any work; `what` tells apart what is measured of one model.
pub(crate) fn prefer<E: std::fmt::Display>(
    field: &Field,
    model: &Model,
    options: &SessionOptions,
    what: &str,
    work: &[(Phase, u64)],
    measure: &mut dyn FnMut(&SessionOptions) -> Result<Rates, E>,
) -> Option<Preference> {
    let folder = options.notes.as_deref()?;
    let devices = &field.devices[..];
    if let [(device, _)] = devices {
        // Adapters are asked once: that takes longer than reading a small model.
        return Some(Preference {
            device: device.clone(),
            why: format!("no usable GPU: {}", field.unusable),
        });
    }
    let base = BaseFingerprint::of(model.file()).ok()?;
    let file = file(folder, &base.sha256, what);
    let known = read(&file).unwrap_or_else(|| Speeds { model: base.name, speeds: Vec::new() });
    let (known, found) = among(devices, known, work, &mut |device| {
        measure(&SessionOptions { device: device.clone(), ..options.clone() }).map_err(|e| e.to_string())
    });
    // What cannot be kept is measured again.
    let _ = notes::write(&file, &text(&known));
    let Fastest { index, why } = found?;
    Some(Preference { device: devices[index].0.clone(), why })
}

/// Chooses among devices; what is not known of them is measured first, and known then.
fn among(
    devices: &[(DeviceChoice, DeviceInfo)],
    mut known: Speeds,
    work: &[(Phase, u64)],
    measure: &mut dyn FnMut(&DeviceChoice) -> Result<Rates, String>,
) -> (Speeds, Option<Fastest>) {
    let mut speeds = Vec::new();
    for (choice, info) in devices {
        let same = |speed: &&Speed| speed.device == info.name && speed.driver == info.driver;
        let held = known.speeds.iter().find(same);
        let enough = |speed: &Speed| {
            speed.failure.is_some() || work.iter().all(|(phase, _)| speed.rates.contains_key(phase))
        };
        if let Some(speed) = held.filter(|speed| enough(speed)) {
            speeds.push(speed.clone());
            continue;
        }
        let mut speed = Speed { device: info.name.clone(), driver: info.driver.clone(), ..Speed::default() };
        match measure(choice) {
            Ok(rates) => speed.rates.extend(rates),
            Err(failure) => speed.failure = Some(failure.replace(['\n', '\r', '\t'], " ")),
        }
        // An older driver's goes.
        known.speeds.retain(|other| other.device != info.name);
        known.speeds.push(speed.clone());
        speeds.push(speed);
    }
    (known, fastest(&speeds, work))
}

type Gpus = (Vec<(DeviceChoice, DeviceInfo)>, String);

/// Real GPUs that have not failed, and why the others are not taken.
#[cfg(feature = "gpu")]
fn gpus(options: &SessionOptions) -> Gpus {
    let (mut usable, mut reasons) = (Vec::new(), Vec::new());
    for adapter in crate::exec::gpu::report() {
        let info = adapter.info;
        match options.failed.iter().find(|failed| failed.device == info.name) {
            Some(failed) => reasons.push(format!("{}: it failed: {}", info.name, failed.why)),
            None if adapter.usable => usable.push((DeviceChoice::Named(info.name.clone()), info)),
            None => reasons.push(format!("{}: {}", info.name, info.why)),
        }
    }
    let none = "no adapter was found; is a Vulkan, Metal or DX12 driver installed?".to_owned();
    (usable, if reasons.is_empty() { none } else { reasons.join("; ") })
}

#[cfg(not(feature = "gpu"))]
fn gpus(_: &SessionOptions) -> Gpus {
    (Vec::new(), "this build has no GPU support (cargo feature `gpu`)".into())
}

/// Tokens a second of prompts and of generation.
fn measure(session: &mut Session) -> Result<Rates, SessionError> {
    let go_on = |_: u32| std::ops::ControlFlow::Continue(());
    let vocab = session.model().config().vocab as u32;
    let mut rate = 0.0;
    let mut last = 0.0;
    for (at, count) in PROMPTS.into_iter().enumerate() {
        // The first also pays for what is made when it is first needed.
        let expected = last * count as f64 / PROMPTS[at.saturating_sub(1)] as f64;
        if at > 1 && expected > BUDGET.as_secs_f64() {
            break;
        }
        session.reset();
        let tokens: Vec<u32> =
            (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) % vocab).collect();
        let made = session.generate(&tokens, SamplerParams::greedy(), 1, &mut { go_on })?;
        last = made.first_token.as_secs_f64().max(1e-9);
        rate = count as f64 / last;
    }
    let start = Instant::now();
    session.reset();
    let made = session.generate(&[0], SamplerParams::greedy(), GENERATED, &mut |_| {
        if start.elapsed() < BUDGET { go_on(0) } else { std::ops::ControlFlow::Break(()) }
    })?;
    let seconds = match made.tokens.len() {
        0 | 1 => made.first_token.as_secs_f64(),
        tokens => made.decode.as_secs_f64() / (tokens - 1) as f64,
    };
    Ok(vec![(Phase::Prompt, rate), (Phase::Generation, 1.0 / seconds.max(1e-9))])
}

/// All that is known, for people.
pub fn speeds(folder: &Path) -> Vec<Speeds> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| read(file)).collect()
}

fn file(folder: &Path, model: &str, what: &str) -> PathBuf {
    let key = notes::digest(&[env!("CARGO_PKG_VERSION"), model, what]);
    folder.join(format!("speed-{}.txt", key.get(..16).unwrap_or(&key)))
}

fn read(file: &Path) -> Option<Speeds> {
    let name = file.file_name()?.to_str()?;
    name.starts_with("speed-").then(|| parse(&notes::read(file)?))?
}

/// Fields are separated by tabs: the model, then rates and failures of devices.
fn text(known: &Speeds) -> String {
    let mut text = format!("model\t{}\n", known.model.replace(['\n', '\t'], " "));
    for Speed { device, driver, rates, failure } in &known.speeds {
        for (phase, rate) in rates {
            text += &format!("rate\t{device}\t{driver}\t{}\t{rate}\n", phase.name());
        }
        if let Some(failure) = failure {
            text += &format!("failed\t{device}\t{driver}\t{failure}\n");
        }
    }
    text
}

fn parse(text: &str) -> Option<Speeds> {
    let mut known = Speeds::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["model", model] => known.model = model.to_owned(),
            ["rate", device, driver, phase, rate] => {
                let rate = (Phase::named(phase)?, rate.parse().ok()?);
                known.of(device, driver)?.rates.extend([rate]);
            }
            ["failed", device, driver, failure] => {
                known.of(device, driver)?.failure = Some(failure.to_owned())
            }
            _ => return None,
        }
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::DeviceKind;

    fn device(name: &str, driver: &str) -> (DeviceChoice, DeviceInfo) {
        let (name, driver) = (name.to_owned(), driver.to_owned());
        let info =
            DeviceInfo { name: name.clone(), kind: DeviceKind::Integrated, driver, why: String::new() };
        (DeviceChoice::Named(name), info)
    }

    /// What simulated devices do, and which of them were asked.
    struct Simulated(Vec<(&'static str, Result<[f64; 3], &'static str>)>, Vec<String>);

    impl Simulated {
        fn measure(&mut self, choice: &DeviceChoice) -> Result<Rates, String> {
            let DeviceChoice::Named(name) = choice else { panic!("{choice:?}") };
            self.1.push(name.clone());
            let (_, rates) = self.0.iter().find(|(device, _)| device == name).unwrap();
            rates.map(|rates| Phase::ALL.into_iter().zip(rates).collect()).map_err(str::to_owned)
        }
    }

    /// With a simulated GPU that is slower in generation and training, these go to the CPU, and prompts to the GPU.
    #[test]
    fn a_slower_gpu_is_never_taken_and_nothing_is_measured_twice() {
        let devices = [device("cpu", "4 threads"), device("gpu", "driver 1")];
        let mut simulated =
            Simulated(vec![("cpu", Ok([30.0, 9.0, 12.0])), ("gpu", Ok([90.0, 3.0, 4.0]))], vec![]);
        let mut known = Speeds { model: "a model".into(), speeds: vec![] };
        for (work, wanted) in [
            (vec![(Phase::Prompt, 1)], 1),
            (vec![(Phase::Generation, 1)], 0),
            (vec![(Phase::Training, 1)], 0),
            (SESSION.to_vec(), 0),
        ] {
            let (now, found) = among(&devices, known, &work, &mut |choice| simulated.measure(choice));
            assert_eq!(found.unwrap().index, wanted, "{work:?}");
            known = parse(&text(&now)).unwrap();
            assert_eq!(known, now, "kept as it is");
        }
        assert_eq!(simulated.1, ["cpu", "gpu"], "each once");
        // A new driver may be faster.
        simulated.0[1].1 = Ok([900.0, 90.0, 90.0]);
        let updated = [devices[0].clone(), device("gpu", "driver 2")];
        let (known, found) = among(&updated, known, &SESSION, &mut |choice| simulated.measure(choice));
        assert_eq!((found.unwrap().index, simulated.1.len()), (1, 3));
        assert_eq!(known.speeds.len(), 2, "the old one's is gone");
    }

    #[test]
    fn a_device_that_fails_is_passed_over_and_named() {
        let devices = [device("cpu", ""), device("gpu", "")];
        let mut simulated = Simulated(vec![("cpu", Ok([1.0; 3])), ("gpu", Err("out of\tmemory"))], vec![]);
        let (known, found) =
            among(&devices, Speeds::default(), &SESSION, &mut |choice| simulated.measure(choice));
        let found = found.unwrap();
        assert!(found.index == 0 && found.why.contains("gpu cannot: out of memory"), "{}", found.why);
        assert_eq!(parse(&text(&known)), Some(known));
    }

    #[test]
    fn what_is_no_note_is_not_read() {
        for bad in ["rate\tcpu\t\tprompt\tfast\n", "rate\tcpu\t\tdreams\t1\n", "nothing\n", "rate\tcpu\n"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    /// The CPU measures itself within the time for it.
    #[test]
    fn a_session_is_measured() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/arch/llama-formats.gguf");
        let model = Model::open(file).unwrap();
        let options =
            SessionOptions { device: DeviceChoice::Cpu, ctx: Some(256), ..SessionOptions::default() };
        let mut session = boot_on(Device::open(&options).unwrap(), &model, &options).unwrap();
        let start = Instant::now();
        let rates = measure(&mut session).unwrap();
        assert!(start.elapsed() < 4 * BUDGET);
        assert_eq!(
            rates.iter().map(|(phase, _)| *phase).collect::<Vec<_>>(),
            [Phase::Prompt, Phase::Generation]
        );
        assert!(rates.iter().all(|(_, rate)| *rate > 0.0 && rate.is_finite()), "{rates:?}");
        let folder = tempfile::tempdir().unwrap();
        let auto = SessionOptions { notes: Some(folder.path().to_owned()), ..SessionOptions::default() };
        let alone = Field::of(&auto).unwrap().devices.len() < 2;
        let found = for_session(&model, &auto).unwrap();
        assert!(!alone || found.device == DeviceChoice::Cpu && found.why.contains("no usable GPU: "));
        assert_eq!(speeds(folder.path()).len(), usize::from(!alone), "alone nothing is measured");
        assert_eq!(for_session(&model, &options), None, "a device was asked for");
        assert_eq!(for_session(&model, &SessionOptions::default()), None, "nothing is kept");
    }

    /// The CPU and the software rasterizer, which `auto` does not take by itself: measured once, and kept.
    #[cfg(feature = "gpu")]
    #[test]
    fn both_devices_are_measured_once() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/arch/llama-formats.gguf");
        let (model, folder) = (Model::open(file).unwrap(), tempfile::tempdir().unwrap());
        let notes = Some(folder.path().to_owned());
        let options = SessionOptions { notes, ctx: Some(256), ..SessionOptions::default() };
        let field = Field::with(&options, "");
        let found = session_among(&field, &model, &options).unwrap();
        let known = speeds(folder.path());
        let [Speeds { speeds: measured, .. }] = &known[..] else { panic!("{known:?}") };
        let [cpu, gpu] = &measured[..] else { panic!("{measured:?}") };
        assert!(cpu.failure.is_none() && gpu.failure.is_none(), "{measured:?}");
        let faster = cpu.seconds(&SESSION) <= gpu.seconds(&SESSION);
        assert_eq!(found.device == DeviceChoice::Cpu, faster, "{}", found.why);
        let other = if faster { &gpu.device } else { &cpu.device };
        assert!(found.why.contains(&format!("on {other} ")), "{}", found.why);
        assert_eq!(session_among(&field, &model, &options), Some(found), "the same without measuring");
        assert_eq!(speeds(folder.path()), known);
        // What is known is what decides: a GPU that is twice as fast is taken.
        let mut fast = known[0].clone();
        fast.speeds[1].rates = cpu.rates.iter().map(|(phase, rate)| (*phase, rate * 2.0)).collect();
        let base = BaseFingerprint::of(model.file()).unwrap();
        notes::write(&super::file(folder.path(), &base.sha256, "session"), &text(&fast)).unwrap();
        let found = session_among(&field, &model, &options).unwrap();
        assert!(found.device != DeviceChoice::Cpu && found.why.contains(&cpu.device), "{}", found.why);
    }
}
