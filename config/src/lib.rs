//! The config language: TOML text to a checked Config.
