//! Micro-benchmarks and load scenarios against peers.
