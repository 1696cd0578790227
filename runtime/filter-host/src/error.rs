//! What can be wrong with a module, and how a running filter fails.

use std::fmt;

/// Why a module is not taken. Each says what to look at, with the names of the module's own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes don't have the digest that the configuration pins.
    #[error("sha256 is {found}, the configuration pins {expected}")]
    Sha256 {
        /// What was pinned, in hex.
        expected: String,
        /// What the bytes have, in hex.
        found: String,
    },
    /// The bytes are no module, or one that uses what this host doesn't offer.
    #[error("not a WebAssembly module that this host runs: {reason}")]
    NotWasm {
        /// What the compiler said.
        reason: String,
    },
    /// No marker of a known edition is exported.
    #[error("no proxy-wasm module: it exports none of proxy_abi_version_0_1_0, _0_2_0, _0_2_1")]
    NoAbi,
    /// It imports what the host has not.
    #[error("imports `{name}` from `{module}`, which this host doesn't know")]
    UnknownImport {
        /// The import's module name.
        module: String,
        /// The import's name.
        name: String,
    },
    /// It imports a hostcall with other parameters than the ABI's.
    #[error("imports `{name}` from `{module}` with another signature than the ABI's")]
    ImportSignature {
        /// The import's module name.
        module: String,
        /// The import's name.
        name: String,
    },
    /// It exports a callback with other parameters than the ABI's, or lacks one it needs.
    #[error("export `{name}` is missing or has another signature than the ABI's")]
    Export {
        /// The export's name.
        name: &'static str,
    },
    /// Its memory is larger from the start than it may become.
    #[error("asks for {bytes} bytes of memory, at most {max} are configured")]
    Memory {
        /// What it asks for.
        bytes: u64,
        /// What it may have.
        max: u64,
    },
    /// It could not be started.
    #[error("does not start: {0}")]
    Start(#[from] Trapped),
    /// It is in the chain of a service, and has no callback for raw connections.
    #[error(
        "is in `filters` of {chain}, and has no callback for connections \
         (proxy_on_new_connection, proxy_on_downstream_data, ...): it is one for listeners and \
         routes"
    )]
    NotForConnections {
        /// The service.
        chain: String,
    },
    /// It is in a chain of HTTP, and knows raw connections alone.
    #[error(
        "is in `filters` of {chain}, and has callbacks for raw connections alone: it is one for \
         services with mode \"terminate\""
    )]
    NotForExchanges {
        /// The listener.
        chain: String,
    },
    /// A filter has more root contexts than the host keeps.
    #[error("is used with {count} configurations, at most {max}")]
    Plugins {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}

/// A filter failed: its instance is gone, and the stream gets the filter's policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct Trapped {
    /// What kind of failure.
    pub cause: TrapCause,
    /// The trap and where it was, for the log.
    pub detail: String,
    /// The plugin that was being configured: an index into [`crate::FilterSettings::plugins`].
    /// Nothing outside the start of an instance.
    pub plugin: Option<u32>,
}

impl Trapped {
    /// A failure with nothing more to say about it.
    pub(crate) fn new(cause: TrapCause) -> Trapped {
        Trapped { cause, detail: String::new(), plugin: None }
    }
}

/// The kinds of failure, as metrics and logs tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrapCause {
    /// The code trapped: `unreachable`, a bad access, a division by zero, its stack.
    Trap,
    /// A callback ran longer than its deadline.
    Deadline,
    /// It wanted more memory than it may have.
    Memory,
    /// It called `proc_exit`.
    Exit,
    /// It answered false to `proxy_on_vm_start` or `proxy_on_configure`.
    Refused,
    /// It failed in another exchange, which took this one's state with it.
    Lost,
    /// It is switched off after too many failures.
    Disabled,
    /// It holds as many contexts as the host keeps.
    Contexts,
    /// It ran out of fuel, where fuel is counted.
    Fuel,
}

impl TrapCause {
    /// All of them, in the order of their numbers.
    pub const ALL: [TrapCause; 9] = [
        TrapCause::Trap,
        TrapCause::Deadline,
        TrapCause::Memory,
        TrapCause::Exit,
        TrapCause::Refused,
        TrapCause::Lost,
        TrapCause::Disabled,
        TrapCause::Contexts,
        TrapCause::Fuel,
    ];

    /// A word for logs, metrics and cause codes.
    pub const fn name(self) -> &'static str {
        match self {
            TrapCause::Trap => "trap",
            TrapCause::Deadline => "deadline",
            TrapCause::Memory => "memory",
            TrapCause::Exit => "exit",
            TrapCause::Refused => "refused",
            TrapCause::Lost => "lost",
            TrapCause::Disabled => "disabled",
            TrapCause::Contexts => "contexts",
            TrapCause::Fuel => "fuel",
        }
    }
}

impl fmt::Display for TrapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
