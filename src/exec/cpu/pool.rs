//! Threads that work through lists of calls together, again and again, without allocating.
//!
//! A call is cut into as many parts as there are threads. Parts are taken as threads come free, and a call begins when all
//! parts of the one before it are done: a thread that the system has put aside holds up what it has taken and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Spins before a waiting thread gives its core away.
const SPINS: u32 = 4000;

/// What the threads do.
pub trait Work: Send + Sync + 'static {
    /// A part of a call.
    fn part(&self, call: usize, part: usize, parts: usize);
    /// All parts of a call are done, and the next has not begun.
    fn done(&self, call: usize);
}

/// Where the threads are: a list's number, a call's in it and the next part of that, in one word, so that they are seen
/// and taken as one.
#[derive(Clone, Copy)]
struct Place(u64);

const PART_BITS: u32 = 20;
const CALL_BITS: u32 = 20;
/// The part of a list that is through.
const NONE: usize = (1 << PART_BITS) - 1;

impl Place {
    fn new(list: u64, call: usize, part: usize) -> Self {
        Self(list << (PART_BITS + CALL_BITS) | (call as u64) << PART_BITS | part as u64)
    }

    fn list(self) -> u64 {
        self.0 >> (PART_BITS + CALL_BITS)
    }

    fn call(self) -> usize {
        (self.0 >> PART_BITS) as usize & ((1 << CALL_BITS) - 1)
    }

    fn part(self) -> usize {
        self.0 as usize & NONE
    }
}

struct Shared<W> {
    threads: usize,
    place: AtomicU64,
    /// Calls of the list.
    calls: AtomicUsize,
    /// Parts of the call that are done.
    done: AtomicUsize,
    /// A part of the list panicked: the others are skipped.
    broken: AtomicBool,
    /// Lists begun, or one more when the pool stops.
    begun: Mutex<u64>,
    begin: Condvar,
    stop: AtomicBool,
    work: W,
}

/// `threads - 1` workers and the caller.
pub struct Pool<W: Work> {
    shared: Arc<Shared<W>>,
    workers: Vec<JoinHandle<()>>,
}

impl<W: Work> Pool<W> {
    /// Starts the workers.
    pub fn start(threads: usize, work: W) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            threads,
            place: AtomicU64::new(Place::new(0, 0, NONE).0),
            calls: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            begun: Mutex::new(0),
            begin: Condvar::new(),
            stop: AtomicBool::new(false),
            work,
        });
        let mut pool = Self { shared, workers: Vec::new() };
        for number in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let named = std::thread::Builder::new().name(format!("ember-{number}"));
            pool.workers.push(named.spawn(move || shared.serve())?);
        }
        Ok(pool)
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// What they do.
    pub fn work(&self) -> &W {
        &self.shared.work
    }

    /// Works through so many calls; false if a part panicked, or there are more than a list can have. No thread is in a part when
    /// it returns.
    pub fn run(&mut self, calls: usize) -> bool {
        let shared = &self.shared;
        if calls == 0 {
            return true;
        }
        if calls >= 1 << CALL_BITS || shared.threads >= NONE {
            return false;
        }
        shared.broken.store(false, Ordering::Relaxed);
        shared.calls.store(calls, Ordering::Relaxed);
        let list = shared.place().list().wrapping_add(1);
        {
            let mut begun = shared.begun.lock().unwrap_or_else(PoisonError::into_inner);
            *begun += 1;
            shared.place.store(Place::new(list, 0, 0).0, Ordering::Release);
        }
        shared.begin.notify_all();
        shared.help();
        !shared.broken.load(Ordering::Acquire)
    }
}

impl<W: Work> Drop for Pool<W> {
    fn drop(&mut self) {
        {
            let mut begun = self.shared.begun.lock().unwrap_or_else(PoisonError::into_inner);
            *begun += 1;
            self.shared.stop.store(true, Ordering::Release);
        }
        self.shared.begin.notify_all();
        for worker in self.workers.drain(..) {
            // Panics of parts were caught and reported by `run`.
            let _ = worker.join();
        }
    }
}

impl<W: Work> Shared<W> {
    fn place(&self) -> Place {
        Place(self.place.load(Ordering::Acquire))
    }

    /// A worker's life.
    fn serve(&self) {
        let mut seen = 0;
        while !self.stop.load(Ordering::Acquire) {
            self.help();
            for _ in 0..SPINS {
                if self.place().part() != NONE || self.stop.load(Ordering::Relaxed) {
                    break;
                }
                std::hint::spin_loop();
            }
            let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            while *begun == seen {
                begun = self.begin.wait(begun).unwrap_or_else(PoisonError::into_inner);
            }
            seen = *begun;
        }
    }

