//! Which endpoint a request goes to: one file per algorithm.
