//! Filters of raw connections. Each keeps what it knows of one in a word of its own.

/// Every third piece waits for more, or for the end.
pub(super) const HOLD: &str = r#"
    (global $turn (mut i32) (i32.const 0))
    (func $hold (param $end i32) (result i32)
        (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
        (i32.and (i32.eqz (local.get $end))
            (i32.eqz (i32.rem_u (global.get $turn) (i32.const 3)))))
    (func (export "proxy_on_downstream_data") (param i32 i32) (param $end i32) (result i32)
        (call $hold (local.get $end)))
    (func (export "proxy_on_upstream_data") (param i32 i32) (param $end i32) (result i32)
        (call $hold (local.get $end)))"#;

/// `$prepend` puts "yes" in front of the first bytes of a buffer, `$strip` takes it away; 121 is
/// its first letter. The buffer's number marks the half in the connection's word.
const YES: &str = r#"
    (func $word (param $id i32) (result i32)
        (i32.add (i32.const 4096)
            (i32.mul (i32.const 4) (i32.and (local.get $id) (i32.const 1023)))))
    (func (export "proxy_on_context_create") (param $id i32) (param i32)
        (i32.store (call $word (local.get $id)) (i32.const 0)))
    (func $is_first (param $id i32) (param $flag i32) (result i32)
        (i32.eqz (i32.and (local.get $flag) (i32.load (call $word (local.get $id))))))
    (func $note (param $id i32) (param $flag i32)
        (i32.store (call $word (local.get $id))
            (i32.or (local.get $flag) (i32.load (call $word (local.get $id))))))
    (func $prepend (param $id i32) (param $buffer i32) (result i32)
        (if (call $is_first (local.get $id) (local.get $buffer))
            (then
                (call $note (local.get $id) (local.get $buffer))
                (if (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const 0)
                        (i32.const 16) (i32.const 3))
                    (then unreachable))))
        (i32.const 0))
    (func $strip (param $id i32) (param $buffer i32) (result i32)
        (if (call $is_first (local.get $id) (local.get $buffer))
            (then
                (call $note (local.get $id) (local.get $buffer))
                (if (call $buffer (local.get $buffer) (i32.const 0) (i32.const 3)
                        (i32.const 1024) (i32.const 1028))
                    (then unreachable))
                (if (i32.ne (i32.load (i32.const 1028)) (i32.const 3)) (then unreachable))
                (if (i32.ne (i32.load8_u (i32.load (i32.const 1024))) (i32.const 121))
                    (then unreachable))
                (if (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const 3)
                        (i32.const 16) (i32.const 0))
                    (then unreachable))))
        (i32.const 0))"#;

/// Puts "yes" before all that a client sends, and takes it from what an endpoint does.
pub(super) fn wrap() -> String {
    format!(
        r#"{YES}
        (func (export "proxy_on_downstream_data") (param $id i32) (param i32 i32) (result i32)
            (call $prepend (local.get $id) (i32.const 2)))
        (func (export "proxy_on_upstream_data") (param $id i32) (param i32 i32) (result i32)
            (call $strip (local.get $id) (i32.const 3)))"#
    )
}

/// The other way round: behind `wrap`, nothing is changed.
pub(super) fn unwrap() -> String {
    format!(
        r#"{YES}
        (func (export "proxy_on_downstream_data") (param $id i32) (param i32 i32) (result i32)
            (call $strip (local.get $id) (i32.const 2)))
        (func (export "proxy_on_upstream_data") (param $id i32) (param i32 i32) (result i32)
            (call $prepend (local.get $id) (i32.const 3)))"#
    )
}

/// Traps at each fifth piece from downstream.
pub(super) const TRIP: &str = r#"
    (global $turn (mut i32) (i32.const 0))
    (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
        (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
        (if (i32.eqz (i32.rem_u (global.get $turn) (i32.const 5))) (then unreachable))
        (i32.const 0))"#;

/// Holds a connection until the cluster `auth` was asked.
pub(super) const KNOCK: &str = r#"
    (func (export "proxy_on_new_connection") (param $id i32) (result i32)
        (if (call $call (i32.const 48) (i32.const 4) (i32.const 80) (i32.const 61) (i32.const 16)
                (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 1024))
            (then unreachable))
        (i32.store (call $slot (i32.load (i32.const 1024))) (local.get $id))
        (i32.const 1))
    (func $slot (param $token i32) (result i32)
        (i32.add (i32.const 4096)
            (i32.mul (i32.const 4) (i32.and (local.get $token) (i32.const 1023)))))
    (func (export "proxy_on_http_call_response")
        (param i32) (param $token i32) (param i32 i32 i32)
        (drop (call $effective (i32.load (call $slot (local.get $token)))))
        (if (call $granted)
            (then (drop (call $continue (i32.const 2))))
            (else (drop (call $close (i32.const 2))))))"#;

/// Holds all that comes, and lets it go at each tick: 20 ms apart.
pub(super) const TICK: &str = r#"
    (global $count (mut i32) (i32.const 0))
    (func $word (param $number i32) (result i32)
        (i32.add (i32.const 4096)
            (i32.mul (i32.const 4) (i32.and (local.get $number) (i32.const 63)))))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $tick (i32.const 20))))
    (func (export "proxy_on_new_connection") (param $id i32) (result i32)
        (i32.store (call $word (global.get $count)) (local.get $id))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.const 1))
    (func (export "proxy_on_tick") (param i32) (local $number i32)
        (loop $next
            (if (i32.eqz (call $effective (i32.load (call $word (local.get $number)))))
                (then
                    (drop (call $continue (i32.const 2)))
                    (drop (call $continue (i32.const 3)))))
            (local.set $number (i32.add (local.get $number) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $number) (i32.const 64)))))
    (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) (i32.const 1))
    (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32) (i32.const 1))"#;

/// Closes each connection at once.
pub(super) const SHUT: &str = r#"
    (func (export "proxy_on_new_connection") (param i32) (result i32)
        (drop (call $close (i32.const 2)))
        (i32.const 1))"#;

/// Holds each connection for good.
pub(super) const STALL: &str = r#"
    (func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 1))"#;

/// Lets connections go, and holds what comes of them for good.
pub(super) const STICK: &str = r#"
    (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) (i32.const 1))"#;

/// Sees no bytes, and has to hear of the end of each connection that it heard of: it counts them,
/// and traps at the first that it hears the end of twice.
pub(super) const END: &str = r#"
    (global $open (mut i32) (i32.const 0))
    (func (export "proxy_on_new_connection") (param i32) (result i32)
        (global.set $open (i32.add (global.get $open) (i32.const 1)))
        (i32.const 0))
    (func (export "proxy_on_upstream_connection_close") (param i32 i32))
    (func (export "proxy_on_downstream_connection_close") (param i32 i32)
        (if (i32.eqz (global.get $open)) (then unreachable))
        (global.set $open (i32.sub (global.get $open) (i32.const 1))))"#;
