"""MPTCP version 1 (RFC 8684) on Peers, one for each subflow: where frames have signals in them, otherwise in the headers of segments. Joins
are those of the article JoinChains."""
import hashlib
import hmac
import os
import struct

from keys import PROTECTED, Session, cprf
from peer import Peer
from tcp import Tcp
from wire import ACK, RST, SYN

KIND = 30
CAPABLE, JOIN, DSS, ADD_ADDR, REMOVE_ADDR, PRIO, FASTCLOSE, TCPRST = 0, 1, 2, 3, 4, 5, 7, 8
FIN, LONG_SEQUENCE, MAPPING, LONG_ACK, HAS_ACK = 0x10, 0x08, 0x04, 0x02, 0x01


def option(subtype, low, body=b""):
    return bytes([KIND, 3 + len(body), subtype << 4 | low]) + body


def dss(ack=None, sequence=None, subflow=0, length=0, fin=False):
    """A Data Sequence Signal with 64-bit numbers (3.3)."""
    flags = (FIN if fin else 0) | (HAS_ACK | LONG_ACK if ack is not None else 0) | (MAPPING | LONG_SEQUENCE if sequence is not None else 0)
    body = struct.pack("!Q", ack % 2 ** 64) if ack is not None else b""
    body += struct.pack("!QIH", sequence % 2 ** 64, subflow, length) if sequence is not None else b""
    return option(DSS, 0, bytes([flags]) + body)


RESET = option(TCPRST, 0, b"\0")


def read_dss(raw):
    """(ack, ack's width, mapping or None, DATA_FIN); a mapping is (sequence, subflow, length)."""
    flags, at, ack, width, mapping = raw[3], 4, None, 0, None
    if flags & HAS_ACK:
        width = 8 if flags & LONG_ACK else 4
        ack, at = int.from_bytes(raw[at:at + width], "big"), at + width
    if flags & MAPPING:
        wide = 8 if flags & LONG_SEQUENCE else 4
        sequence, at = int.from_bytes(raw[at:at + wide], "big"), at + wide
        mapping = (sequence, *struct.unpack_from("!IH", raw, at))
    return ack, width, mapping, bool(flags & FIN)


def subtype(raw):
    return raw[2] >> 4 if raw[0] == KIND and len(raw) > 2 else None


def token(key):
    return hashlib.sha256(key).digest()[:4]


class Connection:
    """What the subflows have in common: keys, and both streams, counted from 0."""

    def __init__(self):
        self.key, self.their_key = os.urandom(8), None
        self.sent, self.sends_fin, self.received, self.waiting, self.data_fin, self.told = 0, False, bytearray(), {}, False, 0

    def store(self, offset, data):
        self.waiting[offset] = data
        for start in sorted(self.waiting):
            if start <= len(self.received):
                self.received += self.waiting.pop(start)[len(self.received) - start:]


