"""Encryption frames on a Tcp (RFC 8548, 3.6 to 3.9 and 4.2): sent as a test wants them, received with every rule checked."""
import collections
import struct

from wire import FIN

FINP, URGP, REKEY_BIT = 0x01, 0x02, 0x01
LARGEST = 65535 - 16 - 1
Frame = collections.namedtuple("Frame", "offset rekey fin urgent data generation at")


class Channel:
    """Both directions after the key exchange. `begin_in` and `begin_out` are where frames begin in the datastreams."""

    def __init__(self, tcp, keys, begin_in):
        self.tcp, self.keys = tcp, keys
        self.next_in, self.next_out = begin_in, len(tcp.tx)
        self.generation_in = self.generation_out = 0
        self.frames, self.received, self.ended, self.failed = [], bytearray(), False, False
        # Whether a rekey of the other end is answered at once, as it must be. Off only to bring about a crossing, or a dead peer.
        self.answering, self.answers_owed, self.answers = True, 0, 0

    # MARK: out

    def frame(self, data=b"", fin=False, urgent=None, rekey=False, cres=0, fres=0):
        """Seals one frame for where the last one ended; all that is sealed must be written, in order."""
        if rekey:
            self.generation_out += 1
        return self.seal(data, fin, urgent, rekey, cres, fres)

    def seal(self, data=b"", fin=False, urgent=None, rekey=False, cres=0, fres=0, plaintext=None):
        if plaintext is None:
            flags = fres << 2 | (FINP if fin else 0) | (URGP if urgent is not None else 0)
            plaintext = bytes([flags]) + (struct.pack("!H", urgent) if urgent is not None else b"") + data
        out = self.keys.seal(self.generation_out, self.next_out, cres << 1 | (REKEY_BIT if rekey else 0), plaintext)
        self.next_out += len(out)
        return out

    def send(self, data, size=12000, **more):
        """Frames of so many bytes each, written one by one."""
        for at in range(0, len(data), size):
            self.tcp.write(self.frame(data[at:at + size], **more))

    def finish(self, data=b"", **more):
        """The last frame, and the FIN with its last byte."""
        self.tcp.shut(self.frame(data, fin=True, **more))

    # MARK: in

    def work(self):
        """Takes whole frames from what arrived."""
        rx = self.tcp.rx
        while len(rx) >= self.next_in + 3 and not self.failed:
            length = struct.unpack_from("!H", rx, self.next_in + 1)[0]
            if len(rx) < self.next_in + 3 + length:
                break
            self.take(bytes(rx[self.next_in:self.next_in + 3 + length]))
            self.next_in += 3 + length
        self.check_end()

    def take(self, raw):
        rekey = raw[0] & REKEY_BIT
        plaintext = self.keys.open(self.generation_in + rekey, self.next_in, raw)
        if not plaintext:
            self.failed = True
            self.wrong(f"a frame of {len(raw)} bytes that does not authenticate (control {raw[0]:#x}, generation {self.generation_in})")
            return
        flags, at = plaintext[0], 1
        urgent = None
        if flags & URGP:
            urgent, at = struct.unpack_from("!H", plaintext, 1)[0], 3
        if raw[0] & 0xFE:
            self.wrong(f"reserved bits of control are set: {raw[0]:#x} (RFC 8548, 4.2)")
        if flags & 0xFC:
            self.wrong(f"reserved bits of flags are set: {flags:#x} (RFC 8548, 4.2.1)")
        if self.ended:
            self.wrong("a frame after that with FINp (RFC 8548, 3.7)")
        self.generation_in += rekey
        self.frames.append(Frame(self.next_in, bool(rekey), bool(flags & FINP), urgent, plaintext[at:], self.generation_in, len(self.received)))
        self.received += plaintext[at:]
        self.ended = self.ended or bool(flags & FINP)
        if rekey:
            self.rekeyed()

    def rekeyed(self):
        if self.generation_in > self.generation_out:
            self.answers_owed += 1
            self.settle_answers()

    def settle_answers(self):
        """Sends the frames that rekeying obliges to (3.8)."""
        while self.answering and self.answers_owed:
            self.answers_owed -= 1
            self.answers += 1
            if self.tcp.fin:
                self.generation_out += 1
            else:
                self.tcp.write(self.frame(rekey=True))

    def check_end(self):
        """FIN stands on the segment with the last byte of the frame with FINp (3.7)."""
        if self.tcp.ended and not self.ended:
            self.wrong("a FIN without FINp before it (RFC 8548, 3.7)")
        if self.ended and not any(segment.has(FIN) and segment.payload for segment in self.tcp.log):
            self.wrong("no FIN on the segment with the last byte of the frame with FINp (RFC 8548, 3.7)")

    def wrong(self, what):
        if what not in self.tcp.violations:
            self.tcp.violations.append(what)

    def rekeys_in(self):
        return [frame for frame in self.frames if frame.rekey]
