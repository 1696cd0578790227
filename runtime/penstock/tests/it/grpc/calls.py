"""gRPC calls with the client and the server of PyPI's grpcio.

    calls.py serve                  serves, says its port, until its input ends; over TLS with the
                                    files that SERVE_CERT and SERVE_KEY name
    calls.py ask ADDRESS [CA NAME]  makes every call of `CALLS`, over TLS where a CA is given;
                                    a line for each that went right, exit code 1 if one did not
    calls.py hold ADDRESS           opens a stream, and ends it well after its input has ended
    calls.py web ADDRESS            calls by gRPC-Web over HTTP/1.1, in both of its forms

Bytes are messages: no protocol buffers are needed to carry them.
"""

import base64
import http.client
import os
import struct
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "sim.Echo"
COUNTS = {"ended": 0, "open": 0}
LOCK = threading.Lock()


def count(name, step):
    with LOCK:
        COUNTS[name] += step


class Echo(grpc.GenericRpcHandler):
    """What the calls are answered with."""

    def service(self, details):
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Hang": grpc.unary_stream_rpc_method_handler(self.hang),
            "Left": grpc.unary_unary_rpc_method_handler(self.left),
            "Count": grpc.unary_unary_rpc_method_handler(
                lambda name, _: b"%d" % COUNTS[name.decode()]),
        }
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(self.health)
        return kinds.get(details.method.removeprefix(f"/{SERVICE}/"))

    def health(self, message, context):
        """Service 1 is a string: the whole server and sim.Echo serve, sim.Broken does not."""
        if message in (b"", b"\x0a\x08sim.Echo"):
            return b"\x08\x01"
        if message == b"\x0a\x0asim.Broken":
            return b"\x08\x02"
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")

    def unary(self, message, context):
        asked = dict(context.invocation_metadata())
        back = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-back")]
        context.send_initial_metadata([("x-head" + k.removeprefix("x-back"), v) for k, v in back])
        context.set_trailing_metadata(back)
        if "x-code" in asked:
            code = next(c for c in grpc.StatusCode if c.value[0] == int(asked["x-code"]))
            context.abort(code, asked.get("x-details", ""))
        return message

    def down(self, message, _):
        count, size = map(int, message.split())
        for number in range(count):
            yield b"%08d" % number + b"d" * (size - 8)

    def up(self, messages, _):
        count("open", 1)
        sizes = [len(message) for message in messages]
        count("open", -1)
        return b"%d %d" % (len(sizes), sum(sizes))

    def both(self, messages, _):
        for message in messages:
            yield message

    def hang(self, message, context):
        context.add_callback(lambda: count("ended", 1))
        yield message
        while context.is_active():
            time.sleep(0.01)

    def left(self, _, context):
        return b"%d" % int(context.time_remaining() * 1000)


def serve():
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
               ("grpc.max_concurrent_streams", 2000)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1100), options=options)
    server.add_generic_rpc_handlers((Echo(),))
    if "SERVE_CERT" in os.environ:
        with open(os.environ["SERVE_KEY"], "rb") as key, open(os.environ["SERVE_CERT"], "rb") as cert:
            credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
        print(server.add_secure_port("127.0.0.1:0", credentials), flush=True)
    else:
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    # A line: no new calls, and those under way may end. The end of the input: no calls at all.
    if sys.stdin.readline():
        print("stopping", flush=True)
        server.stop(20).wait()
    else:
        server.stop(None).wait()


def path(method):
    return f"/{SERVICE}/{method}"


def unary(channel, message=b"hello", method="Unary", **more):
    return channel.unary_unary(path(method))(message, timeout=more.pop("timeout", 20), **more)


def counted(channel, name):
    return int(unary(channel, name.encode(), method="Count"))


def wait_for(done):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def a_message_comes_back(channel):
    assert unary(channel) == b"hello"
    assert unary(channel, b"") == b""


