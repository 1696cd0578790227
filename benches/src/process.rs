//! A process under measurement: started pinned to a core, read through `/proc`, stopped by id.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::BenchError;

/// A child that is asked to stop, then made to, when it goes out of scope.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on `core`, with its output in `log`.
    ///
    /// `taskset` executes the program in its own place, so the id is the program's and all of its
    /// threads inherit the mask.
    pub(crate) fn start<A: AsRef<OsStr>>(
        core: usize,
        program: &Path,
        arguments: &[A],
        log: PathBuf,
    ) -> Result<Self, BenchError> {
        let what = || BenchError::io(format!("starting {}", program.display()));
        let output = File::create(&log).map_err(what())?;
        let child = Command::new("taskset")
            .arg("--cpu-list")
            .arg(core.to_string())
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(what())?)
            .stdout(output)
            .spawn()
            .map_err(what())?;
        Ok(Process { child, log })
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The status it ended with, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// CPU time so far of all threads of the process and of its children (nginx's worker).
    ///
    /// From `schedstat`, whose first field is nanoseconds; `stat` counts in ticks of 10 ms. Work
    /// that the kernel does in its name (TCP, io_uring workers) is in it.
    pub(crate) fn cpu(&self) -> Duration {
        let nanoseconds = self.tasks().into_iter().filter_map(|task| {
            let text = fs::read_to_string(task.join("schedstat")).ok()?;
            text.split_ascii_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Resident memory of the process and of its children, in bytes.
    ///
    /// From `smaps_rollup` as proportional share where it can be read, so that pages which a
    /// master and its worker share count once; else the resident set.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let processes = process_tree(self.child.id());
        let kib = processes.iter().filter_map(|pid| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
            let rollup = rollup.ok().and_then(|text| kib_of(&text, "Pss:"));
            rollup.or_else(|| {
                kib_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
            })
        });
        kib.sum::<u64>() * 1024
    }

    /// How many file descriptors the process and its children hold.
    pub(crate) fn descriptor_count(&self) -> usize {
        let processes = process_tree(self.child.id());
        let folders = processes.iter().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")));
        folders.flatten().map(Iterator::count).sum()
    }

    /// `/proc` folders of all threads of the tree.
    fn tasks(&self) -> Vec<PathBuf> {
        let processes = process_tree(self.child.id());
        let folders =
            processes.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        folders.flatten().flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        // Politely first: nginx's master must take its worker with it.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIME_MAX;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `root` and all of its descendants.
fn process_tree(root: u32) -> Vec<u32> {
    let mut tree = vec![root];
    let mut index = 0;
    while let Some(&pid) = tree.get(index) {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            tree.extend(children.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        index += 1;
    }
    tree
}

/// The figure of a `Name:   123 kB` line.
pub(crate) fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Enough for nginx and Envoy to close what they have; Penstock's drain is set to 1 s in benches.
const STOP_TIME_MAX: Duration = Duration::from_secs(3);