class MptcpPeer(Peer):
    # A departure: no MP_CAPABLE on the third ACK, as a path may take it away.
    forgets = False

    def __init__(self, tcp, active, plan=None, connection=None, **more):
        self.connection, self.is_capable = connection or Connection(), active
        # How many bytes of this subflow have a mapping, and what the other end has acknowledged on it.
        self.mapped, self.acknowledged = 0, 0
        self.signals, self.headers = [], []
        # Departures: no frames that only acknowledge; acknowledgements in headers, which count for nothing.
        self.silent = self.in_headers = False
        # Whether an end has said that it is TCP from here on, and how often the other one did.
        self.fallen_back, self.fallbacks_heard = False, 0
        super().__init__(tcp, active, plan, **more)

    @property
    def key(self):
        return self.connection.key

    @property
    def their_key(self):
        return self.connection.their_key

    @staticmethod
    def initial(key):
        return int.from_bytes(hashlib.sha256(key).digest()[-8:], "big")

    # MARK: segments

    def options(self, flags):
        if flags & RST:
            return b""
        return self.capable(flags) + super().options(flags)

    def capable(self, flags):
        head = option(CAPABLE, 1, b"\x01")
        if not self.is_capable:
            return b""
        if flags & SYN:
            return head if not flags & ACK else option(CAPABLE, 1, b"\x01" + self.key)
        if self.active and self.channel is None and self.their_key:
            return b"" if self.forgets else option(CAPABLE, 1, b"\x01" + self.key + self.their_key)
        # What is in headers counts where it is not in frames.
        return dss(self.data_ack()) if self.their_key and (self.in_headers or not self.protects()) else b""

    def segment(self, segment):
        found = segment.raw_options(KIND)
        for raw in found:
            if subtype(raw) == CAPABLE and segment.has(SYN):
                self.is_capable = True
                self.connection.their_key = raw[4:12] if segment.has(ACK) else None
            elif subtype(raw) == CAPABLE and len(raw) >= 20:
                self.connection.their_key = raw[4:12]
        if self.channel is not None and self.protects() and self.channel.frames:
            self.check_header(segment, found)
        super().segment(segment)

    def check_header(self, segment, found):
        """What may still stand in headers (ProtectedSignalling, Sending): an acknowledgement, where there is no data; anything in a reset."""
        for raw in [] if segment.has(RST) else found:
            is_ack = subtype(raw) == DSS and not raw[3] & (FIN | MAPPING)
            if is_ack and segment.payload:
                begin = (segment.seq - self.tcp.irs - 1) & 0xFFFFFFFF
                self.headers.append((begin, begin + len(segment.payload)))
            if not is_ack and not (subtype(raw) == CAPABLE and len(raw) == 20):
                self.wrong(f"an MPTCP option in a header although there are keys: {raw.hex()} (ProtectedSignalling, Sending)")

    # MARK: data

    def protects(self):
        return self.tep == PROTECTED

    def data_ack(self):
        return self.initial(self.their_key) + 1 + len(self.connection.received) + self.connection.data_fin

    def send_mapped(self, data, size=1200):
        """Frames of so many bytes each, with their mappings, and acknowledgements in them."""
        for at in range(0, len(data), size):
            piece = data[at:at + size]
            mapping = dss(self.data_ack(), self.end_of_data(), 1 + self.mapped, len(piece))
            self.tcp.write(self.channel.frame(piece, signals=mapping))
            self.mapped += len(piece)
            self.connection.sent += len(piece)

    def end_of_data(self):
        return self.initial(self.key) + 1 + self.connection.sent

    def say(self, *signals):
        self.tcp.write(self.channel.frame(signals=b"".join(signals)))

    def fall_back(self):
        """Says that this end is TCP from here on: a mapping of length 0 and nothing else (Sending)."""
        self.fallen_back = True
        self.say(dss(None, self.end_of_data(), 1 + self.mapped, 0))

    def finish_data(self):
        self.connection.sends_fin = True
        self.say(dss(self.data_ack(), self.end_of_data(), 0, 1, fin=True))

    def work(self):
        super().work()
        if self.channel is None or not self.protects() or not self.their_key:
            return
        for frame in self.channel.frames[len(self.signals):]:
            self.signals.append(frame.signals)
            self.hear(frame)
        now = len(self.connection.received) + self.connection.data_fin
        if now > self.connection.told and not (self.silent or self.fallen_back or self.tcp.fin or self.channel.ended):
            self.connection.told = now
            self.say(dss(self.data_ack()))

    def hear(self, frame):
        """The rules of the article for what a frame says."""
        mappings = []
        for raw in frame.signals:
            if raw[0] != KIND:
                self.wrong(f"a signal that is none of MPTCP's: {raw.hex()}")
            if subtype(raw) == CAPABLE:
                if len(raw) < 22 or not frame.data:
                    self.wrong(f"MP_CAPABLE without a data length in a frame: {raw.hex()}")
                mappings.append((self.initial(self.their_key) + 1, 1, struct.unpack_from("!H", raw, 20)[0]))
            elif subtype(raw) == DSS:
                ack, width, mapping, fin = read_dss(raw)
                if ack is not None:
                    self.hear_ack(ack, width)
                if mapping is not None and mapping[2] == 0:
                    self.hear_fallback(frame, ack, fin)
                elif mapping is not None and mapping[1] > 0:
                    mappings.append(mapping)
                if fin:
                    self.hear_fin(frame, mapping)
        if frame.data and len(mappings) != 1 and not self.fallen_back:
            self.wrong(f"data with {len(mappings)} mappings (ProtectedSignalling, Sending)")
        end = frame.offset + 20 + len(frame.data) + sum(map(len, frame.signals))
        if frame.data and any(start < end and frame.offset < stop for start, stop in self.headers):
            self.wrong("a DSS in the header of a segment with data (ProtectedSignalling, Sending)")
        for sequence, subflow, length in mappings:
            begin = (sequence - self.initial(self.their_key) - 1) % 2 ** 32
            if not subflow - 1 <= frame.at <= frame.at + len(frame.data) <= subflow - 1 + length:
                self.wrong(f"bytes {frame.at} to {frame.at + len(frame.data)} with the mapping {begin}, {subflow}, {length}")
            self.connection.store(begin + frame.at - (subflow - 1), frame.data)

    def hear_fallback(self, frame, ack, fin):
        self.fallen_back, self.fallbacks_heard = True, self.fallbacks_heard + 1
        if frame.data or len(frame.signals) != 1 or ack is not None or fin:
            self.wrong(f"a mapping of length 0 with something else: {frame.signals}, {len(frame.data)} bytes (ProtectedSignalling, Sending)")

    def hear_ack(self, ack, width):
        acknowledged = (ack - self.initial(self.key) - 1) % (2 ** (8 * width))
        if acknowledged > self.connection.sent + self.connection.sends_fin:
            self.wrong(f"acknowledges {acknowledged} bytes of {self.connection.sent}")
        elif acknowledged <= self.acknowledged and self.acknowledged > 0:
            self.wrong(f"an acknowledgement that says no more than the one before: {acknowledged} (ProtectedSignalling, Sending)")
        self.acknowledged = max(self.acknowledged, acknowledged)

    def hear_fin(self, frame, mapping):
        self.connection.data_fin = True
        if mapping is None or not frame.data and mapping[1:] != (0, 1):
            self.wrong(f"DATA_FIN without data, with the mapping {mapping} (ProtectedSignalling, Sending)")

    def said(self, wanted):
        return [raw for signals in self.signals for raw in signals if subtype(raw) == wanted]

    def add_address(self, identifier, address):
        """ADD_ADDR with its HMAC (3.4.1)."""
        digest = hmac.new(self.key + self.their_key, bytes([identifier]) + address + b"\0\0", hashlib.sha256).digest()
        return option(ADD_ADDR, 0, bytes([identifier]) + address + digest[-8:])


