//! The attribute that turns an impl of Filter into a module's exports.
