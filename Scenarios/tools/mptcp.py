"""What an eavesdropper of an MPTCP connection knows: its keys, and where both streams stand. No program; used by hijack.py and forge.py.

RFC 8684: MP_CAPABLE carries both keys in clear (section 3.1), and token, initial data sequence number and the HMACs of MP_JOIN and
ADD_ADDR follow from them (sections 3.2, 3.4.1).
"""
import hashlib
import hmac
import ipaddress
import struct
import sys
import time

import wire

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CAPABLE, JOIN, DSS, ADD_ADDR, REMOVE_ADDR, PRIO, FAIL, FASTCLOSE = range(8)
MASK = (1 << 64) - 1


def option(subtype, low, body=b""):
    """An MPTCP option; `low` is the half byte beside the subtype."""
    return bytes([30, 3 + len(body), subtype << 4 | low]) + body


def signature(first, second, message):
    return hmac.new(first + second, message, hashlib.sha256).digest()


def initial_data(key):
    return struct.unpack("!Q", hashlib.sha256(key).digest()[24:])[0]


def dss(sequence, place, length, fin=False, acknowledgment=None):
    """A mapping (place is relative to the subflow's beginning, which is 0; data begins at 1), maybe an acknowledgment."""
    flags = 4 | 8 | (16 if fin else 0) | (3 if acknowledgment is not None else 0)
    body = bytes([flags])
    if acknowledgment is not None:
        body += struct.pack("!Q", acknowledgment & MASK)
    return option(DSS, 0, body + struct.pack("!QIH", sequence & MASK, place & 0xFFFFFFFF, length))


def parse_dss(body):
    """(acknowledgment, sequence, place, length, checksum) of an option's body, each None where it is not there."""
    flags, at = body[1], 2
    acknowledgment = sequence = place = length = checksum = None
    if flags & 1:
        size = 8 if flags & 2 else 4
        acknowledgment, at = int.from_bytes(body[at:at + size], "big"), at + size
    if flags & 4:
        size = 8 if flags & 8 else 4
        sequence, at = int.from_bytes(body[at:at + size], "big"), at + size
        place, length = struct.unpack_from("!IH", body, at)
        if len(body) >= at + 8:
            checksum = struct.unpack_from("!H", body, at + 6)[0]
    return acknowledgment, sequence, place, length, checksum


def announcement(session, number, address, port=0):
    """ADD_ADDR of the server's, signed with its keys."""
    packed = ipaddress.ip_address(address).packed
    body = bytes([number]) + packed + (struct.pack("!H", port) if port else b"")
    mac = signature(session.server_key, session.client_key, bytes([number]) + packed + struct.pack("!H", port))[-8:]
    return option(ADD_ADDR, 0, body + mac)


class Way:
    """One direction of one subflow."""

    def __init__(self):
        self.next_seq = self.ack = self.next_place = self.newest = None
        self.syn_option = None

    def see(self, packet):
        following = packet.seq + packet.length + bool(packet.flags & (SYN | FIN))
        if self.next_seq is None or (following - self.next_seq) & 0xFFFFFFFF < 1 << 31:
            self.next_seq, self.newest = following & 0xFFFFFFFF, packet
        if packet.flags & ACK and (self.ack is None or (packet.ack - self.ack) & 0xFFFFFFFF < 1 << 31):
            self.ack = packet.ack


class Session:
    """The newest MPTCP connection to a port that a capture shows."""

    def __init__(self, paths, port):
        self.client_key = self.server_key = None
        self.first = None
        self.ways = {}
        self.joins = {}
        packets = sorted((p for path in paths for p in wire.read(path)), key=lambda p: p.time)
        for packet in packets:
            if packet.dport == port and packet.flags & (SYN | ACK) == SYN and packet.mptcp(CAPABLE):
                self.__dict__.update(client_key=None, server_key=None, ways={}, joins={})
                self.first = (packet.src, packet.sport, packet.dst, packet.dport)
            if self.first is None or port not in (packet.sport, packet.dport):
                continue
            self.see(packet, packet.dport == port)

    def see(self, packet, upward):
        here = (packet.src, packet.sport, packet.dst, packet.dport)
        there = here[2:] + here[:2]
        capable, join = packet.mptcp(CAPABLE), packet.mptcp(JOIN)
        if join and packet.flags & (SYN | ACK) == SYN and len(join) >= 10:
            self.joins[here] = packet
        if here != self.first and there != self.first and here not in self.joins and there not in self.joins:
            return
        way = self.ways.setdefault(here, Way())
        if capable and here == self.first and len(capable) >= 18:
            self.client_key, self.server_key = capable[2:10], capable[10:18]
        if capable and packet.flags & SYN and there == self.first and len(capable) >= 10:
            self.server_key = capable[2:10]
        way.see(packet)
        mapping = packet.mptcp(DSS)
        if mapping:
            sequence, place, length = parse_dss(mapping)[1:4]
            if sequence is not None and place > 0:
                following = (place + length) & 0xFFFFFFFF
                if way.next_place is None or (following - way.next_place) & 0xFFFFFFFF < 1 << 31:
                    way.next_place = following
                self.extend(upward, sequence + length)
        if capable and not packet.flags & SYN and len(capable) >= 20 and packet.length:
            # Data that comes with the third ACK's option: place 1, the first of the stream.
            length = struct.unpack_from("!H", capable, 18)[0]
            way.next_place = way.next_place or 1 + length
            self.extend(upward, initial_data(self.client_key) + 1 + length)

    def extend(self, upward, sequence):
        begin, offset = self.begin(upward), 0
        if begin is not None:
            offset = (sequence - begin) & 0xFFFFFFFF
        name = "up" if upward else "down"
        self.__dict__[name] = max(self.__dict__.get(name, 0), offset)

    def begin(self, upward):
        key = self.client_key if upward else self.server_key
        return None if key is None else initial_data(key) + 1

    def next_data(self, upward):
        return self.begin(upward) + self.sent(upward)

    def sent(self, upward):
        return self.__dict__.get("up" if upward else "down", 0)

    @property
    def token(self):
        return wire.token(self.server_key)


def load(paths, port, up=0, down=0, joins=0, seconds=5):
    """The session, as soon as the captures (comma between them) show so many bytes each way, and so many joins."""
    end = time.monotonic() + seconds
    while True:
        session = Session(paths.split(","), port)
        ready = session.client_key and session.server_key
        if ready and session.sent(True) >= up and session.sent(False) >= down and len(session.joins) >= joins:
            return session
        if time.monotonic() > end:
            if ready:
                return session
            sys.exit(f"the capture shows no keys of a connection to port {port}")
        time.sleep(0.1)
