"""Packets of a TUN device: IPv4 and IPv6 with TCP, made and taken apart. Each address of the device is one host of the scenario."""
import collections
import fcntl
import ipaddress
import os
import struct
import threading

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
NAMES = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "."), (URG, "U"))


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source, destination, length):
    return source + destination + (struct.pack("!HH", 6, length) if len(source) == 4 else struct.pack("!II", length, 6))


class Segment:
    """A received TCP segment; addresses are packed bytes, options a list of (kind, whole option)."""

    def __init__(self, source, destination, data):
        self.source, self.destination = source, destination
        self.source_port, self.port, self.seq, self.ack, words, self.flags, self.window, _, self.urgent = struct.unpack_from("!HHIIBBHHH", data)
        header = (words >> 4) * 4
        self.sound = checksum(pseudo_header(source, destination, len(data)) + data) == 0
        self.options, at = [], 20
        while at < header and data[at] != 0:
            length = 1 if data[at] == 1 else data[at + 1] if at + 1 < header else 0
            if length < 1 or (data[at] != 1 and length < 2) or at + length > header:
                self.sound = False
                break
            if data[at] != 1:
                self.options.append((data[at], data[at:at + length]))
            at += length
        self.payload = data[header:]

    def raw_options(self, kind):
        return [raw for found, raw in self.options if found == kind]

    def has(self, flag):
        return bool(self.flags & flag)

    def __str__(self):
        names = "".join(name for flag, name in NAMES if self.flags & flag)
        eno = " ".join(raw.hex() for raw in self.raw_options(69))
        return f"[{names}] seq {self.seq} ack {self.ack} len {len(self.payload)} win {self.window}{' eno ' + eno if eno else ''}"


def parse(packet):
    """A Segment, or None."""
    if packet[0] >> 4 == 4 and packet[9] == 6 and len(packet) >= 40:
        length = struct.unpack_from("!H", packet, 2)[0]
        return Segment(packet[12:16], packet[16:20], packet[(packet[0] & 15) * 4:length])
    if packet[0] >> 4 == 6 and packet[6] == 6 and len(packet) >= 60:
        return Segment(packet[8:24], packet[24:40], packet[40:40 + struct.unpack_from("!H", packet, 4)[0]])
    return None


def datagram(source, destination, ports, seq, ack, flags, window, options, payload, urgent=0):
    """A packet with right checksums; options are padded with no-operations."""
    options += b"\x01" * (-len(options) % 4)
    assert len(options) <= 40, "more options than a TCP header holds"
    head = struct.pack("!HHIIBBH", *ports, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (5 + len(options) // 4) << 4, flags, window)
    tail = struct.pack("!H", urgent) + options + payload
    body = head + struct.pack("!H", checksum(pseudo_header(source, destination, len(head) + 2 + len(tail)) + head + b"\0\0" + tail)) + tail
    if len(source) == 4:
        outer = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, 6, 0) + source + destination
        return outer[:10] + struct.pack("!H", checksum(outer)) + outer[12:] + body
    return struct.pack("!IHBB", 6 << 28, len(body), 6, 64) + source + destination + body


class Tun:
    """The device; a thread of its own hands every packet to the host that it is for."""

    def __init__(self, name):
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
        self.hosts = {}
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            packet = os.read(self.descriptor, 65536)
            address = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
            if (mailbox := self.hosts.get(address)) is not None:
                mailbox.put(packet)

    def send(self, packet):
        os.write(self.descriptor, packet)


class Mailbox:
    """Packets for one host, with a descriptor to wait on. It is never closed: the reading thread may be about to use it."""

    def __init__(self):
        self.packets, self.event = collections.deque(), os.eventfd(0, os.EFD_NONBLOCK)

    def put(self, packet):
        self.packets.append(packet)
        os.eventfd_write(self.event, 1)

    def take(self):
        try:
            os.eventfd_read(self.event)
        except BlockingIOError:
            pass
        while self.packets:
            yield self.packets.popleft()


def packed(address):
    return ipaddress.ip_address(address).packed
