//! Where lines go: a file that can be rotated under us, or standard output. Blocking; for the
//! one thread that does nothing else.
//!
//! A log that cannot be written must not take traffic with it: errors are counted, never
//! returned once the writer is open.

use std::fs::{File, OpenOptions};
use std::io::{self, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file that is appended to, and made with mode 0640 where there is none.
    File(PathBuf),
}

/// What a writer has done; written by its thread, read by any.
#[derive(Debug, Default)]
pub struct WriteCounts {
    /// Lines written whole.
    pub lines: AtomicU64,
    /// Lines that were lost, or may have been written in part.
    pub lines_lost: AtomicU64,
    /// Writes and reopenings that failed.
    pub errors: AtomicU64,
}

/// Appends lines to its target.
#[derive(Debug)]
pub struct Writer {
    target: Target,
    sink: Sink,
    counts: Arc<WriteCounts>,
    /// The last write ended within a line: end it before the next one begins.
    torn: bool,
    /// What went wrong last has been told of, and nothing went well since.
    failing: bool,
    /// The path is to be opened anew, and could not be yet.
    reopens: bool,
}

#[derive(Debug)]
enum Sink {
    Stdout(Stdout),
    File(File),
}

impl Writer {
    /// Opens the target.
    ///
    /// # Errors
    /// The file can't be opened for appending, nor made.
    pub fn open(target: Target) -> io::Result<Self> {
        let sink = open(&target)?;
        let counts = Arc::default();
        Ok(Writer { target, sink, counts, torn: false, failing: false, reopens: false })
    }

    /// What was written and lost.
    pub fn counts(&self) -> Arc<WriteCounts> {
        Arc::clone(&self.counts)
    }

    /// Goes on in the place of `other`, which was opened for another target: counts go on.
    pub fn replace(&mut self, other: Writer) {
        *self = Writer { counts: Arc::clone(&self.counts), ..other };
    }

    /// Writes whole lines. On an error those that were not written whole count as lost.
    pub fn write(&mut self, lines: &[u8]) {
        if self.reopens {
            self.reopen();
        }
        let appended = match &mut self.sink {
            Sink::Stdout(sink) => append(sink, lines, &mut self.torn),
            Sink::File(sink) => append(sink, lines, &mut self.torn),
        };
        let (written, result) = appended;
        self.counts.lines.fetch_add(count_lines(&lines[..written]), Relaxed);
        match result {
            Ok(()) if self.failing && !self.reopens => {
                self.failing = false;
                tracing::warn!("the access log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.counts.lines_lost.fetch_add(count_lines(&lines[written..]), Relaxed);
                self.note(&error, "the access log can't be written: lines are lost");
            }
        }
    }

    /// Opens the path anew, after a rotation moved the file away. If that fails, lines go on
    /// into the old file, and it is tried again before the next.
    pub fn reopen(&mut self) {
        let opened = open(&self.target);
        self.reopens = opened.is_err();
        match opened {
            Ok(sink) => (self.sink, self.torn) = (sink, false),
            Err(error) => {
                self.note(
                    &error,
                    "the access log can't be opened anew: lines go into the old file",
                );
            }
        }
    }

    fn note(&mut self, error: &io::Error, what: &'static str) {
        self.counts.errors.fetch_add(1, Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "{what}");
        }
    }
}

/// In blocks whose count fits a byte, so that the compiler compares 16 bytes at once: with a
/// wide count this was a sixth of the writing thread's time.
fn count_lines(lines: &[u8]) -> u64 {
    let count = |block: &[u8]| block.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
    lines.chunks(240).map(|block| u64::from(count(block))).sum()
}

fn open(target: &Target) -> io::Result<Sink> {
    match target {
        Target::Stdout => Ok(Sink::Stdout(io::stdout())),
        Target::File(path) => {
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
            Ok(Sink::File(file))
        }
    }
}

/// Writes all of `lines`; how much was written, and why no more. `torn` says whether what is
/// written so far ends within a line.
pub(super) fn append(
    sink: &mut impl Write,
    lines: &[u8],
    torn: &mut bool,
) -> (usize, io::Result<()>) {
    if *torn {
        match sink.write_all(b"\n") {
            Ok(()) => *torn = false,
            Err(error) => return (0, Err(error)),
        }
    }
    let mut written = 0;
    while written < lines.len() {
        match sink.write(&lines[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                written += count;
                *torn = lines[written - 1] != b'\n';
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, sink.flush())
}
