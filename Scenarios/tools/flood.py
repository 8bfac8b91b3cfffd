"""flood.py COMMAND ...: strangers in numbers, and what stands beside them. Works on addresses of the scenario's own namespaces only.

send KIND DEVICE MAC TARGET PORT SECONDS [SOURCE PORT]   packets as fast as the device takes them; prints how many and how many a second.
     KIND: syn (ENO), bare (no option), capable (MP_CAPABLE and ENO), join (MP_JOIN, bogus token), ack, rst, fin, data, init (ACK with ENO and Init1);
     from made-up addresses, or all from SOURCE and its PORT: sequence numbers are made up then. --rate=N: so many a second.
     --token=HEX: joins of that connection, each with an ENO option that names a secret nobody has
handshake CASE DEVICE MAC TARGET PORT SECONDS [RATE]     whole handshakes from addresses of its own, each with an Init message and
     silence behind it. CASE: init (a random public key), garbage, silence (no data); prints how many it began and how many were answered
serve PORT                                               answers a word on each connection with another; keeps few open
try ADDRESS PORT TIMES [--mptcp]                         asks `serve`; prints successes and the median of milliseconds
flow listen PORT | flow connect ADDRESS PORT MEGABITS SECONDS [--mptcp] [--down]
     a steady stream until then or SIGUSR1; the reading end says `TIME BYTES` every 100 ms, in the end both `end HASH BYTES`
"""
import ctypes
import hashlib
import ipaddress
import os
import random
import selectors
import signal
import socket
import statistics
import struct
import sys
import time

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
INIT1 = struct.pack("!IIBH", 0x15101A0E, 8 + 1 + 2 + 32 + 32, 1, 1)
SIZE = b"\x02\x04\x05\xb4\x04\x02"
ENO = b"\x45\x03\x23"
BATCH = 1024


def total(data):
    if len(data) % 2:
        data += b"\0"
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def folded(value):
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return ~value & 0xFFFF


def packed(address):
    return ipaddress.ip_address(address).packed


def padded(options):
    return options + b"\x01" * (-len(options) % 4)


def datagram(source, destination, sport, dport, seq, ack, flags, options=b"", payload=b"", urgent=0):
    """An IP packet; `source` and `destination` are packed."""
    header = struct.pack(
        "!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (20 + len(options)) << 2, flags, 65000, 0, urgent)
    body = header + options + payload
    value = folded(total(source + destination) + 6 + len(body) + total(body))
    body = body[:16] + struct.pack("!H", value) + body[18:]
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(body), 6, 64) + source + destination + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 6, 0) + source + destination
    return head[:10] + struct.pack("!H", folded(total(head))) + head[12:] + body


class IOVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.POINTER(IOVec)), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int), ("sent", ctypes.c_uint32)]


class Device:
    def __init__(self, name, mac):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((name, 0))
        self.socket.setsockopt(263, 20, 1)  # PACKET_QDISC_BYPASS
        own = self.socket.getsockname()[4]
        self.head = {4: bytes.fromhex(mac.replace(":", "")) + own + b"\x08\x00", 16: bytes.fromhex(mac.replace(":", "")) + own + b"\x86\xdd"}
        self.libc = ctypes.CDLL(None, use_errno=True)

    def send(self, messages, start, count):
        done = self.libc.sendmmsg(self.socket.fileno(), ctypes.byref(messages, start * ctypes.sizeof(Message)), count, 0)
        return max(0, done)

    def put(self, frame):
        """Whether the device took it; there is no queue before it."""
        try:
            return self.socket.send(frame) > 0
        except OSError:
            return False


class Prepared:
    """Frames of one length in one buffer, ready for sendmmsg; one field of all of them is changed at once."""

    def __init__(self, frames):
        self.stride, self.count = len(frames[0]), len(frames)
        self.buffer = bytearray(b"".join(frames))
        base = ctypes.addressof((ctypes.c_char * len(self.buffer)).from_buffer(self.buffer))
        self.vectors = (IOVec * self.count)(*((base + i * self.stride, self.stride) for i in range(self.count)))
        self.messages = (Message * self.count)()
        for i in range(self.count):
            self.messages[i].iov, self.messages[i].iovlen = ctypes.pointer(self.vectors[i]), 1

    def put(self, offset, value):
        self.buffer[offset::self.stride] = bytes([value >> 8]) * self.count
        self.buffer[offset + 1::self.stride] = bytes([value & 255]) * self.count


def made_up(index, version):
    # 10.96.0.0/12 and fd96::/16.
    return struct.pack("!I", 0x0A600000 + index) if version == 4 else b"\xfd\x96" + bytes(10) + struct.pack("!I", index + 1)


