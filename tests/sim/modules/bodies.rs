//! Filters that change how long a body is.

/// Puts "yes" in front of each piece of both bodies, and leaves the heads' lengths standing.
pub(super) const GROW: &str = r#"
    (func $grow (param $buffer i32) (result i32)
        (if (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const 0)
                (i32.const 16) (i32.const 3))
            (then unreachable))
        (i32.const 0))
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (call $grow (i32.const 0)))
    (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
        (call $grow (i32.const 1)))"#;

/// The same, and takes the lengths away.
pub(super) fn free() -> String {
    format!(
        r#"{GROW}
        (func $free (param $map i32) (result i32)
            (if (call $remove (local.get $map) (i32.const 224) (i32.const 14))
                (then unreachable))
            (i32.const 0))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $free (i32.const 0)))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $free (i32.const 2)))"#
    )
}

/// Makes each answer a 204.
pub(super) const EMPTY: &str = r#"
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (if (call $replace (i32.const 2) (i32.const 240) (i32.const 7)
                (i32.const 247) (i32.const 3))
            (then unreachable))
        (i32.const 0))"#;
