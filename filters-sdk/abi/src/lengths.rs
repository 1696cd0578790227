//! The optional export that spares authors a field.
//!
//! A head says how long its body is before a filter has seen it. A filter that changes the length
//! has to take `content-length` away first, as in Envoy: what is left standing is held to, and a
//! body that comes out longer or shorter is cut. A module that exports [`EXPORT`] has that done
//! for it:
//!
//! * Signature: `penstock_frees_lengths()`; never called.
//! * Where such a module looks at a body, its head says no length on its way on, unless all of the
//!   body has come out of the filters before the head leaves.
//! * Other hosts know nothing of it. A module that is to run there takes the field away itself.

/// The name of the export.
pub const EXPORT: &str = "penstock_frees_lengths";
