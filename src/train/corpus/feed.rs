//! From documents to tokens: text is gathered, encoded on several threads, and handed on in its order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::CorpusError;
use super::gather::Documents;
use super::sink::Sink;
use crate::text::{Segment, Tokenizer};

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

/// Takes documents.
pub(super) struct Feed<'a, 'f> {
    encoding: Encoding<'a>,
    sink: Sink<'f>,
    jobs: Vec<Job>,
    /// A document has begun of which there is no token yet.
    begins: bool,
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
            begins: false,
            jobs: Vec::new(),
            waiting: 0,
            text_bytes: 0,
            empty: 0,
            after,
        }
    }

    /// Encodes what waits.
    fn flush(&mut self) -> Result<(), CorpusError> {
        let jobs = std::mem::take(&mut self.jobs);
        self.waiting = 0;
        for (job, ids) in jobs.iter().zip(self.encoding.encode(&jobs)) {
            self.begins |= job.first;
            if !ids.is_empty() {
                self.sink.put(&ids, std::mem::take(&mut self.begins))?;
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

impl Documents for Feed<'_, '_> {
    fn piece(&mut self, text: String, first: bool, last: bool) -> Result<(), CorpusError> {
        self.text_bytes += text.len() as u64;
        self.waiting += text.len();
        self.jobs.push(Job { text, first, last });
        if self.waiting >= WAITING * self.encoding.threads { self.flush() } else { Ok(()) }
    }

    fn empty(&mut self) {
        self.empty += 1;
    }
}