def four_megabytes_pass_both_ways(channel):
    message = bytes(range(256)) * (4 * 1024 * 1024 // 256)
    assert unary(channel, message) == message


def a_server_streams(channel):
    seen = list(channel.unary_stream(path("Down"))(b"500 3000", timeout=20))
    assert [int(message[:8]) for message in seen] == list(range(500))
    assert all(len(message) == 3000 for message in seen)


def a_client_streams(channel):
    messages = (b"u" * size for size in range(1000))
    answer = channel.stream_unary(path("Up"))(messages, timeout=20)
    assert answer == b"1000 %d" % sum(range(1000)), answer


def both_stream_and_wait_for_each_other(channel):
    turn = threading.Semaphore(1)

    def messages():
        for number in range(200):
            # The next goes out only when the one before came back: nothing may be held.
            assert turn.acquire(timeout=10)
            yield b"%d" % number

    for number, answer in enumerate(channel.stream_stream(path("Both"))(messages(), timeout=20)):
        assert int(answer) == number
        turn.release()
    assert number == 199


def every_status_comes_through(channel):
    for code in grpc.StatusCode:
        if code == grpc.StatusCode.OK:
            continue
        metadata = [("x-code", str(code.value[0])), ("x-details", f"100 % of {code.name}")]
        try:
            unary(channel, metadata=metadata)
            raise AssertionError(f"{code} came as success")
        except grpc.RpcError as error:
            assert (error.code(), error.details()) == (code, f"100 % of {code.name}"), error


def metadata_comes_through(channel):
    sent = [("x-back-text", "some text"), ("x-back-bytes-bin", bytes(range(256)))]
    answer, call = channel.unary_unary(path("Unary")).with_call(b"m", metadata=sent, timeout=20)
    head, trailers = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert answer == b"m"
    assert head["x-head-text"] == "some text", head
    assert head["x-head-bytes-bin"] == bytes(range(256)), head
    assert trailers["x-back-text"] == "some text", trailers
    assert trailers["x-back-bytes-bin"] == bytes(range(256)), trailers


def a_method_that_is_not_there_is_told_in_the_head_alone(channel):
    try:
        unary(channel, method="Nothing")
        raise AssertionError("it was answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def a_deadline_is_kept_and_passed_on(channel):
    left = int(unary(channel, method="Left", timeout=5))
    # grpcio rounds up when it sends the time.
    assert 0 < left < 5100, left
    begun = time.monotonic()
    try:
        for _ in channel.unary_stream(path("Hang"))(b"h", timeout=0.5):
            pass
        raise AssertionError("it ended well")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert 0.4 < time.monotonic() - begun < 15


def a_client_that_cancels_is_heard_at_the_server(channel):
    before = counted(channel, "ended")
    call = channel.unary_stream(path("Hang"))(b"h", timeout=60)
    assert next(call) == b"h"
    call.cancel()
    wait_for(lambda: counted(channel, "ended") > before)


def a_thousand_streams_are_open_at_once(channel):
    gate, calls = threading.Event(), []

    def messages(number):
        yield b"%d" % number
        assert gate.wait(90)
        yield b"end"

    call = channel.stream_unary(path("Up"))
    for number in range(1000):
        calls.append(call.future(messages(number), timeout=120))
    wait_for(lambda: counted(channel, "open") == 1000)
    gate.set()
    for number, answer in enumerate(calls):
        assert answer.result() == b"2 %d" % (len(str(number)) + 3)


CALLS = [a_message_comes_back, four_megabytes_pass_both_ways, a_server_streams, a_client_streams,
         both_stream_and_wait_for_each_other, every_status_comes_through, metadata_comes_through,
         a_method_that_is_not_there_is_told_in_the_head_alone, a_deadline_is_kept_and_passed_on,
         a_client_that_cancels_is_heard_at_the_server, a_thousand_streams_are_open_at_once]


def ask(address, authority=None, name=None):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    if authority is None:
        channel = grpc.insecure_channel(address, options)
    else:
        with open(authority, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        options.append(("grpc.ssl_target_name_override", name))
        channel = grpc.secure_channel(address, credentials, options)
    failed = 0
    for call in CALLS:
        try:
            call(channel)
            print("ok", call.__name__, flush=True)
        except Exception as error:  # noqa: BLE001: whatever it is, the others are still tried.
            failed += 1
            print("FAILED", call.__name__, type(error).__name__, error, flush=True)
    sys.exit(min(failed, 1))


def hold(address):
    """A stream that goes on behind a GOAWAY: it opens, waits for the input's end, and ends well."""
    channel, gate = grpc.insecure_channel(address), threading.Event()

    def messages():
        yield b"first"
        assert gate.wait(60)
        for number in range(100):
            yield b"%d" % number

    call = channel.stream_stream(path("Both"))(messages(), timeout=90)
    assert next(call) == b"first"
    print("open", flush=True)
    sys.stdin.read()
    gate.set()
    assert [int(answer) for answer in call] == list(range(100))
    print("ok", flush=True)


def frames(body):
    """The frames of a body of gRPC-Web: messages, and the trailers."""
    messages, trailers = [], None
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        content, body = body[5:5 + length], body[5 + length:]
        assert len(content) == length and trailers is None, (flags, length)
        if flags == 0x80:
            lines = content.decode().splitlines()
            trailers = dict(line.split(": ", 1) for line in lines)
        else:
            messages.append(content)
    return messages, trailers


def padded(text):
    """Base64 that is padded wherever its sender flushed."""
    groups = [text[at:at + 4] for at in range(0, len(text), 4)]
    return b"".join(base64.b64decode(group) for group in groups)


def web(address):
    connection = http.client.HTTPConnection(address, timeout=20)

    def ask(method, message, text, **fields):
        kind = "application/grpc-web-text" if text else "application/grpc-web"
        body = struct.pack(">BI", 0, len(message)) + message
        body = base64.b64encode(body) if text else body
        fields |= {"content-type": kind + "+proto", "accept": kind, "x-grpc-web": "1"}
        connection.request("POST", path(method), body, fields)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["content-type"]) == (200, kind), answer.headers
        content = answer.read()
        return answer.headers, frames(padded(content) if text else content)

    for text in [False, True]:
        # Once more on the same connection, each time.
        for size in [0, 1, 70_000]:
            message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            _, (messages, trailers) = ask("Unary", message, text)
            assert messages == [message] and trailers["grpc-status"] == "0", trailers
        _, (messages, trailers) = ask("Down", b"300 2000", text)
        assert [int(message[:8]) for message in messages] == list(range(300))
        assert trailers["grpc-status"] == "0", trailers
        fields = {"x-code": "9", "x-details": "not yet"}
        head, (messages, trailers) = ask("Unary", b"m", text, **fields)
        said = trailers or head
        assert (said["grpc-status"], said["grpc-message"]) == ("9", "not yet"), said
        head, _ = ask("Nothing", b"m", text)
        assert head["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0]), head
    print("ok", flush=True)


if __name__ == "__main__":
    {"serve": serve, "ask": ask, "hold": hold, "web": web}[sys.argv[1]](*sys.argv[2:])
