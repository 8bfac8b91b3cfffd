"""raw.py COMMAND ...: an attacker with a raw socket. Works on addresses of the scenario's own namespaces only.

join ADDRESS PORT TOKEN [HOW]     an MP_JOIN SYN; prints what came back: joined (a SYN-ACK that joins), syn-ack, rst or silence.
                                  HOW: twice (another join option before it), after-syn (an ordinary SYN with the same
                                  numbers, and its reset, before it), proof=HEX (with these contents of an ENO option, and
                                  with a third ACK, but no frame)
forge PCAP SOURCE DESTINATION KIND [COUNT]   into the newest flow between the two addresses that a capture shows:
                                  fin, fin-data, rst, rst-ack, rst-window, frame, random, old, ahead, behind,
                                  ack (five in a second)
meddle DEVICE PORT HOW            on a router whose rules drop the packets to PORT that HOW is about: sends each on, changed.
                                  fin: what has FIN, without it; urg: what has at least 900 bytes of data, as urgent
handshake ADDRESS PORT CASE       TCP with ENO by hand, then a hostile key exchange message; prints what came back
storm ADDRESS PORT SECONDS [SPOOFED...]      malformed and random packets of every sort; prints how many
"""
import ipaddress
import os
import random
import socket
import struct
import sys
import time

import wire

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
INIT1_MAGIC = 0x15101A0E
CURVE25519 = 0x23


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(src, dst, sport, dport, seq, ack, flags, options=b"", payload=b"", offset=None, damage=False, window=65000, urgent=0):
    """A TCP segment with a right checksum; `offset` lies about the header's length, `damage` spoils the checksum."""
    options += b"\x01" * (-len(options) % 4)
    words = 5 + len(options) // 4 if offset is None else offset
    header = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (words & 15) << 4, flags, window, 0, urgent)
    body = header + options + payload
    pseudo = packed(src) + packed(dst) + (struct.pack("!BBH", 0, 6, len(body)) if "." in src else struct.pack("!II", len(body), 6))
    value = checksum(pseudo + body) ^ (0x5555 if damage else 0)
    return body[:16] + struct.pack("!H", value) + body[18:]


def packed(address):
    return ipaddress.ip_address(address).packed


def datagram(src, dst, body):
    if "." in src:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), random.randrange(65536), 0, 64, 6, 0) + packed(src) + packed(dst)
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body
    return struct.pack("!IHBB", 6 << 28, len(body), 6, 64) + packed(src) + packed(dst) + body


