//! Which instructions the CPU's loops use: all that it has, or fewer by `EMBER_SIMD`.

use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

/// Instructions of the CPU's loops, each level with those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// What every CPU of this architecture has.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, VL, BW and DQ: what every CPU with AVX-512 has but the Xeon Phi.
    Avx512,
    /// And VNNI: sums of products of integers in one instruction.
    Vnni,
    /// NEON: what every 64-bit ARM has.
    Neon,
    /// And dotprod: sums of four products of bytes in one instruction.
    Dotprod,
}

/// What was found at the first question.
struct Found {
    level: Level,
    unknown: Option<OsString>,
    lacking: Option<Level>,
}

static FOUND: OnceLock<Found> = OnceLock::new();

impl Level {
    /// All levels of this architecture, the simplest first.
    pub const ALL: &'static [Level] = if cfg!(target_arch = "x86_64") {
        &[Level::Portable, Level::Avx2, Level::Avx512, Level::Vnni]
    } else if cfg!(target_arch = "aarch64") {
        &[Level::Portable, Level::Neon, Level::Dotprod]
    } else {
        &[Level::Portable]
    };

    /// As `EMBER_SIMD` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Vnni => "vnni",
            Level::Neon => "neon",
            Level::Dotprod => "dotprod",
        }
    }

    /// The level in use: the CPU's highest, or that of `EMBER_SIMD` where it is lower. Asked once a process.
    #[inline]
    pub fn in_use() -> Level {
        FOUND.get_or_init(find).level
    }

    /// What `EMBER_SIMD` holds, if that is no level: it has no effect then.
    pub fn unknown() -> Option<&'static OsStr> {
        FOUND.get_or_init(find).unknown.as_deref()
    }

    /// The level that `EMBER_SIMD` asks for, if the CPU lacks it: the CPU's highest is used then.
    pub fn lacking() -> Option<Level> {
        FOUND.get_or_init(find).lacking
    }

    fn of_cpu() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::is_x86_feature_detected!("avx2")
                && std::is_x86_feature_detected!("fma")
                && std::is_x86_feature_detected!("f16c");
            let avx512 = std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512vl")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512dq");
            if avx2 && avx512 && std::is_x86_feature_detected!("avx512vnni") {
                return Level::Vnni;
            }
            if avx2 && avx512 {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                return Level::Dotprod;
            }
            if std::arch::is_aarch64_feature_detected!("neon") {
                return Level::Neon;
            }
        }
        Level::Portable
    }
}

#[cold]
fn find() -> Found {
    let asked = std::env::var_os("EMBER_SIMD").filter(|value| !value.is_empty());
    limit(Level::of_cpu(), asked)
}

/// The level of the CPU, at most what was asked for.
fn limit(cpu: Level, asked: Option<OsString>) -> Found {
    let Some(asked) = asked else { return Found { level: cpu, unknown: None, lacking: None } };
    match Level::ALL.iter().copied().find(|level| asked == level.name()) {
        Some(most) => Found { level: cpu.min(most), unknown: None, lacking: (most > cpu).then_some(most) },
        None => Found { level: cpu, unknown: Some(asked), lacking: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_cpu_has() {
        for &cpu in Level::ALL {
            for &asked in Level::ALL {
                let found = limit(cpu, Some(asked.name().into()));
                assert_eq!((found.level, found.unknown), (cpu.min(asked), None));
                assert_eq!(found.lacking, (asked > cpu).then_some(asked));
            }
            assert_eq!(limit(cpu, None).level, cpu);
            let found = limit(cpu, Some("sse9".into()));
            assert_eq!((found.level, found.unknown), (cpu, Some("sse9".into())));
        }
    }
}
