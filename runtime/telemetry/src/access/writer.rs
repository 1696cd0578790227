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
        Ok(Writer { target, sink, counts: Arc::default(), torn: false })
    }

    /// What was written and lost.
    pub fn counts(&self) -> Arc<WriteCounts> {
        Arc::clone(&self.counts)
    }

    /// Goes on in the place of `other`, which was opened for another target: counts go on.
    pub fn replace(&mut self, other: Writer) {
        (self.target, self.sink, self.torn) = (other.target, other.sink, other.torn);
    }

    /// Writes whole lines. On an error they count as lost, all of this call.
    pub fn write(&mut self, lines: &[u8]) {
        let count = count_lines(lines);
        let result = match &mut self.sink {
            Sink::Stdout(sink) => append(sink, lines, &mut self.torn),
            Sink::File(sink) => append(sink, lines, &mut self.torn),
        };
        match result {
            Ok(()) => self.counts.lines.fetch_add(count, Relaxed),
            Err(_) => {
                self.counts.errors.fetch_add(1, Relaxed);
                self.counts.lines_lost.fetch_add(count, Relaxed)
            }
        };
    }

    /// Opens the path anew, after a rotation moved the file away. If that fails, lines go on
    /// into the old file, and the failure is counted.
    pub fn reopen(&mut self) {
        match open(&self.target) {
            Ok(sink) => {
                self.sink = sink;
                self.torn = false;
            }
            Err(_) => {
                self.counts.errors.fetch_add(1, Relaxed);
            }
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

/// Writes all of `lines`; `torn` says whether what is written so far ends within a line.
pub(super) fn append(sink: &mut impl Write, lines: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn {
        sink.write_all(b"\n")?;
        *torn = false;
    }
    let mut rest = lines;
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                *torn = rest[count - 1] != b'\n';
                rest = &rest[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    sink.flush()
}
