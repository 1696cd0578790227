"""WebSockets with the client and the server of PyPI's websockets, over HTTP/2 with PyPI's h2.

    frames.py serve                          serves, says its port, until its input ends
    frames.py ask HTTP1|HTTP2 ADDRESS [CA NAME]
                                             makes every check of `CHECKS`, over TLS where a CA is
                                             given; a line for each that went right, exit code 1
                                             if one did not
    frames.py hold HTTP1|HTTP2 ADDRESS       opens a socket, says so, and with what it was closed
    frames.py codes ADDRESS                  says what the server's sockets were closed with
"""

import asyncio
import os
import resource
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side

PATIENCE = 60
MANY = 1000
LARGE = 10 << 20


async def serving():
    """Sends back what it gets, but for what begins with `close` or asks for something."""
    codes, now = [], set()

    async def handle(socket):
        now.add(socket)
        try:
            async for message in socket:
                if isinstance(message, str) and message.startswith("close "):
                    await socket.close(int(message.split()[1]), "because")
                elif message == "open?":
                    await socket.send(str(len(now)))
                elif message == "codes?":
                    await socket.send(" ".join(map(str, codes)))
                else:
                    await socket.send(message)
        except ConnectionClosed:
            pass
        now.discard(socket)
        codes.append(socket.close_code)

    async with serve(handle, "127.0.0.1", 0, max_size=None, ping_interval=None,
                     backlog=1024) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


