//! A compiled module, checked against the ABI before anything of it runs.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::{ExternType, FuncType, ImportType, InstancePre, ValType};

use crate::abi::{Callback, CallbackSet, Value, Version, callbacks, hostcalls, lengths};
use crate::cache;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::state::State;

/// A module that can be started. Cheap to clone; compiled once per process.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    pre: InstancePre<State>,
    version: Version,
    callbacks: CallbackSet,
    imports: Vec<(String, String)>,
    memory_bytes_min: u64,
    sha256: [u8; 32],
    reachable: bool,
    frees_lengths: bool,
}

impl Module {
    /// Compiles `wasm`, or takes what `cache` holds of it, and checks it. Takes 0.2 s for a
    /// module of a few hundred KiB: not for a shard's thread.
    ///
    /// # Errors
    /// When it is no proxy-wasm module that this host can run.
    pub fn compile(
        engine: &Engine,
        wasm: &[u8],
        cache: Option<&Path>,
    ) -> Result<Module, LoadError> {
        let sha256 = digest(wasm);
        let module = cache::compile(engine.wasmtime(), wasm, &sha256, cache)
            .map_err(|error| not_wasm(&error))?;
        let Checked { version, callbacks, memory_bytes_min, problems } = Checked::of(&module);
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem);
        }
        let version = version.ok_or(LoadError::NoAbi)?;
        let imports: Vec<_> = module
            .imports()
            .map(|import| (import.module().to_owned(), import.name().to_owned()))
            .collect();
        let reachable = imports.iter().any(|(_, name)| REACHING.contains(&name.as_str()));
        let frees_lengths = module.get_export(lengths::EXPORT).is_some();
        let pre = engine.linker().instantiate_pre(&module).map_err(|error| not_wasm(&error))?;
        let inner = Inner {
            pre,
            version,
            callbacks,
            imports,
            memory_bytes_min,
            sha256,
            reachable,
            frees_lengths,
        };
        Ok(Module { inner: Arc::new(inner) })
    }

    /// The edition of the ABI that it was built for; the newest of the markers it exports.
    pub fn version(&self) -> Version {
        self.inner.version
    }

    /// The callbacks that it exports.
    #[inline]
    pub fn callbacks(&self) -> CallbackSet {
        self.inner.callbacks
    }

    /// Whether something can come to one of its exchanges between its callbacks for it: the answer
    /// to a call, or what the guest does while another context's callback runs.
    #[inline]
    pub(crate) fn is_reachable(&self) -> bool {
        self.inner.reachable
    }

    /// Whether what it makes of bodies may be of any length; see `abi::lengths`.
    pub(crate) fn frees_lengths(&self) -> bool {
        self.inner.frees_lengths
    }

    /// What it imports: module and name.
    pub fn imports(&self) -> &[(String, String)] {
        &self.inner.imports
    }

    /// The memory that it has from the start.
    pub fn memory_bytes_min(&self) -> u64 {
        self.inner.memory_bytes_min
    }

    /// The digest of its bytes.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.inner.sha256
    }

    pub(crate) fn pre(&self) -> &InstancePre<State> {
        &self.inner.pre
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("sha256", &hex(&self.inner.sha256))
            .field("version", &self.inner.version)
            .finish_non_exhaustive()
    }
}

/// The hostcalls without which nothing comes to an exchange from outside its own callbacks.
const REACHING: [&str; 4] =
    ["proxy_set_effective_context", "proxy_http_call", "proxy_grpc_call", "proxy_grpc_stream"];

/// What the compiler said, on one line: it goes to logs.
pub(crate) fn not_wasm(error: &wasmtime::Error) -> LoadError {
    let reason = format!("{error:#}");
    LoadError::NotWasm { reason: reason.split_whitespace().collect::<Vec<_>>().join(" ") }
}