def shape(kind):
    body = os.urandom(64)
    return {
        "syn": (SYN, SIZE + ENO, b""),
        "bare": (SYN, SIZE, b""),
        "capable": (SYN, SIZE + b"\x1e\x04\x01\x01" + ENO, b""),
        "join": (SYN, SIZE + b"\x1e\x0c\x10\x01" + os.urandom(8), b""),
        "ack": (ACK, b"", b""),
        "rst": (RST, b"", b""),
        "fin": (FIN | ACK, b"", b""),
        "data": (ACK | PSH, b"", os.urandom(100)),
        "init": (ACK | PSH, b"\x45\x02", INIT1 + body),
    }[kind]


def send(kind, device, mac, target, port, seconds, source=None, sport=None, rate=None, token=None):
    out, destination = Device(device, mac), packed(target)
    flags, options, payload = shape(kind)
    batch = min(BATCH, int(rate) // 250) if rate else BATCH
    version = 6 if ":" in target else 4
    count = 16384
    frames = []
    for index in range(count):
        origin = packed(source) if source else made_up(index * 37 % (1 << 20), version)
        seq, ack = random.getrandbits(32), random.getrandbits(32) if flags & ACK else 0
        if token:
            options = SIZE + b"\x1e\x0c\x10\x01" + bytes.fromhex(token) + os.urandom(4) + b"\x45\x13\xa3" + os.urandom(16)
        frames.append(out.head[len(origin)] + datagram(
            origin, destination, int(sport or 1024), int(port), seq, ack, flags, padded(options), payload, urgent=0xFFFF))
    ready = Prepared(frames)
    tcp = 14 + (20 if version == 4 else 40)
    # What the checksum covers stays the same: the urgent pointer, which nobody reads, goes down as the other goes up.
    field = (tcp + 6) if source else tcp
    first = struct.unpack_from("!H", frames[0], field)[0]
    print("begins", flush=True)
    begun, sent, turn = time.monotonic(), 0, 0
    while time.monotonic() < begun + float(seconds):
        if source is None:
            ready.put(field, 1024 + turn % 60000)
            ready.put(tcp + 18, 0xFFFF - turn % 60000)
        for start in range(0, count, batch):
            while rate and sent > (time.monotonic() - begun) * float(rate):
                time.sleep(0.001)
            sent += out.send(ready.messages, start, min(batch, count - start))
            if time.monotonic() >= begun + float(seconds):
                break
        turn += 1
    print(kind, "sent", sent, "rate", int(sent / (time.monotonic() - begun)), flush=True)


def handshake(case, device, mac, target, port, seconds, rate=1000000):
    out, destination, port, rate = Device(device, mac), packed(target), int(port), float(rate)
    version = 6 if ":" in target else 4
    inward = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800 if version == 4 else 0x86DD))
    inward.bind((device, 0x800 if version == 4 else 0x86DD))
    inward.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    inward.setblocking(False)
    payloads = {"init": [INIT1 + os.urandom(64) for _ in range(256)], "garbage": [os.urandom(75) for _ in range(256)], "silence": [b""]}[case]
    sums = [total(payload) for payload in payloads]
    options, ip = padded(SIZE + ENO), 20 if version == 4 else 40
    print("begins", flush=True)
    answered = begun_count = turn = 0
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + float(seconds):
        if begun_count < (now - begun) * rate:
            frames = []
            for index in range(64):
                origin = made_up((begun_count + index) * 7 & 0xFFFF, version)
                seq = random.getrandbits(32)
                frames.append(out.head[len(origin)] + datagram(
                    origin, destination, 1024 + begun_count * 2 % 60000, port, seq, 0, SYN, options))
            begun_count += sum(out.put(frame) for frame in frames)
        for _ in range(256):
            try:
                data = inward.recv(2048)
            except BlockingIOError:
                break
            if len(data) < ip + 20 or data[ip + 13] != SYN | ACK:
                continue
            sport, dport, seq, ack = struct.unpack_from("!HHII", data, ip)
            origin = data[ip - (4 if version == 4 else 16):ip]
            turn += 1
            frame = answer(out, origin, destination, dport, sport, ack, seq + 1, payloads[turn % len(payloads)], sums[turn % len(sums)])
            answered += out.put(frame)
    print("handshake", case, "begun", begun_count, "sent", answered, "rate", int(answered / (time.monotonic() - begun)), flush=True)


