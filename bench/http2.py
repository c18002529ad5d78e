"""The client's side of gRPC on HTTP/2 (RFC 9113, HPACK: RFC 7541), no more of it than a load generator needs.

It decodes no headers: it tells the server that its table for them has no room, so that the trailers of a call that
succeeded are always the same few bytes.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK: Final = 1
_END_STREAM: Final = 1
_HEADERS_END: Final = b"\x01\x04"
_DATA_END: Final = b"\x00\x01"
_WINDOW: Final = (1 << 31) - 1
_FIRST_WINDOW: Final = (1 << 16) - 1
_RENEW: Final = 1 << 30
_HEAD: Final = struct.Struct(">HBBBI")
_SETTING: Final = struct.Struct(">HI")
_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW = 1, 2, 4
_RECEIVE: Final = 1 << 18
_TIMEOUT: Final = 60.0
_STATIC_ENTRIES: Final = 61
_POST_HTTP: Final = b"\x83\x86"
_AUTHORIZATION: Final = 23


class Call(NamedTuple):
    """A unary call, ready to send: its path, its credential as a header field, its body as a DATA frame has it."""

    path: str
    credential: bytes
    body: bytes


class Ended(NamedTuple):
    """A call that ended: on which stream, with which gRPC status (as text)."""

    stream: int
    status: str


def make_call(path: str, message: bytes, *, token: str = "") -> Call:
    """Return a call with a serialized request, and a bearer token unless that is empty."""
    # A credential is sent as it is every time, as a proxy for many users sends it: no table has room for them all.
    credential = _literal(0x00, 4, _AUTHORIZATION, f"Bearer {token}") if token else b""
    prefixed = b"\0" + struct.pack(">I", len(message)) + message
    return Call(path, credential, prefixed)


def _number(first: int, bits: int, value: int) -> bytes:
    """Return an integer after a prefix of so many bits (RFC 7541, section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    rest, out = value - most, bytearray([first | most])
    while rest >= 1 << 7:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _string(text: str) -> bytes:
    return _number(0, 7, len(text)) + text.encode()


def _literal(first: int, bits: int, name: int, value: str) -> bytes:
    """Return a header field whose name is in the static table."""
    return _number(first, bits, name) + _string(value)


class _Fields:
    """The header fields that all calls of a connection share: sent once, then by their place in the table."""

    def __init__(self, authority: str) -> None:
        self._shared = (
            _literal(0x40, 6, 1, authority),
            _literal(0x40, 6, 31, "application/grpc"),
            b"\x40" + _string("te") + _string("trailers"),
            _literal(0x40, 6, 58, "usermeta-bench"),
        )
        self._table: list[bytes] = []
        self._known: dict[str, bytes] = {}

    def of(self, path: str) -> bytes:
        """Return the block of fields of a call to a path, all but its credential."""
        known = self._known.get(path)
        if known is not None:
            return known
        entries = len(self._table)
        block = _POST_HTTP + b"".join(map(self._field, (_literal(0x40, 6, 4, path), *self._shared)))
        if len(self._table) > entries:
            self._known.clear()
        else:
            self._known[path] = block
        return block

    def _field(self, literal: bytes) -> bytes:
        if literal in self._table:
            return _number(0x80, 7, _STATIC_ENTRIES + len(self._table) - self._table.index(literal))
        self._table.append(literal)
        return literal


class Connection:
    """A connection to a server that speaks gRPC in plain text."""

    def __init__(self, port: int) -> None:
        """Connect to a port of this machine."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = 0
        self._fields = _Fields(f"127.0.0.1:{port}")
        self._stream = 1
        self._window = _FIRST_WINDOW
        self._unread = 0
        self._rest = b""
        self._out: list[bytes] = []
        self._statuses: dict[bytes, str] = {}
        wanted = ((_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW, _WINDOW))
        settings = b"".join(_SETTING.pack(*setting) for setting in wanted)
        self._out.append(_PREFACE + _frame(_SETTINGS, settings))
        self._out.append(_frame(_WINDOW_UPDATE, (_WINDOW - _FIRST_WINDOW).to_bytes(4)))
        self.flush()

    def fileno(self) -> int:
        """Return the socket's descriptor, so that `select` takes a connection."""
        return self.socket.fileno()

    def room(self, call: Call) -> bool:
        """Tell whether the server lets us send that much now."""
        return len(call.body) <= self._window

    def put(self, call: Call) -> int:
        """Put a call into what `flush` sends; return its stream."""
        stream, body = self._stream, call.body
        self._stream = stream + 2
        self._window -= len(body)
        tail = stream.to_bytes(4)
        block = self._fields.of(call.path)
        length = (len(block) + len(call.credential)).to_bytes(3)
        self._out += (length, _HEADERS_END, tail, block, call.credential)
        self._out += (len(body).to_bytes(3), _DATA_END, tail, body)
        return stream

    def flush(self) -> None:
        """Send what was put."""
        if self._out:
            self.socket.sendall(b"".join(self._out))
            self._out.clear()

    def receive(self) -> Iterator[Ended]:
        """Read what has come, and return the calls that ended.

        Raises:
            ConnectionError: the server went away.
        """
        received = self.socket.recv(_RECEIVE)
        if not received:
            raise ConnectionError("the server closed the connection")
        data = self._rest + received if self._rest else received
        place, size = 0, len(data)
        while size - place >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, place)
            end = place + _HEAD.size + (high << 8 | low)
            if end > size:
                break
            if kind == _DATA:
                self._count(end - place - _HEAD.size)
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    yield Ended(stream, self._status(data[place + _HEAD.size : end]))
            elif kind == _RST_STREAM:
                yield Ended(stream, "reset")
            else:
                self._control(kind, flags, stream, data[place + _HEAD.size : end])
            place = end
        self._rest = data[place:]

    def _count(self, size: int) -> None:
        self.data += size
        self._unread += size
        if self._unread > _RENEW:
            self._out.append(_frame(_WINDOW_UPDATE, self._unread.to_bytes(4)))
            self._unread = 0

    def _status(self, block: bytes) -> str:
        status = self._statuses.get(block)
        if status is None:
            name = b"grpc-status"
            place = block.find(name) + len(name)
            status = block[place + 1 : place + 1 + block[place]].decode() if place >= len(name) else "none"
            self._statuses[block] = status
        return status

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _GOAWAY:
            raise ConnectionError(f"the server ended the connection: {payload!r}")
        if kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload)
        elif kind in {_SETTINGS, _PING} and not flags & _ACK:
            self._out.append(_frame(kind, payload if kind == _PING else b"", _ACK))

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def _frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
    """Return a frame of the connection, which is stream 0."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + bytes(4) + payload
