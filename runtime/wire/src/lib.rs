//! Protocol codecs: bytes in, messages out, no I/O.
