//! Every op's kernels against the op's CPU twin: every format, cache type and variant, under every device profile.
//! Fails where there is no adapter at all: install Mesa's software renderer (scripts/setup).
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Mutex;

use emberlm::exec::gpu::{AdapterChoice, Gpu, GpuOptions, KERNELS, Kernel, Tuning, selftest};

/// The kernels that have run, and how many of the tests have told theirs.
static RAN: Mutex<(BTreeSet<String>, usize)> = Mutex::new((BTreeSet::new(), 0));
/// Tests that tell.
const TELL: usize = 4;

/// Notes what ran in one of the tests; the last to do so finds every kernel of the table among them.
fn every_kernel_has_run(ran: BTreeSet<String>) {
    let mut all = RAN.lock().unwrap();
    all.0.extend(ran);
    all.1 += 1;
    if all.1 == TELL {
        let missed: Vec<String> = KERNELS.iter().map(Kernel::name).filter(|k| !all.0.contains(k)).collect();
        assert!(missed.is_empty(), "never run against their twins: {}", missed.join(", "));
    }
}

/// Runs all cases: the kernels that they ran on.
fn check(profile: &str, tuning: Tuning, checked: bool) -> BTreeSet<String> {
    let options = GpuOptions {
        choice: AdapterChoice::Any,
        profile: profile.into(),
        tuning: Some(tuning),
        checked,
        ..GpuOptions::default()
    };
    let gpu = Gpu::open(&options).unwrap();
    let reports = selftest(&gpu, true).unwrap();
    assert!(reports.len() > 80);
    let failed: Vec<String> =
        reports.iter().filter_map(|r| Some(format!("{}: {}", r.name, r.failure.as_ref()?))).collect();
    let worst = reports.iter().max_by(|a, b| a.error.total_cmp(&b.error)).unwrap();
    println!(
        "{profile}, {tuning:?}: {} cases, worst {:.2} of its tolerance: {}",
        reports.len(),
        worst.error,
        worst.name
    );
    assert!(
        failed.is_empty(),
        "{profile}, {tuning:?}: {} of {} failed\n{}",
        failed.len(),
        reports.len(),
        failed.join("\n")
    );
    reports.into_iter().map(|r| r.kernel).collect()
}

#[test]
fn full_profile_with_the_kernels_of_gpus() {
    every_kernel_has_run(check("full", Tuning::Hardware, false));
}

#[test]
fn full_profile_with_the_kernels_of_software_devices() {
    every_kernel_has_run(check("full", Tuning::Software, false));
}

#[test]
fn webgpu_defaults_with_runtime_checks() {
    let mut ran = check("webgpu-default", Tuning::Hardware, true);
    ran.extend(check("webgpu-default", Tuning::Software, true));
    every_kernel_has_run(ran);
}

#[test]
fn v3d_limits() {
    every_kernel_has_run(check("v3d", Tuning::Hardware, false));
}

#[test]
fn an_unknown_profile_and_an_unknown_adapter_are_refused() {
    let open = |choice, profile: &str| {
        Gpu::open(&GpuOptions { choice, profile: profile.into(), ..GpuOptions::default() })
            .err()
            .unwrap()
            .to_string()
    };
    assert!(open(AdapterChoice::Any, "huge").contains("webgpu-default"));
    let refused = open(AdapterChoice::Named("no such adapter".into()), "full");
    assert!(refused.contains("does not contain `no such adapter`"), "{refused}");
}
