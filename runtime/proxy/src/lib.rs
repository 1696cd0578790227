//! One connection's life: accept, parse, filter, route, forward, log.
