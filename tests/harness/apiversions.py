"""Asks a broker over the wire what it is: ApiVersions v3, one request, one answer, no client library."""

import socket
import struct

_REQUEST = b"\x00\x12\x00\x03\x00\x00\x00\x07\xff\xff\x00" + b"\x05test\x02\x31" + b"\x00"


def features(bootstrap: str) -> dict[str, int]:
    """The finalized feature levels of the cluster at `host:port`, such as `{"metadata.version": 29}`.

    Apache Kafka in KRaft mode names at least that one; a mock cluster names none. ApiVersions carries no
    release number: `metadata.version` is what a broker says of its own age.
    """
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5) as link:
        link.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
        answer = _exactly(link, struct.unpack(">i", _exactly(link, 4))[0])
    _correlation, error = struct.unpack_from(">ih", answer)
    if error:  # an older broker answers in the layout of version 0, without features
        return {}
    cursor = _Cursor(answer, 6)
    for _ in range(cursor.uvarint() - 1):
        cursor.at += 6
        cursor.tags()
    cursor.at += 4
    return cursor.finalized()


class _Cursor:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def uvarint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def tags(self) -> None:
        for _ in range(self.uvarint()):
            self.uvarint()
            size = self.uvarint()
            self.at += size

    def finalized(self) -> dict[str, int]:
        for _ in range(self.uvarint()):
            tag, size = self.uvarint(), self.uvarint()
            end = self.at + size
            if tag == 2:
                return dict(self._feature() for _ in range(self.uvarint() - 1))
            self.at = end
        return {}

    def _feature(self) -> tuple[str, int]:
        size = self.uvarint() - 1
        name = self.data[self.at : self.at + size].decode()
        (level,) = struct.unpack_from(">h", self.data, self.at + size)
        self.at += size + 4
        self.tags()
        return name, level


def _exactly(link: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = link.recv(count - len(parts))
        if not part:
            raise ConnectionError("the broker closed the connection")
        parts += part
    return parts