def answer(out, source, destination, sport, dport, seq, ack, payload, payload_sum):
    """An ACK with the empty ENO option, and the rest: quicker than `datagram`."""
    seq, ack = seq & 0xFFFFFFFF, ack & 0xFFFFFFFF
    head = struct.pack("!HHIIBBH", sport, dport, seq, ack, 24 << 2, ACK | (PSH if payload else 0), 65000)
    length = 24 + len(payload)
    value = folded(total(source + destination + head) + 6 + length + 0x4502 + 0x0101 + payload_sum)
    body = head + struct.pack("!HH", value, 0) + b"\x45\x02\x01\x01" + payload
    if len(source) == 16:
        ip = struct.pack("!IHBB", 6 << 28, length, 6, 64) + source + destination
    else:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 6, 0) + source + destination
        ip = ip[:10] + struct.pack("!H", folded(total(ip))) + ip[12:]
    return out.head[len(source)] + ip + body


def opened(address, port, mptcp):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, 262 if mptcp else socket.IPPROTO_TCP)
    sock.settimeout(10)
    sock.connect((address, int(port)))
    return sock


def listener(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", int(port)))
    sock.listen(4096)
    print("listening", flush=True)
    return sock


def serve(port):
    sock = listener(port)
    sock.setblocking(False)
    selector, waiting = selectors.DefaultSelector(), {}
    selector.register(sock, selectors.EVENT_READ)

    def close(connection):
        waiting.pop(connection, None)
        selector.unregister(connection)
        connection.close()

    while True:
        for key, _ in selector.select():
            connection = key.fileobj
            try:
                if connection is sock:
                    connection, _ = sock.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ)
                    waiting[connection] = True
                    if len(waiting) > 500:
                        close(next(iter(waiting)))
                elif connection in waiting:
                    if connection.recv(100):
                        connection.send(b"answer")
                    close(connection)
            except OSError:
                if connection is not sock:
                    close(connection)


def attempt(address, port, times, mptcp):
    taken = []
    for _ in range(int(times)):
        began = time.monotonic()
        try:
            with opened(address, port, mptcp) as sock:
                sock.send(b"question")
                if sock.recv(100) == b"answer":
                    taken.append(1000 * (time.monotonic() - began))
        except OSError:
            pass
    print(len(taken), f"{statistics.median(taken) if taken else -1:.1f}", flush=True)


def read_all(sock):
    digest, count, last = hashlib.sha256(), 0, 0.0
    view = bytearray(1 << 18)
    while received := sock.recv_into(view):
        digest.update(memoryview(view)[:received])
        count += received
        if (now := time.monotonic()) >= last + 0.1:
            print(f"{now:.3f} {count}", flush=True)
            last = now
    print("end", digest.hexdigest(), count, flush=True)


def write_all(sock, megabits, seconds):
    digest, count, begun = hashlib.sha256(), 0, time.monotonic()
    block, ended = b"PLAINTEXT-MARKER" * 1024, []
    signal.signal(signal.SIGUSR1, lambda *_: ended.append(True))
    while (now := time.monotonic()) < begun + seconds and not ended:
        if count > (now - begun) * megabits * 125000:
            time.sleep(0.002)
            continue
        sent = sock.send(block[count % 16:])
        digest.update(block[count % 16:count % 16 + sent])
        count += sent
    sock.shutdown(socket.SHUT_WR)
    print("end", digest.hexdigest(), count, flush=True)


def flow(words, mptcp, down):
    if words[0] == "listen":
        # Open for joins as long as the connection is.
        listening = listener(words[1])
        sock, _ = listening.accept()
        sock.settimeout(60)
        ask = sock.recv(32, socket.MSG_WAITALL).split()
        if ask[0] == b"down":
            write_all(sock, float(ask[1]), float(ask[2]))
        else:
            read_all(sock)
        return
    sock = opened(words[1], words[2], mptcp)
    sock.settimeout(60)
    sock.sendall(f"{'down' if down else 'up'} {words[3]} {words[4]}".ljust(32).encode())
    if down:
        read_all(sock)
    else:
        write_all(sock, float(words[3]), float(words[4]))


def main():
    command, words = sys.argv[1], [word for word in sys.argv[2:] if not word.startswith("--")]
    if command == "send":
        send(*words, **dict(word[2:].split("=") for word in sys.argv[2:] if word.startswith("--")))
    elif command == "handshake":
        handshake(*words)
    elif command == "serve":
        serve(words[0])
    elif command == "try":
        attempt(words[0], words[1], words[2], "--mptcp" in sys.argv)
    elif command == "flow":
        flow(words, "--mptcp" in sys.argv, "--down" in sys.argv)
    else:
        sys.exit(__doc__)


main()