class JoinSession(Session):
    """One of a connection's two join chains (JoinChains, 3 and 5)."""

    def __init__(self, first, opener, tep=None):
        tokens = [token(first.key), token(first.their_key)]
        if first.session.role == "B":
            tokens.reverse()
        head = cprf(first.session.secret(first.keys.index), b"\x10" + opener.encode() + b"".join(tokens), 32)
        super().__init__(head, tep or first.tep, first.session.aead, first.session.role)
        self.randoms = b""

    def session_nonce(self, mine, theirs):
        return super().session_nonce(mine, theirs) + self.randoms


class JoinPeer(MptcpPeer):
    """A subflow that the peer opens, of a connection that it opened too."""

    def __init__(self, first, tep=None):
        self.first, self.random, self.their_random = first, os.urandom(4), None
        tcp = Tcp(first.tcp.host, first.tcp.remote_address, first.tcp.remote_port)
        super().__init__(tcp, True, connection=first.connection, teps=(), session=JoinSession(first, first.session.role, tep), nonce=os.urandom(7),
                         eager=True)
        tcp.connect()

    def digest(self, keys, randoms):
        return hmac.new(keys, randoms, hashlib.sha256).digest()

    def capable(self, flags):
        """MP_JOIN in place of MP_CAPABLE (RFC 8684, 3.2)."""
        if flags & SYN:
            return option(JOIN, 0, b"\x03" + token(self.their_key) + self.random)
        if self.heard_non_syn:
            return b""
        return option(JOIN, 0, b"\0" + self.digest(self.key + self.their_key, self.random + self.their_random)[:20])

    def segment(self, segment):
        for raw in segment.raw_options(KIND):
            if subtype(raw) == JOIN and segment.has(SYN) and len(raw) == 16:
                self.their_random = raw[12:16]
                if raw[4:12] != self.digest(self.their_key + self.key, self.their_random + self.random)[:8]:
                    self.wrong("MP_JOIN with another HMAC (RFC 8684, 3.2)")
                self.plan.session.randoms = self.random + self.their_random
        super().segment(segment)

    def begin(self, *arguments):
        super().begin(*arguments)
        # Proves that the secret is known (JoinChains, 4.2).
        self.tcp.write(self.channel.frame())
