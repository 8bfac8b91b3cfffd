"""middle.py FIFO: in the path between the devices `left` and `right` of this namespace. Works in the scenario's own namespaces only.

A command from the FIFO is what is done from now on, with whom; each thing done is a line on standard output:

pass                     nothing
swap PORT                the mappings of the next two segments of equal length to the port change places
remap PORT               the mapping of the next segment with data to the port says that it belongs elsewhere; where it has none it gets one
unmap PORT [COUNT]       the next COUNT segments from the port without SYN (all, if none is given) lose their MPTCP options
strip WHERE [joins]      ENO is taken out of WHERE: syn, synack, ack (the first without SYN, and all that follow); of joins only
weaken PORT              the ENO option of SYNs to the port offers P-256 alone
extend PORT              the ENO option of SYNs to the port offers one TEP more
role PORT                the role bit of SYN-ACKs from the port is cleared
nonce [synack]           a bit of the nonce at the end of a join's ENO option changes, in the SYN or the SYN-ACK
random [synack]          a bit of the random number of a join changes, in the SYN or the SYN-ACK
lose                     SYNs that join are lost
splice PORT TOKEN SEQUENCE CLIENT-KEY SERVER-KEY   a new connection to the port becomes a join of the older one with that token and those keys;
                         what its client writes is mapped to SEQUENCE and what follows (numbers decimal, keys hexadecimal)
"""
import os
import select
import socket
import struct
import sys

import mptcp
import raw
import wire
from mptcp import ACK, CAPABLE, DSS, JOIN, SYN

MPTCP, ENO, TIMESTAMPS = 30, 69, 8


class Segment:
    """A frame that carries TCP over IPv4 or IPv6; `frame()` has lengths and checksums of its own."""

    def __init__(self, frame):
        self.head, ip = frame[:14], frame[14:]
        if frame[12:14] == b"\x08\x00" and ip[9] == 6:
            size, total = (ip[0] & 15) * 4, struct.unpack_from("!H", ip, 2)[0]
            self.src, self.dst = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
        elif frame[12:14] == b"\x86\xdd" and ip[6] == 6:
            size, total = 40, struct.unpack_from("!H", ip, 4)[0] + 40
            self.src, self.dst = socket.inet_ntop(socket.AF_INET6, ip[8:24]), socket.inet_ntop(socket.AF_INET6, ip[24:40])
        else:
            raise ValueError("no TCP")
        self.ip, tcp = ip[:size], ip[size:total]
        self.sport, self.dport, self.seq, self.ack = struct.unpack_from("!HHII", tcp)
        offset, self.flags, self.window = (tcp[12] >> 4) * 4, tcp[13], tcp[14:16]
        self.options, self.payload = wire.options_of(tcp[20:offset]), tcp[offset:]

    def find(self, kind, subtype=None):
        return next((i for i, (k, v) in enumerate(self.options) if k == kind and (subtype is None or v and v[0] >> 4 == subtype)), None)

    def body(self, kind, subtype=None):
        at = self.find(kind, subtype)
        return None if at is None else self.options[at][1]

    def put(self, kind, body, subtype=None):
        at = self.find(kind, subtype)
        self.options[at] = (kind, bytes(body))

    def remove(self, kind):
        self.options = [(k, v) for k, v in self.options if k != kind]

    @property
    def is_syn(self):
        return self.flags & (SYN | ACK) == SYN

    @property
    def is_synack(self):
        return self.flags & (SYN | ACK) == SYN | ACK

    def frame(self):
        options = b"".join(bytes([k, len(v) + 2]) + v for k, v in self.options)
        if len(options) > 40:
            raise ValueError(f"no room: {self.options}")
        body = raw.segment(self.src, self.dst, self.sport, self.dport, self.seq, self.ack, self.flags, options, self.payload)
        body = body[:14] + self.window + b"\0\0" + body[18:]
        pseudo = raw.packed(self.src) + raw.packed(self.dst) + (
            struct.pack("!BBH", 0, 6, len(body)) if "." in self.src else struct.pack("!II", len(body), 6))
        body = body[:16] + struct.pack("!H", raw.checksum(pseudo + body)) + body[18:]
        if "." in self.src:
            ip = self.ip[:2] + struct.pack("!H", len(self.ip) + len(body)) + self.ip[4:10] + b"\0\0" + self.ip[12:]
            ip = ip[:10] + struct.pack("!H", raw.checksum(ip)) + ip[12:]
        else:
            ip = self.ip[:4] + struct.pack("!H", len(body)) + self.ip[6:]
        return self.head + ip + body


def flipped(body, at):
    body = bytearray(body)
    body[at] ^= 1
    return body


