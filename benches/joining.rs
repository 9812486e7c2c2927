//! How long a request with a short prompt waits that joins while one with a long prompt is being computed:
//! `cargo bench --bench joining -- MODEL.gguf [threads=N] [piece=N] [long=512] [short=16]`.
//!
//! Told are the time to the first token of the short one alone, and where it joins before each step of the long one's prompt; the
//! time of the long one alone and with the other; and whether both give what they give alone, bit for bit.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use emberlm::model::Model;
use emberlm::session::{DeviceChoice, Event, Generated, Job, Scheduler, Session, SessionOptions};
use emberlm::text::{SamplerParams, Tokenizer};

/// Tokens of an answer.
const LIMIT: usize = 8;
/// Times that each is measured; the median is told.
const TIMES: usize = 7;

struct Bench {
    session: Session,
    tokenizer: Tokenizer,
    piece: usize,
}

fn prompt(count: usize, step: usize) -> Vec<u32> {
    (0..count).map(|i| (1000 + i * step % 20_000) as u32).collect()
}

fn sampler(seed: u32) -> SamplerParams {
    SamplerParams { temperature: 0.8, seed, ..SamplerParams::default() }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

impl Bench {
    /// Runs the first job, which the second joins after so many steps; what came of both, and the longest step.
    fn run(&mut self, jobs: &[&Job], after: usize) -> (Vec<Generated>, Duration) {
        self.session.reset();
        let mut scheduler = Scheduler::new(&mut self.session, &self.tokenizer).with_pieces_of(self.piece);
        let first = scheduler.submit(jobs[0].clone()).unwrap();
        let mut made = vec![None, None];
        let (mut steps, mut waiting, mut longest) = (0, jobs.get(1), Duration::ZERO);
        loop {
            if steps >= after
                && let Some(job) = waiting.take()
            {
                scheduler.submit((*job).clone()).unwrap();
            }
            let start = Instant::now();
            let more = scheduler.step(&mut |event| {
                if let Event::Done(id, of) = event {
                    made[usize::from(id != first)] = Some(of);
                }
                ControlFlow::Continue(())
            });
            longest = longest.max(start.elapsed());
            steps += 1;
            if !more.unwrap() && waiting.is_none() {
                return (made.into_iter().flatten().collect(), longest);
            }
        }
    }
}

fn same(a: &Generated, b: &Generated) -> bool {
    let bits = |of: &Generated| of.log_probs.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
    a.tokens == b.tokens && bits(a) == bits(b)
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let Some(path) = given.iter().find(|arg| !arg.contains('=')) else {
        eprintln!(
            "usage: cargo bench --bench joining -- MODEL.gguf [threads=N] [piece=N] [long=N] [short=N]"
        );
        return;
    };
    let number = |name: &str| {
        let values = given.iter().filter_map(|arg| arg.split_once('='));
        values.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<usize>().ok())
    };
    let model = Model::open(path).unwrap();
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata).unwrap();
    let options = SessionOptions {
        device: DeviceChoice::Cpu,
        ctx: Some(1024),
        slots: 2,
        threads: number("threads"),
        ..SessionOptions::default()
    };
    let session = Session::new(&model, &options).unwrap();
    let piece = number("piece").unwrap_or(session.chunk());
    let mut bench = Bench { session, tokenizer, piece };
    let (long, short) = (number("long").unwrap_or(512), number("short").unwrap_or(16));
    let jobs =
        [Job::new(prompt(long, 37), sampler(1), LIMIT), Job::new(prompt(short, 101), sampler(2), LIMIT)];

    let mut alone = |job: &Job| {
        let runs: Vec<Generated> = (0..TIMES).map(|_| bench.run(&[job], 0).0.remove(0)).collect();
        (median(runs.iter().map(|made| made.first_token).collect()), runs[0].clone())
    };
    let (long_alone, long_made) = alone(&jobs[0]);
    let (short_alone, short_made) = alone(&jobs[1]);
    println!("{}, {} threads, pieces of {piece}", model.config().name, options.threads.unwrap_or(0));
    println!("first token alone: {long} tokens {long_alone:.1} ms, {short} tokens {short_alone:.1} ms");
    let mut equal = true;
    for after in [1, long.div_ceil(piece) / 2, long.div_ceil(piece).saturating_sub(1)] {
        let mut times = [Vec::new(), Vec::new()];
        let mut longest = Vec::new();
        for _ in 0..TIMES {
            let (made, step) = bench.run(&[&jobs[0], &jobs[1]], after);
            times.iter_mut().zip(&made).for_each(|(times, made)| times.push(made.first_token));
            longest.push(step);
            equal &= same(&made[0], &long_made) && same(&made[1], &short_made);
        }
        let [first, second] = times.map(median);
        let longest = median(longest);
        println!(
            "joins after {after} steps: its first token after {second:.1} ms ({:.2} of alone; {:.2} where it comes at the \
             beginning of the longest step, of {longest:.1} ms), the long one's after {first:.1} ms",
            second / short_alone,
            (second + longest) / short_alone
        );
    }
    println!(
        "{}",
        if equal { "both give what they give alone, bit for bit" } else { "WHAT THEY GIVE DIFFERS" }
    );
}
