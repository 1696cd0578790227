//! What a module is, told without running any of it: for tools, not for the data path.

use wasmtime::ExternType;

use crate::abi::{Callback, CallbackSet, Hostcall, Version, hostcalls};
use crate::configured::{CONNECTIONS, EXCHANGES};
use crate::engine::Engine;
use crate::error::LoadError;
use crate::module::{Checked, digest, not_wasm};

/// A module as it stands in its file.
#[derive(Debug, Default)]
pub struct Inspection {
    /// The digest of its bytes: what a configuration pins.
    pub sha256: [u8; 32],
    /// The edition of the ABI that it was built for; `None` if it exports no marker of one.
    pub version: Option<Version>,
    /// The callbacks that it exports, in the ABI's order.
    pub callbacks: Vec<Callback>,
    /// What else it exports that is a function: start, allocator, markers, the author's own.
    pub other_exports: Vec<String>,
    /// What it imports.
    pub imports: Vec<Import>,
    /// The memory that it has from the start.
    pub memory_bytes_min: u64,
    /// Every reason to refuse it; none if a proxy would take it. Whether it starts with its
    /// configuration is not known before it is run.
    pub problems: Vec<LoadError>,
}

/// A function, memory or table that a module imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The module that it is imported from.
    pub module: String,
    /// Its name there.
    pub name: String,
    /// The hostcall that it is; `None` if the host has none of that name.
    pub hostcall: Option<&'static Hostcall>,
}

impl Inspection {
    /// Compiles a module and looks at it. `memory_bytes_max` is what it may have.
    pub fn of(engine: &Engine, wasm: &[u8], memory_bytes_max: u64) -> Inspection {
        let mut inspection = Inspection { sha256: digest(wasm), ..Inspection::default() };
        let module = match wasmtime::Module::from_binary(engine.wasmtime(), wasm) {
            Ok(module) => module,
            Err(error) => {
                inspection.problems.push(not_wasm(&error));
                return inspection;
            }
        };
        let checked = Checked::of(&module);
        let all = Callback::ALL.iter().copied();
        inspection.callbacks = all.filter(|one| checked.callbacks.has(*one)).collect();
        inspection.other_exports = other_exports(&module, checked.callbacks);
        inspection.imports = module
            .imports()
            .map(|import| Import {
                module: import.module().to_owned(),
                name: import.name().to_owned(),
                hostcall: hostcalls::find(import.module(), import.name()),
            })
            .collect();
        inspection.version = checked.version;
        inspection.memory_bytes_min = checked.memory_bytes_min;
        inspection.problems = checked.problems;
        if checked.memory_bytes_min > memory_bytes_max {
            let bytes = checked.memory_bytes_min;
            inspection.problems.push(LoadError::Memory { bytes, max: memory_bytes_max });
        }
        inspection
    }
}

impl Inspection {
    /// Whether it has a callback for exchanges of HTTP.
    pub fn is_for_exchanges(&self) -> bool {
        self.callbacks.iter().any(|one| EXCHANGES.contains(one))
    }

    /// Whether it has a callback for raw connections.
    pub fn is_for_connections(&self) -> bool {
        self.callbacks.iter().any(|one| CONNECTIONS.contains(one))
    }
}

fn other_exports(module: &wasmtime::Module, callbacks: CallbackSet) -> Vec<String> {
    let is_callback = |name: &str| {
        Callback::ALL.iter().any(|callback| callbacks.has(*callback) && callback.name() == name)
    };
    let functions = module.exports().filter(|export| matches!(export.ty(), ExternType::Func(_)));
    functions.map(|export| export.name().to_owned()).filter(|name| !is_callback(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::Inspection;
    use crate::abi::{Callback, Capability};
    use crate::{Engine, EngineSettings};

    fn inspect(text: &str) -> Inspection {
        let engine = EngineSettings { deadlines: false, fuel_max: None };
        let engine = Engine::new(engine).expect("this machine runs WebAssembly");
        Inspection::of(&engine, &wat::parse_str(text).expect("the text is a module"), 16 << 20)
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let inspection = inspect(text);
        let problems: Vec<String> = inspection.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, expected);
    }

    #[test]
    fn says_what_a_module_can_and_wants() {
        let inspection = inspect(
            r#"(module
                (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
                (memory (export "memory") 2)
                (func (export "proxy_abi_version_0_2_1"))
                (func (export "malloc") (param i32) (result i32) (i32.const 8))
                (func (export "proxy_on_log") (param i32)))"#,
        );
        assert!(inspection.problems.is_empty(), "{:?}", inspection.problems);
        assert_eq!(inspection.callbacks, [Callback::Log]);
        assert!(!inspection.is_for_exchanges() && !inspection.is_for_connections());
        assert_eq!(inspection.other_exports, ["proxy_abi_version_0_2_1", "malloc"]);
        let capability = inspection.imports[0].hostcall.map(|call| call.capability);
        assert_eq!(capability, Some(Capability::Log));
        assert_eq!(inspection.memory_bytes_min, 2 << 16);
    }

    #[test]
    fn names_every_problem_at_once() {
        check(
            r#"(module
                (import "env" "proxy_moo" (func))
                (import "env" "proxy_log" (func))
                (memory (export "memory") 65536)
                (func (export "proxy_on_tick")))"#,
            &[
                "no proxy-wasm module: it exports none of proxy_abi_version_0_1_0, _0_2_0, _0_2_1",
                "imports `proxy_moo` from `env`, which this host doesn't know",
                "imports `proxy_log` from `env` with another signature than the ABI's",
                "export `proxy_on_tick` is missing or has another signature than the ABI's",
                "export `proxy_on_memory_allocate` is missing or has another signature than the \
                 ABI's",
                "asks for 4294967296 bytes of memory, at most 16777216 are configured",
            ],
        );
    }
}
