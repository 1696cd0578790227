//! The contract between host and filter: proxy-wasm 0.2.1, numbers and names.
