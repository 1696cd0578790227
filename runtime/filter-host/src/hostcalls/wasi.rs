//! WASI preview 1, as far as a filter has any: a log, a clock, random bytes. No files, no
//! sockets, no arguments. Served under both module names.

use wasmtime::{Caller, Linker};

use crate::abi::{Capability, Errno, LogLevel, Module};
use crate::guest::{Guest, errno, read_u32, slice, slice_mut};
use crate::hostcalls::log;
use crate::state::State;

type Done = Result<(), Errno>;

impl From<crate::abi::Status> for Fault {
    fn from(_: crate::abi::Status) -> Fault {
        Fault
    }
}

/// A pointer or length left the guest's memory.
struct Fault;

impl From<Fault> for Errno {
    fn from(_: Fault) -> Errno {
        Errno::Fault
    }
}

/// Links functions of WASI under `$module`: what isn't granted is not supported.
macro_rules! link {
    ($linker:ident $module:ident: $(
        $capability:ident $name:literal = $function:path [$($argument:ident: $type:ty),*];
    )+) => {
        $(
            $linker.func_wrap(
                $module,
                $name,
                |caller: Caller<'_, State>, $($argument: $type),*| -> u32 {
                    let mut guest = Guest::new(caller);
                    if !guest.allows(Capability::$capability) {
                        return Errno::NotSupported as u32;
                    }
                    errno($function(&mut guest, $($argument),*))
                },
            )?;
        )+
    };
}

/// Links functions of WASI under `$module` that answer the same errno whatever they are asked.
macro_rules! refuse {
    ($linker:ident $module:ident: $($name:literal [$($type:ty),*] = $errno:ident;)+) => {
        $(
            $linker.func_wrap(
                $module,
                $name,
                |_: Caller<'_, State>, $(_: $type),*| -> u32 { Errno::$errno as u32 },
            )?;
        )+
    };
}

/// Adds every WASI call to `linker`.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for &module in Module::Wasi.names() {
        link! { linker module:
            Log "fd_write" = fd_write [fd: u32, vectors: u32, count: u32, out: u32];
            Clock "clock_time_get" = clock_time [clock: u32, _precision: u64, out: u32];
            Clock "clock_res_get" = clock_resolution [clock: u32, out: u32];
            Random "random_get" = random [out: u32, bytes: u32];
            Lifecycle "environ_sizes_get" = environ_sizes [count: u32, bytes: u32];
            Lifecycle "environ_get" = environ [pointers: u32, text: u32];
            Lifecycle "args_sizes_get" = args_sizes [count: u32, bytes: u32];
            Lifecycle "poll_oneoff" = poll [subscriptions: u32, events: u32, count: u32, out: u32];
            Lifecycle "fd_fdstat_get" = fd_stat [fd: u32, out: u32];
        }
        refuse! { linker module:
            "args_get" [u32, u32] = Success;
            "sched_yield" [] = Success;
            "fd_fdstat_set_flags" [u32, u32] = BadDescriptor;
            "fd_prestat_get" [u32, u32] = BadDescriptor;
            "fd_prestat_dir_name" [u32, u32, u32] = BadDescriptor;
            "fd_close" [u32] = BadDescriptor;
            "fd_read" [u32, u32, u32, u32] = BadDescriptor;
            "fd_seek" [u32, i64, u32, u32] = BadDescriptor;
            "fd_filestat_get" [u32, u32] = BadDescriptor;
            "path_open" [u32, u32, u32, u32, u32, u64, u64, u32, u32] = BadDescriptor;
            "path_filestat_get" [u32, u32, u32, u32, u32] = BadDescriptor;
            "path_create_directory" [u32, u32, u32] = BadDescriptor;
            "path_remove_directory" [u32, u32, u32] = BadDescriptor;
            "path_rename" [u32, u32, u32, u32, u32, u32] = BadDescriptor;
            "path_unlink_file" [u32, u32, u32] = BadDescriptor;
            "sock_accept" [u32, u32, u32] = BadDescriptor;
        }
        linker.func_wrap(module, "proc_exit", proc_exit)?;
    }
    Ok(())
}

/// `proc_exit`: the end of the instance.
fn proc_exit(mut caller: Caller<'_, State>, code: u32) -> wasmtime::Result<()> {
    caller.data_mut().exit = Some(code);
    Err(wasmtime::Error::msg(format!("proc_exit({code})")))
}

/// `fd_write`: descriptor 1 is the log at info, 2 at error.
fn fd_write(guest: &mut Guest<'_>, fd: u32, vectors: u32, count: u32, out: u32) -> Done {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Err(Errno::BadDescriptor),
    };
    if count > VECTORS_MAX {
        return Err(Errno::Invalid);
    }
    let (memory, state) = guest.split().map_err(|_| Errno::Fault)?;
    let mut text = std::mem::take(&mut state.scratch);
    text.clear();
    let gathered = gather(memory, vectors, count, &mut text);
    let written = text.len();
    if gathered.is_ok() && written > 0 {
        log::write(state, level, &text);
    }
    state.scratch = text;
    gathered?;
    // Bounded by `gather`, so it fits.
    guest.write_u32(out, written as u32).map_err(|_| Errno::Fault)
}

