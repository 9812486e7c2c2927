//! Five thousand damaged containers: the reader must not panic, hang, or take more memory than four times the
//! container. Its own test binary, because it counts what the allocator gives out.
#![allow(clippy::unwrap_used, clippy::expect_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use emberlm::io::sections::SectionData;
use emberlm::io::{Faulty, MemStream, Sections, SectionsError};

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts, per thread, the bytes in use and the most there ever were.
struct Counting;

fn taken(bytes: usize) {
    NOW.set(NOW.get().wrapping_add(bytes));
    PEAK.set(PEAK.get().max(NOW.get()));
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counters are plain thread-local
// cells without destructors, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // What another thread allocated may be freed here.
        NOW.set(NOW.get().saturating_sub(layout.size()));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new exist side by side while the bytes move.
        taken(size);
        NOW.set(NOW.get().saturating_sub(layout.size()));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Above four times the container: the error's message and rounding.
const SLACK: usize = 4096;
const MUTATIONS: u64 = 5_000;
const ONE_READ: Duration = Duration::from_secs(2);

struct Random(u64);

impl Random {
    /// SplitMix64, below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

fn written(sections: &Sections<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    sections.write(&mut file).unwrap();
    file
}

fn sound_files() -> Vec<Vec<u8>> {
    let mut mixed = Sections::new();
    mixed
        .text("settings", r#"{"rank":8,"name":"é"}"#)
        .f32s("adapter", vec![0.25; 500])
        .u32s("tokens", vec![7; 31])
        .u64s("random", vec![u64::MAX, 0, 7])
        .bytes("opaque", vec![1; 100])
        .push("later", SectionData::Unknown { kind: 77, bytes: vec![3; 70].into() });
    let mut many = Sections::new();
    for i in 0..40 {
        many.u32s(format!("n{i}"), vec![i]);
    }
    let mut one = Sections::new();
    one.f32s("w", vec![1.0]);
    [mixed, many, one].iter().map(written).collect()
}

/// What `read` gives, after checking the time and the memory it took.
fn within_bounds<T>(
    bytes: usize,
    name: &str,
    read: impl FnOnce() -> Result<T, SectionsError>,
) -> Result<T, SectionsError> {
    let start = Instant::now();
    let before = NOW.get();
    PEAK.set(before);
    let outcome = read().inspect_err(|error| assert!(!error.to_string().is_empty()));
    let peak = PEAK.get() - before;
    assert!(peak <= 4 * bytes + SLACK, "{name}: {peak} bytes of memory for a container of {bytes}");
    assert!(start.elapsed() < ONE_READ, "{name}: took {:?}", start.elapsed());
    outcome
}

/// Reads in each way; the ways must agree. Gives whether the container was accepted.
fn read_all_ways(bytes: &[u8], name: &str) -> bool {
    let len = bytes.len() as u64;
    let stream = within_bounds(bytes.len(), name, || Sections::read(&mut MemStream::new(bytes), len));
    let place = within_bounds(bytes.len(), name, || Sections::from_bytes(bytes));
    let slow = within_bounds(bytes.len(), name, || {
        Sections::read(&mut Faulty::new(MemStream::new(bytes)).at_most(13), len)
    });
    // Compared as bytes, because damage makes numbers that do not equal themselves.
    let (stream, slow) = (stream.map(|sections| written(&sections)), slow.map(|sections| written(&sections)));
    assert_eq!(stream, slow, "{name}");
    match place.map(|sections| written(&sections)) {
        Err(SectionsError::Trailing { .. }) => {}
        // Written again, an accepted container is the same to the byte.
        Ok(again) => {
            assert_eq!(again, bytes, "{name}");
            assert_eq!(Ok(again), stream, "{name}");
        }
        Err(error) => assert_eq!(Err(error), stream, "{name}"),
    }
    stream.is_ok()
}

/// A damaged copy; much of the damage falls on the numbers in headers.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(out.len());
        match random.below(7) {
            0 | 1 => {
                if let Some(byte) = out.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => out.truncate(at),
            3 | 4 => {
                // A field of the header or of a section, all of which lie in the first 24 bytes of 64.
                let (at, len) = (at / 64 * 64 + 4 * random.below(6), out.len() as u64);
                let numbers = [
                    0,
                    1,
                    3,
                    64,
                    255,
                    256,
                    len,
                    len.wrapping_sub(64),
                    len + 64,
                    1 << 31,
                    1 << 40,
                    u64::MAX - 63,
                    u64::MAX,
                ];
                let number = numbers[random.below(numbers.len())].to_le_bytes();
                let width = if random.below(2) == 0 { 4 } else { 8 };
                let end = (at + width).min(out.len());
                if let Some(field) = out.get_mut(at..end) {
                    field.copy_from_slice(&number[..field.len()]);
                }
            }
            5 => {
                let from = random.below(out.len()) / 64 * 64;
                let piece = out[from..(from + 128).min(out.len())].to_vec();
                let at = at / 64 * 64;
                let end = (at + 64 * random.below(3)).min(out.len());
                out.splice(at..end, piece);
            }
            _ => {
                let end = (at + random.below(80)).min(out.len());
                out.drain(at..end);
            }
        }
        if out.is_empty() {
            break;
        }
    }
    out
}

#[test]
fn damaged_containers_cause_no_panic_no_hang_and_no_waste() {
    let files = sound_files();
    for (i, file) in files.iter().enumerate() {
        assert!(read_all_ways(file, &format!("sound container {i}")));
    }
    let mut accepted = 0;
    for seed in 0..MUTATIONS {
        let mut random = Random(seed.wrapping_mul(0x5851_F42D_4C95_7F2D));
        let damaged = mutate(&files[random.below(files.len())], &mut random);
        accepted += u64::from(read_all_ways(&damaged, &format!("mutation {seed}")));
    }
    println!("{accepted} of {MUTATIONS} accepted");
    // The damage must be neither always fatal nor mostly without effect, or this test would show nothing.
    assert!(accepted > MUTATIONS / 50 && accepted < MUTATIONS / 2, "{accepted} of {MUTATIONS} were accepted");
}

/// What takes the most memory per byte of container: as many sections as there may be, all empty.
#[test]
fn the_dearest_sound_container_stays_within_the_bound() {
    let mut sections = Sections::new();
    for i in 0..emberlm::io::sections::MAX_SECTIONS {
        sections.text(format!("{i:048}"), "");
    }
    assert!(read_all_ways(&written(&sections), "empty sections"));
}

/// A large array goes to the stream from where it lies.
#[test]
fn writing_borrows() {
    let values = vec![0.5f32; 1 << 20];
    let mut sections = Sections::new();
    sections.f32s("adapter", &values);
    let mut file = Vec::with_capacity(sections.len_bytes() as usize);
    let before = NOW.get();
    PEAK.set(before);
    sections.write(&mut file).unwrap();
    assert!(PEAK.get() - before < 4096, "{} bytes of memory to write", PEAK.get() - before);
    // And it is used where it was mapped; a vector of this size is aligned.
    let read = within_bounds(0, "borrowed", || Sections::from_bytes(&file)).unwrap();
    assert_eq!(read.get_f32s("adapter").unwrap(), &values[..]);
}
