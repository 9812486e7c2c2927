//! An allocator that counts. A test binary declares it as its `#[global_allocator]`.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes this thread has in use.
    pub static NOW: Cell<usize> = const { Cell::new(0) };
    /// The most there ever were since it was set.
    pub static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts, per thread, the bytes in use and the most there ever were.
pub struct Counting;

fn taken(bytes: usize) {
    let now = NOW.get().wrapping_add(bytes);
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

fn given_back(bytes: usize) {
    // What another thread allocated may be freed here.
    NOW.set(NOW.get().saturating_sub(bytes));
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counters are plain thread-local
// cells without destructors, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        given_back(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new exist side by side while the bytes move.
        taken(size);
        given_back(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}