class Rule:
    """What is done with one segment: the segments that go on in its place."""

    def __init__(self, words):
        self.words, self.kept, self.done, self.base, self.port = words, None, 0, None, None
        self.apply = getattr(self, "do_" + words[0])

    def say(self, *words):
        print(*words, flush=True)

    def do_pass(self, s):
        return [s]

    def to_port(self, s):
        return s.dport == int(self.words[1])

    def do_swap(self, s):
        mapping = s.body(MPTCP, DSS)
        if not self.to_port(s) or self.done or not s.payload or mapping is None or not mapping[1] & 4:
            return [s]
        if self.kept is None:
            self.kept = s
            return []
        first = self.kept.body(MPTCP, DSS)
        length = lambda body: mptcp.parse_dss(body)[3]
        if self.kept.seq == s.seq or length(first) != length(mapping) or len(first) != len(mapping):
            return [s]
        # Of each mapping the data sequence number, 4 or 8 bytes, behind an acknowledgment of 4, 8 or none.
        at = 2 + ((8 if mapping[1] & 2 else 4) if mapping[1] & 1 else 0)
        end = at + (8 if mapping[1] & 8 else 4)
        self.kept.put(MPTCP, first[:at] + mapping[at:end] + first[end:], DSS)
        s.put(MPTCP, mapping[:at] + first[at:end] + mapping[end:], DSS)
        self.done = 1
        self.say("swapped")
        return [self.kept, s]

    def do_remap(self, s):
        if not self.to_port(s) or self.done or not s.payload:
            return [s]
        mapping = s.body(MPTCP, DSS)
        if mapping is not None and mapping[1] & 4:
            at = 2 + ((8 if mapping[1] & 2 else 4) if mapping[1] & 1 else 0) + (7 if mapping[1] & 8 else 3)
            s.put(MPTCP, mapping[:at] + bytes([(mapping[at] + 100) & 255]) + mapping[at + 1:], DSS)
        else:
            s.options.append((MPTCP, b"\x20\x0c" + struct.pack("!QIH", 1, 1, 1000)))
        self.done = 1
        self.say("remapped")
        return [s]

    def do_unmap(self, s):
        most = int(self.words[2]) if len(self.words) > 2 else 1 << 30
        if s.sport == int(self.words[1]) and not s.flags & SYN and self.done < most:
            self.done += 1
            s.remove(MPTCP)
            self.say("unmapped")
        return [s]

    def do_strip(self, s):
        where = "syn" if s.is_syn else "synack" if s.is_synack else "ack"
        if where == self.words[1] and s.body(ENO) is not None and ("joins" not in self.words or s.body(MPTCP, JOIN)):
            s.remove(ENO)
            self.say("stripped", where)
        return [s]

    def do_weaken(self, s):
        return self.offer(s, lambda body: b"\x21")

    def do_extend(self, s):
        return self.offer(s, lambda body: body + b"\x22")

    def offer(self, s, change):
        if self.to_port(s) and s.is_syn and s.body(ENO):
            s.put(ENO, change(s.body(ENO)))
            self.say("altered")
        return [s]

    def do_role(self, s):
        body = s.body(ENO)
        if s.sport == int(self.words[1]) and s.is_synack and body and body[0] < 32:
            s.put(ENO, flipped(body, 0))
            self.say("altered")
        return [s]

    def joining(self, s):
        return s.body(MPTCP, JOIN) is not None and (s.is_synack if "synack" in self.words else s.is_syn)

    def do_nonce(self, s):
        if self.joining(s) and s.body(ENO):
            s.put(ENO, flipped(s.body(ENO), -1))
            self.say("altered")
        return [s]

    def do_random(self, s):
        if self.joining(s):
            s.put(MPTCP, flipped(s.body(MPTCP, JOIN), -1), JOIN)
            self.say("altered")
        return [s]

    def do_lose(self, s):
        if s.is_syn and s.body(MPTCP, JOIN):
            self.say("lost")
            return []
        return [s]

    def do_splice(self, s):
        port, token, sequence = (int(word) for word in self.words[1:4])
        client, server = (bytes.fromhex(word) for word in self.words[4:6])
        if port not in (s.sport, s.dport):
            return [s]
        # No timestamps: the options need the room.
        if s.is_syn and s.body(MPTCP, CAPABLE):
            self.port, self.base, self.random = s.sport, s.seq + 1, os.urandom(4)
            s.remove(TIMESTAMPS)
            s.put(MPTCP, bytes([JOIN << 4, 8]) + token.to_bytes(4, "big") + self.random)
            self.say("spliced")
        elif self.port not in (s.sport, s.dport):
            return [s]
        elif s.is_synack and s.body(MPTCP, JOIN):
            self.theirs = s.body(MPTCP, JOIN)[10:14]
            s.put(MPTCP, b"\x01\x01" + os.urandom(8))
            self.say("accepted")
        elif s.sport == self.port and self.random and not s.flags & SYN:
            return self.written(s, sequence, client, server)
        elif s.dport == self.port and s.body(MPTCP):
            s.options = [(k, v) for k, v in s.options if k != MPTCP]
        return [s]

    def written(self, s, sequence, client, server):
        """From the client: the third ACK and the first data (MP_CAPABLE) or later data (DSS)."""
        s.options = [(k, v) for k, v in s.options if k != MPTCP]
        if not s.payload:
            proof = mptcp.signature(client, server, self.random + self.theirs)[:20]
            s.options.append((MPTCP, bytes([JOIN << 4, 0]) + proof))
        else:
            offset = (s.seq - self.base) & 0xFFFFFFFF
            s.options.append((MPTCP, mptcp.dss(sequence + offset, 1 + offset, len(s.payload))[2:]))
            self.say("mapped")
        return [s]


def opened(device):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
    sock.bind((device, 3))
    return sock


def forward(rule, frame):
    try:
        segment = Segment(frame)
    except (ValueError, IndexError, struct.error):
        return [frame]
    if rule.words[0] == "pass":
        return [frame]
    try:
        return [segment.frame() for segment in rule.apply(segment)]
    except ValueError as error:
        print(error, flush=True)
        return [frame]


def main():
    left, right, commands = opened("left"), opened("right"), open(sys.argv[1], "rb", buffering=0)
    other, rule = {left: right, right: left}, Rule(["pass"])
    print("ready", flush=True)
    while True:
        for source in select.select([left, right, commands], [], [])[0]:
            if source is commands:
                for line in commands.read(4096).decode().splitlines():
                    rule = Rule(line.split())
                    print("doing", line, flush=True)
                continue
            for frame in forward(rule, source.recv(65536)):
                try:
                    other[source].send(frame)
                except OSError:
                    pass


main()
