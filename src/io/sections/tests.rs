//! Round trips, borrowing, and every kind of damage.

use embedded_io::ErrorKind;

use super::*;
use crate::io::{Faulty, MemStream};

fn sample() -> Sections<'static> {
    let mut sections = Sections::new();
    sections
        .text("settings", r#"{"rank":8,"name":"é"}"#)
        .f32s("adapter", vec![1.5, -0.0, f32::INFINITY, 1e-40])
        .u32s("tokens", vec![1, u32::MAX])
        .u64s("random", vec![u64::MAX, 0, 7])
        .bytes("opaque", vec![1, 2, 3])
        .f32s("none", vec![])
        .push("later", SectionData::Unknown { kind: 99, bytes: vec![9; 70].into() });
    sections
}

fn written(sections: &Sections<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    sections.write(&mut file).unwrap();
    assert_eq!(file.len() as u64, sections.len_bytes());
    file
}

fn read(bytes: &[u8]) -> Result<Sections<'static>, SectionsError> {
    Sections::read(&mut MemStream::new(bytes), bytes.len() as u64)
}

#[test]
fn what_is_written_is_read() {
    let file = written(&sample());
    for chunk in [1, 7, usize::MAX] {
        let mut stream = Faulty::new(MemStream::new(&file)).at_most(chunk);
        let sections = Sections::read(&mut stream, file.len() as u64).unwrap();
        assert_eq!(sections, sample());
        assert_eq!(written(&sections), file);
        assert_eq!(sections.get_u32s("tokens").unwrap(), [1, u32::MAX]);
        assert_eq!(sections.get_u64s("random").unwrap(), [u64::MAX, 0, 7]);
        assert_eq!(sections.get_bytes("opaque").unwrap(), [1, 2, 3]);
        assert_eq!(sections.get_text("settings").unwrap(), r#"{"rank":8,"name":"é"}"#);
        assert_eq!(sections.get_f32s("none").unwrap(), [0f32; 0]);
        assert!(sections.get_f32s("adapter").unwrap()[1].is_sign_negative());
        assert!(sections.contains("adapter") && !sections.contains("adapters"));
        let error = sections.get_f32s("tokens").unwrap_err();
        assert!(error.to_string().contains("\"tokens\" holds u32, not f32"), "{error}");
    }
    assert_eq!(read(&written(&Sections::new())).unwrap(), Sections::new());
}

#[test]
fn arrays_are_used_where_they_lie() {
    let file = written(&sample());
    // 64 bytes more than the container, to place it at an address that is and one that is not aligned.
    let mut memory = vec![0u64; file.len() / 8 + 8];
    for shift in [0, 1] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
        bytes[shift..shift + file.len()].copy_from_slice(&file);
        let sections = Sections::from_bytes(&bytes[shift..shift + file.len()]).unwrap();
        assert_eq!(sections, sample());
        let SectionData::F32(values) = sections.get("adapter").unwrap() else { panic!() };
        assert_eq!(matches!(values, Cow::Borrowed(_)), shift == 0);
    }
    let mut longer = file.clone();
    longer.push(0);
    let extra = SectionsError::Trailing { offset: file.len() as u64, extra: 1 };
    assert_eq!(Sections::from_bytes(&longer), Err(extra));
    // From a stream the container ends where it says.
    assert_eq!(read(&longer).unwrap(), sample());
}

#[test]
fn every_cut_is_noticed() {
    let file = written(&sample());
    for len in 0..file.len() {
        let cut = &file[..len];
        assert!(matches!(read(cut), Err(SectionsError::Truncated { .. })), "{len}");
        assert!(matches!(Sections::from_bytes(cut), Err(SectionsError::Truncated { .. })), "{len}");
        // The stream breaks its promise, by ending or by failing.
        let mut ends = Faulty::new(MemStream::new(&file)).end_after(len as u64);
        let error = Sections::read(&mut ends, file.len() as u64).unwrap_err();
        assert!(matches!(error, SectionsError::Truncated { left: 0, .. }), "{len}: {error}");
        let mut fails = Faulty::new(MemStream::new(&file)).fail_after(len as u64);
        let error = Sections::read(&mut fails, file.len() as u64).unwrap_err();
        let read_at = |offset| offset == len as u64;
        assert!(matches!(error, SectionsError::Read { offset, .. } if read_at(offset)), "{len}: {error}");
        let mut full = Faulty::new(Vec::new()).fail_after(len as u64);
        let error = sample().write(&mut full).unwrap_err();
        assert!(matches!(error, SectionsError::Write { kind: ErrorKind::Other, .. }), "{len}: {error}");
    }
}

