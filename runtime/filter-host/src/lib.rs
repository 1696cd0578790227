//! Hosts WASM filters: load, limit, call, answer their hostcalls.
