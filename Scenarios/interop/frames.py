"""Encryption frames on a Tcp (RFC 8548, 3.6 to 3.9 and 4.2): sent as a test wants them, received with every rule checked. With TEP 0x20
they carry signals (the article ProtectedSignalling)."""
import collections
import struct

from keys import PROTECTED
from wire import FIN

FINP, URGP, REKEY_BIT = 0x01, 0x02, 0x01
LARGEST = 65535 - 16 - 1
Frame = collections.namedtuple("Frame", "offset rekey fin urgent data generation at signals", defaults=((),))


def options(signals):
    """TCP options one by one, kind and length byte included; None where they are none, or padded."""
    found = []
    while signals:
        if len(signals) < 2 or not 2 <= signals[1] <= len(signals):
            return None
        found.append(signals[:signals[1]])
        signals = signals[signals[1]:]
    return found


class Channel:
    """Both directions after the key exchange. `begin_in` and `begin_out` are where frames begin in the datastreams."""

    def __init__(self, tcp, keys, begin_in):
        self.tcp, self.keys = tcp, keys
        self.next_in, self.next_out = begin_in, len(tcp.tx)
        self.generation_in = self.generation_out = 0
        self.has_signals = keys.session.tep == PROTECTED
        self.frames, self.received, self.ended, self.failed = [], bytearray(), False, False
        # Whether a rekey of the other end is answered at once, as it must be. Off only to bring about a crossing, or a dead peer.
        self.answering, self.answers_owed, self.answers = True, 0, 0

    # MARK: out

    def frame(self, data=b"", fin=False, urgent=None, rekey=False, cres=0, fres=0, signals=b""):
        """Seals one frame for where the last one ended; all that is sealed must be written, in order."""
        if rekey:
            self.generation_out += 1
        return self.seal(data, fin, urgent, rekey, cres or len(signals), fres, signals=signals)

    def seal(self, data=b"", fin=False, urgent=None, rekey=False, cres=0, fres=0, plaintext=None, signals=b""):
        if plaintext is None:
            flags = fres << 2 | (FINP if fin else 0) | (URGP if urgent is not None else 0)
            plaintext = bytes([flags]) + signals + (struct.pack("!H", urgent) if urgent is not None else b"") + data
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
        flags, urgent = plaintext[0], None
        count = raw[0] >> 1 if self.has_signals else 0
        at, signals = 1 + count, options(plaintext[1:1 + count])
        if flags & URGP:
            urgent, at = struct.unpack_from("!H", plaintext, at)[0], at + 2
        if count > 40 or signals is None:
            self.wrong(f"signals that are no options: {plaintext[1:1 + count].hex()} (ProtectedSignalling, Frames)")
        if raw[0] & 0xFE and not self.has_signals:
            self.wrong(f"reserved bits of control are set: {raw[0]:#x} (RFC 8548, 4.2)")
        if flags & 0xFC:
            self.wrong(f"reserved bits of flags are set: {flags:#x} (RFC 8548, 4.2.1)")
        if self.ended:
            self.wrong("a frame after that with FINp (RFC 8548, 3.7)")
        self.generation_in += rekey
        self.frames.append(Frame(self.next_in, bool(rekey), bool(flags & FINP), urgent, plaintext[at:], self.generation_in, len(self.received),
                                 tuple(signals or ())))
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