class Tunnel:
    """A WebSocket on a stream of HTTP/2 (RFC 8441), with websockets' own frames."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.frames = Protocol(Side.CLIENT, max_size=None)
        self.events, self.parts, self.close_code = asyncio.Queue(), [], None
        self.opened = asyncio.get_running_loop().create_future()
        self.room = asyncio.Event()

    async def send(self, message):
        if isinstance(message, (str, bytes)):
            message = [message]
        for at, part in enumerate(message):
            last, text = at + 1 == len(message), isinstance(part, str)
            bytes_ = part.encode() if text else part
            if at > 0:
                self.frames.send_continuation(bytes_, fin=last)
            elif text:
                self.frames.send_text(bytes_, fin=last)
            else:
                self.frames.send_binary(bytes_, fin=last)
            await self.flush()

    async def flush(self):
        for data in self.frames.data_to_send():
            if data == b"":
                self.connection.h2.end_stream(self.number)
            while data:
                room = self.connection.h2.local_flow_control_window(self.number)
                room = min(room, self.connection.h2.max_outbound_frame_size, len(data))
                if room == 0:
                    self.room.clear()
                    await self.connection.flush()
                    await self.room.wait()
                    continue
                self.connection.h2.send_data(self.number, data[:room])
                data = data[room:]
        await self.connection.flush()

    def received(self, data):
        self.frames.receive_data(data)
        self.look()

    def ended(self):
        self.frames.receive_eof()
        self.look()

    def look(self):
        for frame in self.frames.events_received():
            self.events.put_nowait(frame)
        if self.frames.close_rcvd is not None:
            self.close_code = self.frames.close_rcvd.code
        if self.frames.state.name in ("CLOSING", "CLOSED"):
            self.events.put_nowait(None)
        asyncio.ensure_future(self.flush())

    async def recv(self):
        while True:
            frame = await self.events.get()
            if frame is None or frame.opcode is Opcode.CLOSE:
                return None
            if frame.opcode is Opcode.PONG:
                return b"pong " + bytes(frame.data)
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                self.parts, self.text = [], frame.opcode is Opcode.TEXT
            self.parts.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(self.parts)
                return whole.decode() if self.text else whole

    async def ping(self, data):
        self.frames.send_ping(data)
        await self.flush()
        assert await self.recv() == b"pong " + data

    async def close(self, code, reason=""):
        self.frames.send_close(code, reason)
        await self.flush()
        while await self.recv() is not None:
            pass


class Http2:
    """A connection of HTTP/2, and its tunnels."""

    def __init__(self, address, tls):
        self.address, self.tls, self.tunnels, self.partial = address, tls, {}, b""

    async def open(self):
        host, port = self.address.rsplit(":", 1)
        context, name = self.tls or (None, None)
        if context:
            context.set_alpn_protocols(["h2"])
        self.reader, self.writer = await asyncio.open_connection(
            host, int(port), ssl=context, server_hostname=name)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)
        self.ready = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self.read())
        await self.flush()
        await self.ready
        return self

    async def flush(self):
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def read(self):
        while data := await self.reader.read(65536):
            for event in self.h2.receive_data(self.without_goaway(data)):
                self.take(event)
            await self.flush()
        for tunnel in self.tunnels.values():
            tunnel.ended()

    def without_goaway(self, data):
        """Streams go on behind a GOAWAY (RFC 9113 6.8), but not in h2: it is not shown any."""
        self.partial += data
        whole = b""
        while len(self.partial) >= 9:
            length = 9 + int.from_bytes(self.partial[:3], "big")
            if len(self.partial) < length:
                break
            if self.partial[3] != 7:
                whole += self.partial[:length]
            self.partial = self.partial[length:]
        return whole

    def take(self, event):
        tunnel = self.tunnels.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RemoteSettingsChanged) and not self.ready.done():
            # RFC 8441 §3.
            assert self.h2.remote_settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
            self.ready.set_result(None)
        elif isinstance(event, h2.events.WindowUpdated):
            for tunnel in self.tunnels.values():
                tunnel.room.set()
        elif tunnel is None:
            pass
        elif isinstance(event, h2.events.ResponseReceived):
            tunnel.opened.set_result(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            tunnel.received(event.data)
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            tunnel.ended()

    async def tunnel(self):
        number = self.h2.get_next_available_stream_id()
        tunnel = self.tunnels[number] = Tunnel(self, number)
        name = self.tls[1] if self.tls else "localhost"
        self.h2.send_headers(number, [
            (":method", "CONNECT"), (":protocol", "websocket"), (":path", "/chat"),
            (":scheme", "https" if self.tls else "http"), (":authority", name),
            ("sec-websocket-version", "13")])
        await self.flush()
        head = await tunnel.opened
        assert head[b":status"] == b"200", head
        assert b"sec-websocket-accept" not in head, head
        return tunnel


class Socket:
    """The same over HTTP/1.1, where websockets does everything."""

    def __init__(self, socket):
        self.socket, self.send = socket, socket.send

    @property
    def close_code(self):
        return self.socket.close_code

    async def recv(self):
        try:
            return await self.socket.recv()
        except ConnectionClosed:
            return None

    async def ping(self, data):
        await (await self.socket.ping(data))

    async def close(self, code, reason=""):
        await self.socket.close(code, reason)


class Peer:
    """Opens sockets over one version of HTTP or the other."""

    def __init__(self, version, address, tls):
        self.version, self.address, self.tls, self.connections = version, address, tls, []

    async def open(self):
        if self.version == "HTTP1":
            context, name = self.tls or (None, None)
            scheme = "wss" if context else "ws"
            more = {"ssl": context, "server_hostname": name} if context else {}
            host, port = self.address.rsplit(":", 1)
            return Socket(await connect(
                f"{scheme}://{name or host}:{port}/chat", host=host, port=int(port),
                max_size=None, ping_interval=None, open_timeout=PATIENCE, proxy=None, **more))
        if not self.connections or len(self.connections[-1].tunnels) == 100:
            self.connections.append(await Http2(self.address, self.tls).open())
        return await self.connections[-1].tunnel()


async def text_and_bytes(peer):
    socket = await peer.open()
    for message in ["hello", "", "\u00fc\u20ac\U0001f600", b"", b"\0\xff" * 5000, "x" * 70000]:
        await socket.send(message)
        assert await socket.recv() == message
    await socket.close(1000)


async def fragments(peer):
    socket = await peer.open()
    await socket.send(["a", "b" * 1000, "", "c" * 70000])
    assert await socket.recv() == "a" + "b" * 1000 + "c" * 70000
    await socket.send([b"1", b"2", b"3"])
    assert await socket.recv() == b"123"
    await socket.close(1000)


async def pings(peer):
    socket = await peer.open()
    for data in [b"", b"x" * 125]:
        await socket.ping(data)
    await socket.send("still there")
    assert await socket.recv() == "still there"
    await socket.close(1000)


async def our_close(peer):
    for code in [1000, 1001, 3000, 4999]:
        socket = await peer.open()
        await socket.close(code, "why" * 20)
        assert socket.close_code == code, socket.close_code
    # The server has answered before it takes note.
    socket, codes = await peer.open(), set()
    while not {"1000", "1001", "3000", "4999"} <= codes:
        await asyncio.sleep(0.05)
        await socket.send("codes?")
        codes = set((await socket.recv()).split())


async def their_close(peer):
    for code in [1000, 1011, 4000]:
        socket = await peer.open()
        await socket.send(f"close {code}")
        assert await socket.recv() is None
        assert socket.close_code == code, socket.close_code


async def large(peer):
    socket = await peer.open()
    message = os.urandom(LARGE)
    await asyncio.gather(socket.send(message), expect(socket, message))
    await socket.close(1000)


async def expect(socket, message):
    assert await socket.recv() == message


async def many(peer):
    sockets = []
    for _ in range(MANY):
        sockets.append(await peer.open())
    await sockets[0].send("open?")
    assert int(await sockets[0].recv()) >= MANY

    async def say(number, socket):
        await socket.send(f"number {number}")
        assert await socket.recv() == f"number {number}"

    await asyncio.gather(*(say(number, socket) for number, socket in enumerate(sockets)))
    await asyncio.gather(*(socket.close(1000) for socket in sockets))


CHECKS = [text_and_bytes, fragments, pings, our_close, their_close, large, many]


async def ask(version, address, ca=None, name=None):
    tls = (ssl.create_default_context(cafile=ca), name) if ca else None
    failed = 0
    for check in CHECKS:
        try:
            await asyncio.wait_for(check(Peer(version, address, tls)), PATIENCE)
            print("ok", check.__name__, flush=True)
        except Exception as error:
            failed += 1
            print("FAILED", check.__name__, repr(error), flush=True)
    return failed


async def hold(version, address):
    socket = await Peer(version, address, None).open()
    print("open", flush=True)
    assert await asyncio.wait_for(socket.recv(), PATIENCE) is None
    print(socket.close_code, flush=True)
    return 0


async def codes(address):
    socket = await Peer("HTTP1", address, None).open()
    await socket.send("codes?")
    print(await socket.recv(), flush=True)
    return 0


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    verb, *more = sys.argv[1:]
    if verb == "serve":
        asyncio.run(serving())
        return 0
    return min(1, asyncio.run({"ask": ask, "hold": hold, "codes": codes}[verb](*more)))


if __name__ == "__main__":
    sys.exit(main())