/// A container of one section "a" of 8 bytes at 128, of the given kind, with bytes changed.
fn damaged(kind: u32, change: impl FnOnce(&mut Vec<u8>)) -> SectionsError {
    let mut sections = Sections::new();
    sections.push("a", SectionData::Unknown { kind, bytes: vec![0xff; 8].into() });
    let mut file = written(&sections);
    change(&mut file);
    let error = read(&file).unwrap_err();
    assert_eq!(Sections::from_bytes(&file), Err(error.clone()));
    error
}

#[test]
fn damage_is_named_with_section_and_offset() {
    let section = || "section \"a\"".to_owned();
    let nameless = || "section number 0".to_owned();
    let header = || "container header".to_owned();
    let cases = [
        (damaged(1, |f| f[0] = b'e'), SectionsError::Magic { found: *b"eMBRSECT" }),
        (damaged(1, |f| f[8] = 2), SectionsError::Version { version: 2 }),
        (damaged(1, |f| f[14] = 1), SectionsError::TooMany { count: 65_537 }),
        (damaged(1, |f| f[12] = 3), SectionsError::truncated(&header(), 12, 256, 192)),
        (damaged(1, |f| f[12] = 2), SectionsError::truncated("section number 1", 192, 16, 0)),
        (damaged(1, |f| f[12] = 0), SectionsError::Trailing { offset: 64, extra: 128 }),
        (damaged(1, |f| f[23] = 1), SectionsError::truncated(&header(), 16, (1 << 56) + 192, 192)),
        (damaged(1, |f| f[40] = 1), SectionsError::Padding { section: header(), offset: 24 }),
        (
            damaged(1, |f| f[68] = 0),
            SectionsError::Name { section: nameless(), offset: 64, reason: "is empty" },
        ),
        (
            damaged(1, |f| f[69] = 1),
            SectionsError::Name { section: nameless(), offset: 64, reason: "is too long" },
        ),
        (
            damaged(1, |f| f[80] = 0xff),
            SectionsError::Name { section: nameless(), offset: 64, reason: "is not UTF-8" },
        ),
        (damaged(1, |f| f[90] = 1), SectionsError::Padding { section: section(), offset: 81 }),
        (damaged(1, |f| f[150] = 1), SectionsError::Padding { section: section(), offset: 136 }),
        (damaged(1, |f| f[72] = 65), SectionsError::truncated(&section(), 128, 65, 64)),
        (damaged(1, |f| f[79] = 0xff), SectionsError::truncated(&section(), 128, (0xff << 56) + 8, 64)),
        (
            damaged(3, |f| f[72] = 7),
            SectionsError::Ragged { section: section(), offset: 128, bytes: 7, kind: "u64" },
        ),
        (damaged(5, |f| f[128] = b'x'), SectionsError::NotText { section: section(), offset: 129 }),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn names_are_checked_on_both_ways() {
    let mut twice = Sections::new();
    twice.u32s("a", vec![1]).u32s("b", vec![2]).u32s("a", vec![3]);
    let mut out = Vec::new();
    let duplicate = SectionsError::Duplicate { name: "a".into(), offset: 64 + 2 * 128 };
    assert_eq!(twice.write(&mut out), Err(duplicate.clone()));
    assert_eq!(out, [0u8; 0]);
    twice.sections[2].name = "c".into();
    let mut file = written(&twice);
    file[64 + 2 * 128 + 16] = b'a';
    assert_eq!(read(&file), Err(duplicate));

    for (name, ok) in [("", false), (&"n".repeat(256), false), (&"n".repeat(255), true)] {
        let mut sections = Sections::new();
        sections.text(name, "");
        assert_eq!(sections.write(&mut Vec::new()).is_ok(), ok, "{} bytes", name.len());
        if ok {
            assert_eq!(read(&written(&sections)).unwrap(), sections);
        }
    }
    let mut many = Sections::new();
    for i in 0..MAX_SECTIONS {
        many.text(i.to_string(), "");
    }
    assert_eq!(read(&written(&many)).unwrap(), many);
    many.text("one more", "");
    assert_eq!(many.write(&mut Vec::new()), Err(SectionsError::TooMany { count: 4097 }));
}