/// The SHA-256 of `bytes`.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A digest as people write it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a module shows of itself, and everything about it that the ABI doesn't allow.
pub(crate) struct Checked {
    /// The newest edition whose marker is exported.
    pub(crate) version: Option<Version>,
    pub(crate) callbacks: CallbackSet,
    /// 0 where it exports no memory.
    pub(crate) memory_bytes_min: u64,
    pub(crate) problems: Vec<LoadError>,
}

impl Checked {
    pub(crate) fn of(module: &wasmtime::Module) -> Checked {
        let mut problems = Vec::new();
        let marked = |version: &&Version| module.get_export(version.marker()).is_some();
        let version = Version::ALL.iter().rev().find(marked).copied();
        if version.is_none() {
            problems.push(LoadError::NoAbi);
        }
        problems.extend(module.imports().filter_map(|import| check_import(&import)));
        let callbacks = check_exports(module, &mut problems);
        let memory_bytes_min = match module.get_export(callbacks::MEMORY) {
            Some(ExternType::Memory(memory)) => memory.minimum().saturating_mul(memory.page_size()),
            _ => {
                problems.push(LoadError::Export { name: callbacks::MEMORY });
                0
            }
        };
        Checked { version, callbacks, memory_bytes_min, problems }
    }
}

/// Every import must be a hostcall, with the ABI's signature.
fn check_import(import: &ImportType<'_>) -> Option<LoadError> {
    let (module, name) = (import.module().to_owned(), import.name().to_owned());
    let Some(call) = hostcalls::find(&module, &name) else {
        return Some(LoadError::UnknownImport { module, name });
    };
    let fits = match import.ty() {
        ExternType::Func(found) => same_types(&found, call.params, call.results),
        _ => false,
    };
    (!fits).then_some(LoadError::ImportSignature { module, name })
}

/// Every export that the host would call must have the ABI's signature.
fn check_exports(module: &wasmtime::Module, problems: &mut Vec<LoadError>) -> CallbackSet {
    const I: Value = Value::I32;
    let mut fits =
        |name: &'static str, params: &[Value], results: &[Value]| match module.get_export(name) {
            None => false,
            Some(ExternType::Func(found)) if same_types(&found, params, results) => true,
            Some(_) => {
                problems.push(LoadError::Export { name });
                false
            }
        };
    fits(callbacks::INITIALIZE, &[], &[]);
    fits(callbacks::START, &[], &[]);
    if module.get_export(callbacks::INITIALIZE).is_some() {
        fits(callbacks::MAIN, &[I, I], &[I]);
    }
    let mut found = CallbackSet::EMPTY;
    for &callback in Callback::ALL {
        // ABI 0.1.0: header callbacks without `end_of_stream`.
        let heads = matches!(callback, Callback::RequestHeaders | Callback::ResponseHeaders);
        let old = heads && exports(module, callback.name(), &[I, I], &[I]);
        if old || fits(callback.name(), callback.params(), callback.results()) {
            found = found.with(callback);
        }
    }
    let allocates = |name| exports(module, name, &[I], &[I]);
    if !allocates(callbacks::ALLOCATE) && !allocates(callbacks::MALLOC) {
        problems.push(LoadError::Export { name: callbacks::ALLOCATE });
    }
    found
}

/// Whether it exports a function of this name and signature.
fn exports(module: &wasmtime::Module, name: &str, params: &[Value], results: &[Value]) -> bool {
    match module.get_export(name) {
        Some(ExternType::Func(found)) => same_types(&found, params, results),
        _ => false,
    }
}

fn same_types(found: &FuncType, params: &[Value], results: &[Value]) -> bool {
    let same = |found: ValType, expected: &Value| {
        matches!((found, expected), (ValType::I32, Value::I32) | (ValType::I64, Value::I64))
    };
    found.params().len() == params.len()
        && found.results().len() == results.len()
        && found.params().zip(params).all(|(found, expected)| same(found, expected))
        && found.results().zip(results).all(|(found, expected)| same(found, expected))
}
