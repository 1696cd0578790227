//! The guest's memory and allocator, as hostcalls use them: every pointer is checked here.

use wasmtime::{Caller, Extern};

use crate::abi::{Capability, Errno, Status};
use crate::state::{Arena, State};

/// A hostcall in progress.
pub(crate) struct Guest<'a> {
    caller: Caller<'a, State>,
}

/// Why a hostcall doesn't answer `Ok`.
pub(crate) enum Refusal {
    /// The guest is told.
    Status(Status),
    /// The guest ends here: a nested call of it trapped.
    Trap(wasmtime::Error),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        Refusal::Status(status)
    }
}

/// What a hostcall answers.
pub(crate) type Answer = Result<(), Refusal>;

/// An answer as the number that the guest gets.
#[inline]
pub(crate) fn status(answer: Answer) -> wasmtime::Result<u32> {
    match answer {
        Ok(()) => Ok(Status::Ok as u32),
        Err(Refusal::Status(status)) => Ok(status as u32),
        Err(Refusal::Trap(error)) => Err(error),
    }
}

impl<'a> Guest<'a> {
    #[inline]
    pub(crate) fn new(caller: Caller<'a, State>) -> Guest<'a> {
        Guest { caller }
    }

    /// Whether the configuration grants this.
    #[inline]
    pub(crate) fn allows(&self, capability: Capability) -> bool {
        self.caller.data().capabilities.has(capability)
    }

    #[inline]
    pub(crate) fn state(&mut self) -> &mut State {
        self.caller.data_mut()
    }

    /// The guest's memory and the host's state, side by side.
    ///
    /// # Errors
    /// When the module calls from its start section, and exports no memory.
    #[inline]
    pub(crate) fn split(&mut self) -> Result<(&mut [u8], &mut State), Status> {
        let memory = match self.caller.data().memory {
            Some(memory) => memory,
            None => match self.caller.get_export("memory") {
                Some(Extern::Memory(memory)) => memory,
                _ => return Err(Status::InvalidMemoryAccess),
            },
        };
        Ok(memory.data_and_store_mut(&mut self.caller))
    }

    /// Writes a number for the guest.
    pub(crate) fn write_u32(&mut self, address: u32, value: u32) -> Result<(), Status> {
        let (memory, _) = self.split()?;
        slice_mut(memory, address, 4)?.copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    /// Writes a number for the guest.
    pub(crate) fn write_u64(&mut self, address: u32, value: u64) -> Result<(), Status> {
        let (memory, _) = self.split()?;
        slice_mut(memory, address, 8)?.copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    /// Gives the guest what is in the state's scratch: places it in its memory and writes address
    /// and length where it wants them. No bytes are told as address 0, as Envoy does.
    pub(crate) fn give_scratch(&mut self, address_at: u32, bytes_at: u32) -> Answer {
        let (memory, state) = self.split()?;
        let bytes = state.scratch.len();
        if bytes > state.settings.hostcall_bytes_max {
            state.counters().limits.add(1);
            return Err(Status::InternalFailure.into());
        }
        // Both are checked before anything is allocated for them.
        slice(memory, address_at, 4)?;
        slice(memory, bytes_at, 4)?;
        let arena = &mut state.arena;
        if let Some(placed) = give_near(memory, arena, &state.scratch, [address_at, bytes_at]) {
            return Ok(placed?);
        }
        // Checked against `hostcall_bytes_max`, which a usize of 32 bits holds.
        let bytes = bytes as u32;
        let address = self.allocate(bytes)?;
        let (memory, state) = self.split()?;
        Ok(tell(memory, &state.scratch, [address, bytes], [address_at, bytes_at])?)
    }

    /// Room for a value, from the guest's allocator.
    fn allocate(&mut self, bytes: u32) -> Result<u32, Refusal> {
        let state = self.state();
        // Taken, not cloned: that would cost more than the call. And an allocator that asks for
        // values finds none, and can't call itself without end.
        let allocate = state.allocate.take().ok_or(Status::InternalFailure)?;
        // The guest may do hostcalls in there, and they use the scratch too.
        let scratch = std::mem::take(&mut state.scratch);
        let address = allocate.call(&mut self.caller, bytes);
        let state = self.state();
        state.scratch = scratch;
        state.allocate = Some(allocate);
        match address {
            Ok(0) => Err(Status::InvalidMemoryAccess.into()),
            Ok(address) => Ok(address),
            Err(error) => Err(Refusal::Trap(error)),
        }
    }
}

/// Gives the guest a value that fits in what it lent for such: places it, and writes address and
/// length where it wants them. `None` when it must be asked for room.
#[inline]
pub(crate) fn give_near(
    memory: &mut [u8],
    arena: &mut Arena,
    value: &[u8],
    at: [u32; 2],
) -> Option<Result<(), Status>> {
    let bytes = u32::try_from(value.len()).ok()?;
    let address = if bytes == 0 { 0 } else { arena.place(bytes)? };
    Some(tell(memory, value, [address, bytes], at))
}

/// Puts a value where it was given room, and tells the guest address and length.
#[inline]
fn tell(
    memory: &mut [u8],
    value: &[u8],
    [address, bytes]: [u32; 2],
    [address_at, bytes_at]: [u32; 2],
) -> Result<(), Status> {
    slice_mut(memory, address, bytes)?.copy_from_slice(value);
    slice_mut(memory, address_at, 4)?.copy_from_slice(&address.to_le_bytes());
    slice_mut(memory, bytes_at, 4)?.copy_from_slice(&bytes.to_le_bytes());
    Ok(())
}

/// `bytes` bytes of guest memory at `address`.
#[inline]
pub(crate) fn slice(memory: &[u8], address: u32, bytes: u32) -> Result<&[u8], Status> {
    let start = address as usize;
    memory.get(start..start + bytes as usize).ok_or(Status::InvalidMemoryAccess)
}

/// `bytes` bytes of guest memory at `address`, to write.
#[inline]
pub(crate) fn slice_mut(memory: &mut [u8], address: u32, bytes: u32) -> Result<&mut [u8], Status> {
    let start = address as usize;
    memory.get_mut(start..start + bytes as usize).ok_or(Status::InvalidMemoryAccess)
}

/// The number at `address`.
pub(crate) fn read_u32(memory: &[u8], address: u32) -> Result<u32, Status> {
    let mut word = [0; 4];
    word.copy_from_slice(slice(memory, address, 4)?);
    Ok(u32::from_le_bytes(word))
}

/// What a WASI call answers, from what went wrong in it.
pub(crate) fn errno(result: Result<(), Errno>) -> u32 {
    match result {
        Ok(()) => Errno::Success as u32,
        Err(errno) => errno as u32,
    }
}
