//! Modules that make calls: gRPC, and those of an exchange's end.

/// Asks `sim.Auth/Check` of the cluster `auth` about requests whose mark says so: by a call (117,
/// `u`), by a call that it gives up at once (120, `x`), by a stream of two messages each way (115,
/// `s`). A message that begins with `y` lets the request go on, anything else denies it.
///
/// The context is kept under the call's token, with the mark beside it.
pub(super) const GRPC: &str = r#"
    (func $context (param $token i32) (result i32)
        (i32.add (i32.const 2048)
            (i32.mul (i32.const 8) (i32.and (local.get $token) (i32.const 1023)))))
    (func $keep (param $id i32) (param $mark i32)
        (i32.store (call $context (i32.load (i32.const 1024))) (local.get $id))
        (i32.store offset=4 (call $context (i32.load (i32.const 1024))) (local.get $mark)))
    (func $kept (param $token i32) (result i32)
        (i32.load offset=4 (call $context (local.get $token))))
    (func $enter (param $token i32)
        (drop (call $effective (i32.load (call $context (local.get $token))))))
    (func $check (result i32)
        (call $grpc_call (i32.const 48) (i32.const 4) (i32.const 160) (i32.const 8)
            (i32.const 168) (i32.const 5) (i32.const 0) (i32.const 0)
            (i32.const 16) (i32.const 3) (i32.const 1500) (i32.const 1024)))
    (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
        (if (call $is (i32.const 117)) (then
            (if (call $check) (then unreachable))
            (call $keep (local.get $id) (i32.const 117))
            (return (i32.const 1))))
        (if (call $is (i32.const 120)) (then
            (if (call $check) (then unreachable))
            (if (call $grpc_cancel (i32.load (i32.const 1024))) (then unreachable))
            ;; It is gone: 1 is NOT_FOUND.
            (if (i32.ne (call $grpc_cancel (i32.load (i32.const 1024))) (i32.const 1))
                (then unreachable))))
        (if (call $is (i32.const 115)) (then
            (if (call $grpc_stream (i32.const 48) (i32.const 4) (i32.const 160) (i32.const 8)
                    (i32.const 168) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 1024))
                (then unreachable))
            (call $keep (local.get $id) (i32.const 115))
            (if (call $grpc_send
                    (i32.load (i32.const 1024)) (i32.const 16) (i32.const 3) (i32.const 0))
                (then unreachable))
            (return (i32.const 1))))
        (i32.const 0))
    (func (export "proxy_on_grpc_receive") (param i32) (param $token i32) (param $bytes i32)
        (call $enter (local.get $token))
        (if (call $buffer (i32.const 5) (i32.const 0) (i32.const 1) (i32.const 1028)
                (i32.const 1032))
            (then unreachable))
        (if (i32.ne (i32.load8_u (i32.load (i32.const 1028))) (i32.const 121))
            (then (call $deny) (return)))
        (if (i32.eq (call $kept (local.get $token)) (i32.const 117))
            (then (drop (call $continue (i32.const 0))) (return)))
        ;; The stream's first answer is answered by the last message.
        (if (i32.eq (call $kept (local.get $token)) (i32.const 115)) (then
            (i32.store offset=4 (call $context (local.get $token)) (i32.const 1))
            (drop (call $grpc_send
                (local.get $token) (i32.const 16) (i32.const 3) (i32.const 1))))))
    (func (export "proxy_on_grpc_receive_initial_metadata") (param i32) (param $token i32)
        (param i32)
        ;; Of streams alone.
        (if (i32.eq (call $kept (local.get $token)) (i32.const 117)) (then unreachable)))
    (func (export "proxy_on_grpc_close") (param i32) (param $token i32) (param $status i32)
        (call $enter (local.get $token))
        (drop (call $grpc_close (local.get $token)))
        (if (i32.or (local.get $status)
                (i32.eq (call $kept (local.get $token)) (i32.const 117)))
            (then (call $deny))
            (else (drop (call $continue (i32.const 0))))))"#;

/// Asks the cluster `auth` when an exchange is over and waits for that with its end, at which it
/// asks once more. Responses show how many such ends there were, as the letters behind `0`.
///
/// The context is kept under the call's token.
pub(super) const REPORT: &str = r#"
    (global $root (mut i32) (i32.const 0))
    (global $count (mut i32) (i32.const 48))
    (func $context (param $token i32) (result i32)
        (i32.add (i32.const 2048)
            (i32.mul (i32.const 4) (i32.and (local.get $token) (i32.const 1023)))))
    (func $ask (param $id i32)
        (if (call $call (i32.const 48) (i32.const 4) (i32.const 80) (i32.const 61) (i32.const 16)
                (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 1024))
            (then unreachable))
        (i32.store (call $context (i32.load (i32.const 1024))) (local.get $id)))
    (func (export "proxy_on_configure") (param $root i32) (param i32) (result i32)
        (global.set $root (local.get $root))
        (i32.const 1))
    (func (export "proxy_on_done") (param $id i32) (result i32)
        (if (i32.eq (local.get $id) (global.get $root)) (then (return (i32.const 1))))
        (call $ask (local.get $id))
        (i32.const 0))
    (func (export "proxy_on_http_call_response") (param i32) (param $token i32)
        (param i32 i32 i32)
        ;; Of the second call, which nothing waits for, the context is gone.
        (if (i32.eqz (call $effective (i32.load (call $context (local.get $token)))))
            (then (drop (call $done)))))
    (func (export "proxy_on_log") (param $id i32)
        (if (i32.eq (local.get $id) (global.get $root)) (then (return)))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (call $ask (local.get $id)))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (i32.store8 (i32.const 1040) (global.get $count))
        (drop (call $add (i32.const 2) (i32.const 56) (i32.const 7) (i32.const 1040) (i32.const 1)))
        (i32.const 0))"#;

/// Keeps a stream of `sim.Auth/Watch` open in the root's name, and shows in responses how many
/// messages came on it, as the letters behind `0`.
pub(super) const WATCH: &str = r#"
    (global $open (mut i32) (i32.const 0))
    (global $count (mut i32) (i32.const 48))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $tick (i32.const 1000))))
    (func (export "proxy_on_tick") (param i32)
        (if (global.get $open) (then (return)))
        (if (call $grpc_stream (i32.const 48) (i32.const 4) (i32.const 160) (i32.const 8)
                (i32.const 176) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 1024))
            (then unreachable))
        (global.set $open (i32.const 1)))
    (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1))))
    (func (export "proxy_on_grpc_close") (param i32 i32 i32)
        (global.set $open (i32.const 0)))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (i32.store8 (i32.const 1040) (global.get $count))
        (drop (call $add (i32.const 2) (i32.const 56) (i32.const 7) (i32.const 1040) (i32.const 1)))
        (i32.const 0))"#;