class Wire:
    def __init__(self, address):
        self.family = socket.AF_INET if "." in address else socket.AF_INET6
        self.out = socket.socket(self.family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        # The rules of the attacker's host let only this mark out: its kernel must not answer in between.
        self.out.setsockopt(socket.SOL_SOCKET, 36, 1)
        self.inward = socket.socket(self.family, socket.SOCK_RAW, socket.IPPROTO_TCP)

    def send(self, src, dst, body):
        try:
            self.out.sendto(datagram(src, dst, body), (dst, 0))
        except OSError:
            pass

    def answer(self, port, seconds=3.0):
        """The first TCP packet to `port`: (flags, seq, ack, options, payload), or None."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.inward.settimeout(left)
            try:
                data = self.inward.recv(65536)
            except TimeoutError:
                return None
            if self.family == socket.AF_INET:
                data = data[(data[0] & 15) * 4:]
            if len(data) >= 20 and struct.unpack_from("!H", data, 2)[0] == port:
                seq, ack = struct.unpack_from("!II", data, 4)
                header = (data[12] >> 4) * 4
                return data[13], seq, ack, wire.options_of(data[20:header]), data[header:]
        return None


def source_for(address, port=9):
    with socket.socket(socket.AF_INET if "." in address else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.connect((address, port))
        return probe.getsockname()[0]


def name_of(answer):
    if answer is None:
        return "silence"
    flags, options = answer[0], answer[3]
    if flags & SYN and any(kind == 30 and body and body[0] >> 4 == 1 for kind, body in options):
        return "joined"
    return "rst" if flags & RST else "syn-ack" if flags & SYN else "fin" if flags & FIN else "ack"


def join(address, port, token, how=""):
    src, sport, seq, raw = source_for(address), random.randrange(20000, 60000), random.getrandbits(32), Wire(address)
    size = b"\x02\x04\x05\xb4"
    joining = lambda token: struct.pack("!BBBBII", 30, 12, 0x10, 9, token, random.getrandbits(32))
    options = size + joining(token)
    if how == "twice":
        options = size + joining(token ^ 1) + joining(token)
    elif how == "after-syn":
        raw.send(src, address, segment(src, address, sport, port, seq, 0, SYN, size))
        raw.answer(sport)
        raw.send(src, address, segment(src, address, sport, port, seq + 1, 0, RST))
        time.sleep(0.2)
    elif how.startswith("proof="):
        proof = bytes.fromhex(how[6:])
        options += struct.pack("!BB", 69, len(proof) + 2) + proof
    raw.send(src, address, segment(src, address, sport, port, seq, 0, SYN, options))
    answer = raw.answer(sport)
    print(name_of(answer))
    if how.startswith("proof=") and answer is not None:
        last = struct.pack("!BBBB", 30, 24, 0x10, 9) + os.urandom(20) + b"\x45\x02"
        raw.send(src, address, segment(src, address, sport, port, seq + 1, answer[1] + 1, ACK, last))


def forge(path, src, dst, kind, count):
    newest = None
    for packet in wire.read(path):
        if packet.src == src and packet.dst == dst and not packet.flags & SYN:
            if newest is None or (packet.sport, packet.dport) != (newest.sport, newest.dport) or \
                    (packet.seq + packet.length - newest.seq - newest.length) & 0xFFFFFFFF < 1 << 31:
                newest = packet
    if newest is None:
        sys.exit("no such flow in the capture")
    raw, following = Wire(dst), newest.seq + newest.length
    for _ in range(count):
        seq, flags, payload = following, ACK | PSH, os.urandom(1200)
        if kind == "fin":
            flags, payload = ACK | FIN, b""
        elif kind == "fin-data":
            flags = ACK | PSH | FIN
        elif kind == "rst-window":
            seq, flags, payload = following + 1000, RST, b""
        elif kind == "behind":
            seq = following + 1
        elif kind in ("rst", "rst-ack"):
            flags, payload = RST | (ACK if kind == "rst-ack" else 0), b""
        elif kind == "ack":
            payload = b""
            time.sleep(0.2)
        elif kind == "frame":
            payload = b"\0" + struct.pack("!H", 117) + os.urandom(117)
        elif kind == "old":
            seq = newest.seq - 100
        elif kind == "ahead":
            seq = following + random.randrange(1, 60000)
        raw.send(src, dst, segment(src, dst, newest.sport, newest.dport, seq, newest.ack, flags, b"", payload))
    print("forged", count, kind, newest.name, following & 0xFFFFFFFF)


def meddle(device, port, how):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    tap.bind((device, 0))
    raws = {}
    print("ready", flush=True)
    while True:
        frame, sender = tap.recvfrom(1 << 16)
        packet = wire.parse(0, frame)
        if sender[2] == socket.PACKET_OUTGOING or packet is None or packet.dport != port:
            continue
        flags, urgent = packet.flags, 0
        if how == "fin" and flags & FIN:
            flags &= ~FIN
        elif how == "urg" and packet.length >= 900:
            flags, urgent = flags | URG, packet.length // 2
        else:
            continue
        start = 14 + (40 if ":" in packet.src else (frame[14] & 15) * 4)
        options = frame[start + 20:start + (frame[start + 12] >> 4) * 4]
        raw = raws.setdefault(packet.dst, Wire(packet.dst))
        raw.send(packet.src, packet.dst, segment(
            packet.src, packet.dst, packet.sport, packet.dport, packet.seq, packet.ack, flags, options, packet.data,
            window=packet.window, urgent=urgent))
        print("changed", how, packet.length, flush=True)


def hostile_init(case):
    init = struct.pack("!I", INIT1_MAGIC)
    return {
        "giant": init + struct.pack("!I", 0xFFFFFFFF) + os.urandom(1000),
        "tiny": init + struct.pack("!I", 3) + b"abc",
        "zero": init + struct.pack("!I", 0),
        "no-ciphers": init + struct.pack("!IB", 9 + 32 + 32, 0) + os.urandom(64),
        "short-key": init + struct.pack("!IBH", 9 + 2 + 5, 1, 1) + os.urandom(5),
        "zero-key": init + struct.pack("!IBH", 8 + 1 + 2 + 32 + 32, 1, 1) + os.urandom(32) + bytes(32),
        "many-ciphers": init + struct.pack("!IB", 8 + 1 + 510 + 64, 255) + os.urandom(510 + 64),
        "random": os.urandom(1200),
        "plaintext": b"GET / HTTP/1.0\r\n\r\n",
        "nothing": b"",
    }[case]


def handshake(address, port, case):
    src, sport, raw, seq = source_for(address), random.randrange(20000, 60000), Wire(address), random.getrandbits(32)
    # A SYN may be lost in a storm.
    for _ in range(4):
        raw.send(src, address, segment(src, address, sport, port, seq, 0, SYN, bytes([69, 3, CURVE25519])))
        answer = raw.answer(sport)
        if name_of(answer) == "syn-ack":
            break
    else:
        print("no syn-ack:", name_of(answer))
        return
    encrypted = any(kind == 69 for kind, _ in answer[3])
    raw.send(src, address, segment(src, address, sport, port, seq + 1, answer[1] + 1, ACK, bytes([69, 2]), hostile_init(case)))
    for _ in range(4):
        again = raw.answer(sport, 0.4)
        if again is None or again[0] & (RST | FIN):
            break
    print("eno" if encrypted else "no-eno", case, name_of(again))
    raw.send(src, address, segment(src, address, sport, port, seq + 1 + len(hostile_init(case)), answer[1] + 1, RST))


def absurd_options(generator):
    kinds = [69, 30, 2, 3, 4, 5, 8, 0, 1, 254]
    out = b""
    while len(out) < generator.randrange(0, 40):
        kind, lie = generator.choice(kinds), generator.choice([0, 1, 2, 3, 12, 22, 40, 255, generator.randrange(256)])
        out += bytes([kind, lie]) + generator.randbytes(generator.randrange(0, 20))
    return out[:40]


def storm(address, port, seconds, spoofed):
    generator = random.Random(int(os.environ.get("SEED", "1")))
    raw, own, sent = Wire(address), source_for(address), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        src = generator.choice([own, *spoofed])
        flags = generator.choice([SYN, SYN, ACK, SYN | ACK, FIN | ACK, RST, 0, 255, PSH | ACK, generator.randrange(256)])
        sport, seq, ack = generator.randrange(1, 65536), generator.getrandbits(32), generator.getrandbits(32)
        payload = generator.randbytes(generator.choice([0, 0, 1, 3, 20, 1200]))
        if src != own and flags & RST:
            flags &= ~RST
        choice = generator.randrange(6)
        if choice == 0:
            body = generator.randbytes(generator.randrange(0, 60))
        elif choice == 1:
            body = segment(src, address, sport, port, seq, ack, flags, b"", payload, offset=generator.randrange(16))
        elif choice == 2:
            body = segment(src, address, sport, port, seq, ack, flags, absurd_options(generator), payload)[:generator.randrange(1, 60)]
        elif choice == 3:
            body = segment(src, address, sport, port, seq, ack, flags, absurd_options(generator), payload, damage=True)
        else:
            body = segment(src, address, sport, port, seq, ack, flags, absurd_options(generator), payload)
        raw.send(src, address, body)
        sent += 1
        if sent % 50 == 0:
            time.sleep(0.01)
    print("sent", sent)


def main():
    command, words = sys.argv[1], sys.argv[2:]
    if command == "join":
        join(words[0], int(words[1]), int(words[2]), *words[3:])
    elif command == "forge":
        forge(words[0], words[1], words[2], words[3], int(words[4]) if len(words) > 4 else 1)
    elif command == "meddle":
        meddle(words[0], int(words[1]), words[2])
    elif command == "handshake":
        handshake(words[0], int(words[1]), words[2])
    elif command == "storm":
        storm(words[0], int(words[1]), float(words[2]), words[3:])
    else:
        sys.exit(__doc__)


main()
