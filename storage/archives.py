"""What an antivirus cannot see in an archive: ClamAV does not unpack ZIP64 (Cisco-Talos/clamav#1527)."""

_LOCAL = b"PK\x03\x04"
_ZIP64_END = b"PK\x06\x06"
_ZIP64_EXTRA = b"\x01\x00"


class Zip64Watch:
    """Fed with a stream, says whether it is a ZIP that has ZIP64 structures; constant memory."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self.found = False

    def feed(self, block: bytes) -> None:
        if len(self._head) < 4:
            self._head += block[: 4 - len(self._head)]
        if self.found or (len(self._head) >= 4 and self._head != _LOCAL):
            return
        data = self._tail + block
        if _ZIP64_END in data:
            self.found = True
        start = 0
        while (position := data.find(_LOCAL, start)) != -1 and not self.found:
            header = data[position : position + 30]
            if len(header) < 30:
                break
            # Sizes of 0xFFFFFFFF in a local header send the reader to a ZIP64 extra field.
            if header[18:22] == b"\xff\xff\xff\xff" or header[22:26] == b"\xff\xff\xff\xff":
                self.found = True
            start = position + 4
        self._tail = data[-64:]
