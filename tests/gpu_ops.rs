//! Every op's kernels against the op's CPU twin: every format, cache type and variant, under every device profile.
//! Fails where there is no adapter at all: install Mesa's software renderer (scripts/setup).
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use emberlm::exec::gpu::{AdapterChoice, Gpu, GpuOptions, Tuning, selftest};

fn check(profile: &str, tuning: Tuning, checked: bool) {
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
}

#[test]
fn full_profile_with_the_kernels_of_gpus() {
    check("full", Tuning::Hardware, false);
}

#[test]
fn full_profile_with_the_kernels_of_software_devices() {
    check("full", Tuning::Software, false);
}

#[test]
fn webgpu_defaults_with_runtime_checks() {
    check("webgpu-default", Tuning::Hardware, true);
    check("webgpu-default", Tuning::Software, true);
}

#[test]
fn v3d_limits() {
    check("v3d", Tuning::Hardware, false);
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