    /// Takes parts until the list is through.
    fn help(&self) {
        let mut spins = 0;
        loop {
            let place = self.place();
            if place.part() == NONE {
                return;
            }
            if place.part() >= self.threads {
                // The last parts of the call are with others.
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop()
                } else {
                    std::thread::yield_now()
                }
                continue;
            }
            let taken = Place(place.0 + 1);
            if self.place.compare_exchange(place.0, taken.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.take(place);
                spins = 0;
            }
        }
    }

    /// A part; whoever does the last one of a call begins the next.
    fn take(&self, place: Place) {
        let call = place.call();
        if !self.broken.load(Ordering::Relaxed) {
            let part = AssertUnwindSafe(|| self.work.part(call, place.part(), self.threads));
            if catch_unwind(part).is_err() {
                self.broken.store(true, Ordering::Release);
            }
        }
        if self.done.fetch_add(1, Ordering::AcqRel) + 1 < self.threads {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| self.work.done(call))).is_err() {
            self.broken.store(true, Ordering::Release);
        }
        self.done.store(0, Ordering::Relaxed);
        let through = call + 1 == self.calls.load(Ordering::Relaxed);
        let next = Place::new(place.list(), call + 1, if through { NONE } else { 0 });
        self.place.store(next.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const CALLS: usize = 40;

    /// Counts, and wants each call to find the one before it done.
    struct Counting {
        parts: Vec<AtomicUsize>,
        wrong: AtomicUsize,
        slow: bool,
    }

    impl Counting {
        fn new(slow: bool) -> Self {
            Self {
                parts: (0..CALLS).map(|_| AtomicUsize::new(0)).collect(),
                wrong: AtomicUsize::new(0),
                slow,
            }
        }
    }

    impl Work for Counting {
        fn part(&self, call: usize, part: usize, parts: usize) {
            let before = call.checked_sub(1).map(|before| self.parts[before].load(Ordering::Relaxed));
            let mine = self.parts[call].load(Ordering::Relaxed);
            if before.is_some_and(|before| before < mine + parts - mine % parts) || part >= parts {
                self.wrong.fetch_add(1, Ordering::Relaxed);
            }
            if self.slow && (call + part).is_multiple_of(7) {
                std::thread::sleep(Duration::from_micros(300));
            }
            self.parts[call].fetch_add(1, Ordering::Relaxed);
        }

        fn done(&self, call: usize) {
            if !self.parts[call].load(Ordering::Relaxed).is_multiple_of(3) {
                self.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn every_part_once_and_calls_in_order() {
        for slow in [false, true] {
            let mut pool = Pool::start(3, Counting::new(slow)).unwrap();
            let rounds = if slow { 5 } else { 300 };
            for round in 1..=rounds {
                assert!(pool.run(CALLS));
                let all = pool.work().parts.iter().all(|n| n.load(Ordering::Relaxed) == 3 * round);
                assert!(all && pool.work().wrong.load(Ordering::Relaxed) == 0, "round {round}");
            }
            assert!(pool.run(0));
            assert!(!pool.run(1 << CALL_BITS), "more than a list can have");
        }
    }

    /// A part that fails, and then none.
    struct Failing(AtomicBool);

    impl Work for Failing {
        fn part(&self, call: usize, part: usize, _: usize) {
            if call == 3 && part == 1 && self.0.load(Ordering::Relaxed) {
                std::panic::resume_unwind(Box::new("a part fails"));
            }
        }

        fn done(&self, _: usize) {}
    }

    #[test]
    fn a_panic_is_told_and_the_next_list_is_whole() {
        let mut pool = Pool::start(2, Failing(AtomicBool::new(true))).unwrap();
        assert!(!pool.run(9));
        pool.work().0.store(false, Ordering::Relaxed);
        assert!(pool.run(9));
    }

    /// The first part of all keeps whoever has it.
    struct Kept(AtomicUsize);

    impl Work for Kept {
        fn part(&self, call: usize, part: usize, _: usize) {
            if part > 0 {
                self.0.fetch_add(1, Ordering::Relaxed);
            } else if call == 0 {
                // Until the others have done all that is left of the call.
                let start = Instant::now();
                while self.0.load(Ordering::Relaxed) < 3 && start.elapsed() < Duration::from_secs(20) {
                    std::thread::yield_now();
                }
            }
        }

        fn done(&self, _: usize) {}
    }

    #[test]
    fn others_take_what_a_busy_thread_does_not() {
        let mut pool = Pool::start(4, Kept(AtomicUsize::new(0))).unwrap();
        let start = Instant::now();
        assert!(pool.run(2));
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(pool.work().0.load(Ordering::Relaxed), 6);
    }
}