/// Appends what the vectors point at.
fn gather(memory: &[u8], vectors: u32, count: u32, text: &mut Vec<u8>) -> Done {
    for index in 0..count {
        let vector = vectors.checked_add(index * 8).ok_or(Errno::Fault)?;
        let address = read_u32(memory, vector).map_err(Fault::from)?;
        let length_at = vector.checked_add(4).ok_or(Errno::Fault)?;
        let bytes = read_u32(memory, length_at).map_err(Fault::from)?;
        if text.len() + bytes as usize > WRITE_BYTES_MAX {
            return Err(Errno::Invalid);
        }
        text.extend_from_slice(slice(memory, address, bytes).map_err(Fault::from)?);
    }
    Ok(())
}

/// `clock_time_get`: time of day and monotonic time; both advance at every look.
fn clock_time(guest: &mut Guest<'_>, clock: u32, _precision: u64, out: u32) -> Done {
    let state = guest.state();
    let now = match clock {
        REALTIME => state.clock.realtime_ns(&*state.world),
        MONOTONIC => state.clock.monotonic_ns(&*state.world),
        _ => return Err(Errno::NotSupported),
    };
    guest.write_u64(out, now).map_err(|_| Errno::Fault)
}

/// `clock_res_get`.
fn clock_resolution(guest: &mut Guest<'_>, clock: u32, out: u32) -> Done {
    match clock {
        REALTIME | MONOTONIC => guest.write_u64(out, 1_000).map_err(|_| Errno::Fault),
        _ => Err(Errno::NotSupported),
    }
}

/// `random_get`.
fn random(guest: &mut Guest<'_>, out: u32, bytes: u32) -> Done {
    if bytes > RANDOM_BYTES_MAX {
        return Err(Errno::Invalid);
    }
    let (memory, state) = guest.split().map_err(|_| Errno::Fault)?;
    let out = slice_mut(memory, out, bytes).map_err(Fault::from)?;
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&state.world.random().to_le_bytes()[..chunk.len()]);
    }
    Ok(())
}

/// `environ_sizes_get`.
fn environ_sizes(guest: &mut Guest<'_>, count: u32, bytes: u32) -> Done {
    let environment = &guest.state().settings.environment;
    let total = environment.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
    let variables = environment.len();
    // From the configuration: a handful of short strings.
    guest.write_u32(count, variables as u32).map_err(|_| Errno::Fault)?;
    guest.write_u32(bytes, total as u32).map_err(|_| Errno::Fault)
}

/// `environ_get`.
fn environ(guest: &mut Guest<'_>, pointers: u32, text: u32) -> Done {
    let (memory, state) = guest.split().map_err(|_| Errno::Fault)?;
    let (mut pointers, mut text) = (pointers, text);
    for (name, value) in state.settings.environment.iter() {
        let line = format!("{name}={value}\0");
        slice_mut(memory, pointers, 4).map_err(Fault::from)?.copy_from_slice(&text.to_le_bytes());
        let bytes = line.len() as u32;
        slice_mut(memory, text, bytes).map_err(Fault::from)?.copy_from_slice(line.as_bytes());
        pointers = pointers.checked_add(4).ok_or(Errno::Fault)?;
        text = text.checked_add(bytes).ok_or(Errno::Fault)?;
    }
    Ok(())
}

/// `args_sizes_get`: none, so that `args_get` has nothing to do.
fn args_sizes(guest: &mut Guest<'_>, count: u32, bytes: u32) -> Done {
    guest.write_u32(count, 0).map_err(|_| Errno::Fault)?;
    guest.write_u32(bytes, 0).map_err(|_| Errno::Fault)
}

/// `fd_fdstat_get`: 1 and 2 are character devices that can be written.
fn fd_stat(guest: &mut Guest<'_>, fd: u32, out: u32) -> Done {
    if !(1..=2).contains(&fd) {
        return Err(Errno::BadDescriptor);
    }
    let (memory, _) = guest.split().map_err(|_| Errno::Fault)?;
    let stat = slice_mut(memory, out, 24).map_err(Fault::from)?;
    stat.fill(0);
    // `fs_filetype` character device, `fs_rights_base` FD_WRITE (bit 6).
    stat[0] = 2;
    stat[8] = 64;
    Ok(())
}

/// `poll_oneoff`: nothing here may wait, so clocks have always just fired, and descriptors are
/// bad ones.
fn poll(guest: &mut Guest<'_>, subscriptions: u32, events: u32, count: u32, out: u32) -> Done {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Invalid);
    }
    let (memory, _) = guest.split().map_err(|_| Errno::Fault)?;
    for index in 0..count {
        let at = subscriptions.checked_add(index * SUBSCRIPTION_BYTES).ok_or(Errno::Fault)?;
        let mut event = [0_u8; EVENT_BYTES as usize];
        let subscription = slice(memory, at, SUBSCRIPTION_BYTES).map_err(Fault::from)?;
        event[..8].copy_from_slice(&subscription[..8]);
        let tag = subscription[8];
        if tag != 0 {
            event[8] = Errno::BadDescriptor as u8;
        }
        event[10] = tag;
        let at = events.checked_add(index * EVENT_BYTES).ok_or(Errno::Fault)?;
        slice_mut(memory, at, EVENT_BYTES).map_err(Fault::from)?.copy_from_slice(&event);
    }
    guest.write_u32(out, count).map_err(|_| Errno::Fault)
}

const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;
/// What POSIX calls IOV_MAX.
const VECTORS_MAX: u32 = 1_024;
const WRITE_BYTES_MAX: usize = 64 << 10;
const RANDOM_BYTES_MAX: u32 = 64 << 10;
const SUBSCRIPTIONS_MAX: u32 = 64;
/// Sizes of `subscription` and `event` in preview 1.
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;
