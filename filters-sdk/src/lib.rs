//! What a filter author imports.
