//! From documents to tokens: text is gathered, encoded on several threads, and handed on in its order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::CorpusError;
use super::sink::Sink;
use crate::text::{Segment, Tokenizer};

/// A document is encoded in pieces of about this many bytes.
const PIECE: usize = 128 << 10;
/// Where a piece has no place to be cut within that many bytes, it is cut anywhere.
const LONGEST: usize = 1 << 20;
/// Text that waits for each thread, at most.
const WAITING: usize = 512 << 10;

/// Text to be encoded at once.
struct Job {
    text: String,
    /// A document begins, or ends, with it.
    first: bool,
    last: bool,
}

/// How text becomes tokens.
#[derive(Clone, Copy)]
struct Encoding<'a> {
    tokenizer: &'a Tokenizer,
    special: bool,
    /// The token that ends a document.
    end: Option<u32>,
    threads: usize,
}

impl Encoding<'_> {
    fn encode(self, jobs: &[Job]) -> Vec<Vec<u32>> {
        if self.threads == 1 || jobs.len() == 1 {
            return jobs.iter().map(|job| self.ids(job)).collect();
        }
        let results: Vec<Mutex<Vec<u32>>> = jobs.iter().map(|_| Mutex::default()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < jobs.len()) {
                let ids = self.ids(&jobs[i]);
                *results[i].lock().unwrap_or_else(PoisonError::into_inner) = ids;
            }
        };
        std::thread::scope(|scope| {
            (1..self.threads.min(jobs.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        results.into_iter().map(|r| r.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Tokens of the text of a document, with those that the tokenizer puts at its beginning and end.
    fn ids(self, job: &Job) -> Vec<u32> {
        let tokenizer = self.tokenizer;
        let mut ids = if job.first {
            let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
            let own = tokenizer.encode(&job.text, self.special, false);
            bos.into_iter().filter(|bos| own.first() != Some(bos)).chain(own.iter().copied()).collect()
        } else {
            // No blank is put before it, as something stands there.
            let message = (!self.special).then_some(0);
            let part = |text: &str| Segment { text: text.to_owned(), message };
            let (ids, counts) = tokenizer.encode_cut(&[part("\n"), part(&job.text)], &[1]);
            ids.get(counts.first().copied().unwrap_or(0)..).unwrap_or_default().to_vec()
        };
        if job.last && ids.last().is_none_or(|&last| !tokenizer.is_eog(last)) {
            ids.extend(self.end);
        }
        ids
    }
}

/// Takes texts of documents.
pub(super) struct Feed<'a, 'f> {
    encoding: Encoding<'a>,
    sink: Sink<'f>,
    /// Of the document in work, what is in no job yet.
    text: String,
    /// Whether a job has its beginning.
    begun: bool,
    jobs: Vec<Job>,
    waiting: usize,
    text_bytes: u64,
    empty: u64,
    after: &'a mut dyn FnMut(u64, u64) -> Result<(), CorpusError>,
}

impl<'a, 'f> Feed<'a, 'f> {
    /// `after` is called with the numbers of documents and tokens whenever some have been written.
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        special: bool,
        threads: usize,
        sink: Sink<'f>,
        after: &'a mut dyn FnMut(u64, u64) -> Result<(), CorpusError>,
    ) -> Self {
        let ids = tokenizer.special_ids();
        Self {
            encoding: Encoding { tokenizer, special, end: ids.eos.or(ids.eot), threads: threads.max(1) },
            sink,
            text: String::new(),
            begun: false,
            jobs: Vec::new(),
            waiting: 0,
            text_bytes: 0,
            empty: 0,
            after,
        }
    }

    /// The document goes on.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CorpusError> {
        let mut rest = text;
        while !rest.is_empty() {
            // Where it is cut must not depend on how the text arrives.
            let next = (self.text.len() / PIECE + 1) * PIECE;
            let (now, later) = rest.split_at(boundary_from(rest, next - self.text.len()));
            self.text.push_str(now);
            rest = later;
            if self.text.len() >= next
                && let Some(at) = cut(&self.text)
            {
                let after = self.text.split_off(at);
                let text = std::mem::replace(&mut self.text, after);
                self.job(text, false)?;
            }
        }
        Ok(())
    }

    /// The document ends.
    pub(super) fn end(&mut self) -> Result<(), CorpusError> {
        let text = std::mem::take(&mut self.text);
        if !self.begun && text.trim().is_empty() {
            self.empty += 1;
            return Ok(());
        }
        self.job(text, true)
    }

    fn job(&mut self, text: String, last: bool) -> Result<(), CorpusError> {
        self.text_bytes += text.len() as u64;
        self.waiting += text.len();
        self.jobs.push(Job { text, first: !self.begun, last });
        self.begun = !last;
        if self.waiting >= WAITING * self.encoding.threads { self.flush() } else { Ok(()) }
    }

    /// Encodes what waits.
    fn flush(&mut self) -> Result<(), CorpusError> {
        let jobs = std::mem::take(&mut self.jobs);
        self.waiting = 0;
        for (job, ids) in jobs.iter().zip(self.encoding.encode(&jobs)) {
            if !ids.is_empty() {
                self.sink.put(&ids, job.first)?;
            }
        }
        (self.after)(self.sink.documents(), self.sink.tokens())
    }

    /// Ends: the sink, the bytes of text, and the number of documents without any.
    pub(super) fn finish(mut self) -> Result<(Sink<'f>, u64, u64), CorpusError> {
        self.flush()?;
        Ok((self.sink, self.text_bytes, self.empty))
    }

    /// Encodes what waits, and begins the validation part.
    pub(super) fn validation_begins(&mut self) -> Result<(), CorpusError> {
        self.flush()?;
        self.sink.validation_begins();
        Ok(())
    }
}

/// Where to cut a text that goes on: behind the last letter that a blank or a line's end follows, as no pre-tokenizer has a word
/// across that. Where there is none, anywhere, but only once it is too long.
fn cut(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let from = PIECE / 2;
    let good = |&i: &usize| bytes[i - 1].is_ascii_alphabetic() && matches!(bytes[i], b' ' | b'\n');
    let found = (from.max(1)..bytes.len()).rev().find(good);
    found.or_else(|| (text.len() >= LONGEST).then(|| boundary_from(text, LONGEST - 4)))
}

/// The first place from `at` on that is no place within a character, or the text's end.
fn boundary_from(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len())
}
