//! A program that answers lines: its process, and the threads at its three pipes, so that neither side waits for the
//! other to read.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest line of an answer, in bytes.
pub(super) const MAX_LINE: usize = 64 << 10;
/// Lines read ahead; a program that writes more has to wait.
const LINES_AHEAD: usize = 16;
/// How much of the end of stderr is kept, in bytes.
const STDERR_KEPT: usize = 4 << 10;
/// How long a program may take to end once its input is closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often it is looked whether a process has ended.
const POLL: Duration = Duration::from_millis(5);

/// What came from the program's output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A line without its end.
    Line(Vec<u8>),
    /// More than [`MAX_LINE`] bytes without a line's end; nothing is read after it.
    TooLong,
    /// The end, or the output cannot be read.
    End,
}

/// A running program. Dropping it closes its input, gives it [`FAREWELL`] to end, and kills it with all that it started.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    input: Option<Sender<Vec<u8>>>,
    output: Receiver<Event>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_reader: JoinHandle<()>,
    /// The process was waited for.
    gone: bool,
}

impl Child {
    /// Starts a command line: `sh -c LINE`, on Windows `cmd /C LINE`.
    pub(super) fn start(line: &str) -> io::Result<Self> {
        let mut process = shell(line)
            // Python would keep its answers in a buffer until it ends, and on Windows take UTF-8 for something else.
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONIOENCODING", "utf-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        match attach(&mut process) {
            Ok(pipes) => Ok(Self {
                process,
                input: Some(pipes.input),
                output: pipes.output,
                stderr: pipes.stderr,
                stderr_reader: pipes.stderr_reader,
                gone: false,
            }),
            Err(error) => {
                kill(&mut process);
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// Queues lines for its input. Whether it reads them shows in its answers.
    pub(super) fn send(&self, lines: Vec<u8>) {
        if let Some(input) = &self.input {
            let _ = input.send(lines);
        }
    }

    /// The next event, or `None` when there is none in time.
    pub(super) fn next(&self, timeout: Duration) -> Option<Event> {
        match self.output.recv_timeout(timeout) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::End),
        }
    }

    /// An event that is there already.
    pub(super) fn waiting(&self) -> Option<Event> {
        self.output.try_recv().ok()
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.gone || has_ended(&mut self.process)
    }

    /// Closes its input, waits up to `grace` for its end, and kills what is left. The status is of a process that ended by
    /// itself.
    pub(super) fn finish(&mut self, grace: Duration) -> Option<ExitStatus> {
        if self.gone {
            return None;
        }
        self.input = None;
        let ended = wait_until(grace, || has_ended(&mut self.process));
        // Before the process is waited for: until then its number, which is the group's, belongs to nobody else.
        kill(&mut self.process);
        let status = self.process.wait().ok();
        self.gone = true;
        // What it wrote last may still be on its way through the pipe.
        wait_until(POLL * 40, || self.stderr_reader.is_finished());
        status.filter(|_| ended)
    }

    /// The end of what it wrote to stderr, whole lines where there are several.
    pub(super) fn stderr(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let whole = match text.split_once('\n') {
            Some((_, rest)) if kept.len() >= STDERR_KEPT && !rest.trim().is_empty() => rest,
            _ => &text,
        };
        let mut shown = String::new();
        for c in whole.trim().chars() {
            if c.is_control() && !matches!(c, '\n' | '\t') {
                shown.extend(c.escape_default())
            } else {
                shown.push(c)
            }
        }
        shown
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.finish(FAREWELL);
    }
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// What is left of the pipes once threads serve them.
struct Pipes {
    input: Sender<Vec<u8>>,
    output: Receiver<Event>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_reader: JoinHandle<()>,
}

/// Starts a thread at each pipe. They end when the process and all that inherited its pipes have.
fn attach(process: &mut Process) -> io::Result<Pipes> {
    let missing = || io::Error::other("the process has no pipes");
    let stdin = process.stdin.take().ok_or_else(missing)?;
    let stdout = process.stdout.take().ok_or_else(missing)?;
    let stderr = process.stderr.take().ok_or_else(missing)?;
    let (input, lines) = channel();
    let (events, output) = sync_channel(LINES_AHEAD);
    let tail = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&tail);
    let named = |name: &str| thread::Builder::new().name(format!("reward-{name}"));
    named("stdin").spawn(move || write_lines(stdin, &lines))?;
    named("stdout").spawn(move || read_lines(BufReader::new(stdout), &events))?;
    let stderr_reader = named("stderr").spawn(move || keep_tail(stderr, &kept))?;
    Ok(Pipes { input, output, stderr: tail, stderr_reader })
}

/// Ends when the program closes its input, or nothing more is coming.
fn write_lines(mut stdin: impl Write, lines: &Receiver<Vec<u8>>) {
    while let Ok(bytes) = lines.recv() {
        if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read_lines(mut stdout: impl BufRead, events: &SyncSender<Event>) {
    loop {
        let event = next_line(&mut stdout);
        let last = !matches!(event, Event::Line(_));
        if events.send(event).is_err() || last {
            return;
        }
    }
}

/// Reads one line, holding no more than [`MAX_LINE`] bytes.
fn next_line(stdout: &mut impl BufRead) -> Event {
    let mut line = Vec::new();
    match stdout.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => Event::End,
        Ok(_) if line.last() == Some(&b'\n') => {
            line.pop();
            Event::Line(line)
        }
        Ok(read) if read > MAX_LINE => Event::TooLong,
        Ok(_) => Event::Line(line),
    }
}

fn keep_tail(mut stderr: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..read]);
                let surplus = kept.len().saturating_sub(STDERR_KEPT);
                kept.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// On Unix in a process group of its own: it can be killed with all that it starts, and Ctrl-C does not reach it. Where there
/// are no processes (WebAssembly), starting it is an error that says so.
#[cfg(not(windows))]
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

#[cfg(windows)]
fn shell(line: &str) -> Command {
    use std::os::windows::process::CommandExt;
    let mut command = Command::new("cmd");
    command.arg("/C").raw_arg(line);
    command
}

#[cfg(unix)]
fn has_ended(process: &mut Process) -> bool {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    // It stays a zombie, so that its number is not given to another process before its group is killed.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(Pid::from_child(process)), options), Ok(None))
}

#[cfg(not(unix))]
fn has_ended(process: &mut Process) -> bool {
    !matches!(process.try_wait(), Ok(None))
}

#[cfg(unix)]
fn kill(process: &mut Process) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let _ = kill_process_group(Pid::from_child(process), Signal::KILL);
}

#[cfg(not(unix))]
fn kill(process: &mut Process) {
    let _ = process.kill();
}
