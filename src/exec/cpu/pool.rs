//! Threads that run one job together, again and again, without allocating.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Spins before a waiting thread gives its core away.
const SPINS: u32 = 4000;

struct State {
    generation: u64,
    running: usize,
    stop: bool,
}

struct Gate {
    state: Mutex<State>,
    start: Condvar,
    done: Condvar,
    /// Mirrors `State::generation`, so that a thread can spin for the next job before it sleeps.
    generation: AtomicUsize,
    failed: AtomicBool,
}

type Work = dyn Fn(usize, usize) + Send + Sync;

/// `threads - 1` workers and the caller.
pub struct Pool {
    gate: Arc<Gate>,
    work: Arc<Work>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the workers; `work(part, parts)` is run by all of them and the caller at each [`Pool::run`].
    pub fn start(
        threads: usize,
        work: impl Fn(usize, usize) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let gate = Arc::new(Gate {
            state: Mutex::new(State { generation: 0, running: 0, stop: false }),
            start: Condvar::new(),
            done: Condvar::new(),
            generation: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        });
        let mut pool = Self { gate, work: Arc::new(work), workers: Vec::new() };
        for part in 1..threads {
            let (gate, work) = (Arc::clone(&pool.gate), Arc::clone(&pool.work));
            let run = move || worker(&gate, &*work, part, threads);
            pool.workers.push(std::thread::Builder::new().name(format!("ember-{part}")).spawn(run)?);
        }
        Ok(pool)
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs the job on all threads; false if one of them panicked.
    pub fn run(&self) -> bool {
        let parts = self.threads();
        {
            let mut state = self.gate.lock();
            state.generation += 1;
            state.running = self.workers.len();
            self.gate.generation.store(state.generation as usize, Ordering::Release);
        }
        self.gate.start.notify_all();
        let fine = catch_unwind(AssertUnwindSafe(|| (self.work)(0, parts))).is_ok();
        let mut state = self.gate.lock();
        while state.running > 0 {
            state = self.gate.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        fine && !self.gate.failed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.stop = true;
        state.generation += 1;
        self.gate.generation.store(state.generation as usize, Ordering::Release);
        drop(state);
        self.gate.start.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has been reported by `run`.
            let _ = worker.join();
        }
    }
}

impl Gate {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a generation after `seen`; `None` when the pool stops.
    fn next(&self, seen: u64) -> Option<u64> {
        for _ in 0..SPINS {
            if self.generation.load(Ordering::Acquire) as u64 != seen {
                break;
            }
            std::hint::spin_loop();
        }
        let mut state = self.lock();
        while state.generation == seen {
            state = self.start.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.stop).then_some(state.generation)
    }
}

fn worker(gate: &Gate, work: &Work, part: usize, parts: usize) {
    let mut seen = 0;
    while let Some(generation) = gate.next(seen) {
        seen = generation;
        if catch_unwind(AssertUnwindSafe(|| work(part, parts))).is_err() {
            gate.failed.store(true, Ordering::Release);
        }
        let mut state = gate.lock();
        state.running -= 1;
        if state.running == 0 {
            gate.done.notify_one();
        }
    }
}

/// Where all threads meet between two op calls.
pub struct Barrier {
    parties: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    /// A barrier of `parties` threads.
    pub fn new(parties: usize) -> Self {
        Self {
            parties,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Makes a broken barrier whole again; no thread may be waiting.
    pub fn reset(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.broken.store(false, Ordering::Release);
    }

    /// Whether a thread left without arriving.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Breaks the barrier if it is dropped before [`Guard::done`], that is when its thread panics.
    pub fn guard(&self) -> Guard<'_> {
        Guard { barrier: self, done: false }
    }

    /// Waits for all; false if the barrier is broken.
    pub fn wait(&self) -> bool {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.parties {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            return !self.is_broken();
        }
        let mut spins = 0;
        while self.round.load(Ordering::Acquire) == round {
            if self.is_broken() {
                return false;
            }
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        !self.is_broken()
    }
}

/// See [`Barrier::guard`].
pub struct Guard<'a> {
    barrier: &'a Barrier,
    done: bool,
}

impl Guard<'_> {
    /// The thread's walk ended as it should.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.barrier.broken.store(true, Ordering::Release);
        }
    }
}
