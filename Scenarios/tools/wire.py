"""wire.py EXPRESSION FILE.pcap...: evaluates a Python expression over what captures show.

`packets`: all TCP packets in order of time, as Packet. `flows`: dict "src:port>dst:port" -> Flow (one direction).
`payload(prefix)`: payload bytes sent by addresses that begin so. `after(t)`: packets later than t (epoch seconds).
`table()`: JSON of the flows and of sums over them, for tcpcrypt-scenario.
`flights(port)`: of each connection to the port, how often the direction changed until the server's first payload, and 1.
"""
import hashlib
import ipaddress
import json
import struct
import sys

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ENO, MPTCP = 69, 30


class Packet:
    __slots__ = ("time", "src", "sport", "dst", "dport", "seq", "ack", "flags", "window", "options", "length", "data")

    @property
    def name(self):
        return f"{self.src}:{self.sport}>{self.dst}:{self.dport}"

    def option(self, kind):
        return next((value for k, value in self.options if k == kind), None)

    def mptcp(self, subtype):
        return next((v for k, v in self.options if k == MPTCP and v and v[0] >> 4 == subtype), None)


class Flow:
    def __init__(self):
        self.packets = self.payload = self.data_packets = self.syn = self.fin = self.rst = self.eno = 0
        self.joins = self.capables = self.syn_eno = self.join = self.join_eno = 0
        self.first = self.last = 0.0

    def add(self, packet):
        self.packets += 1
        self.payload += packet.length
        self.data_packets += packet.length > 0
        self.syn += bool(packet.flags & SYN)
        self.fin += bool(packet.flags & FIN)
        self.rst += bool(packet.flags & RST)
        self.eno += packet.option(ENO) is not None
        self.capables += packet.mptcp(0) is not None
        self.joins += packet.mptcp(1) is not None
        has_eno = packet.option(ENO) is not None
        self.syn_eno += bool(packet.flags & SYN) and has_eno
        is_join = bool(packet.flags & SYN) and packet.mptcp(1) is not None
        self.join += is_join
        self.join_eno += is_join and has_eno
        self.first = self.first or packet.time
        self.last = packet.time


def options_of(data):
    found, at = [], 0
    while at < len(data) and data[at] != 0:
        if data[at] == 1:
            at += 1
            continue
        if at + 1 >= len(data) or data[at + 1] < 2:
            break
        found.append((data[at], bytes(data[at + 2:at + data[at + 1]])))
        at += data[at + 1]
    return found


def parse(time, frame):
    """An Ethernet frame to a Packet, or None for what is not TCP."""
    if len(frame) < 34:
        return None
    kind, ip = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    if kind == 0x0800:
        header, total = (ip[0] & 15) * 4, struct.unpack_from("!H", ip, 2)[0]
        if ip[9] != 6:
            return None
        src, dst = ip[12:16], ip[16:20]
    elif kind == 0x86DD and len(ip) >= 40:
        header, total = 40, struct.unpack_from("!H", ip, 4)[0] + 40
        if ip[6] != 6:
            return None
        src, dst = ip[8:24], ip[24:40]
    else:
        return None
    tcp = ip[header:]
    if len(tcp) < 20:
        return None
    offset = (tcp[12] >> 4) * 4
    packet = Packet()
    packet.time = time
    packet.src, packet.dst = str(ipaddress.ip_address(bytes(src))), str(ipaddress.ip_address(bytes(dst)))
    packet.sport, packet.dport, packet.seq, packet.ack = struct.unpack_from("!HHII", tcp, 0)
    packet.flags, packet.window = tcp[13], struct.unpack_from("!H", tcp, 14)[0]
    packet.options = options_of(tcp[20:offset])
    # A capture may be cut by the snap length: the length comes from the IP header, 0 there means a huge super-packet.
    packet.length = max(0, total - header - offset)
    packet.data = bytes(tcp[offset:offset + packet.length])
    return packet


def read(path):
    with open(path, "rb") as file:
        magic = file.read(24)[:4]
        order = "<" if magic in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        while len(head := file.read(16)) == 16:
            seconds, fraction, kept, _ = struct.unpack(order + "IIII", head)
            frame = file.read(kept)
            if len(frame) < kept:
                break
            packet = parse(seconds + fraction / 1e6, frame)
            if packet is not None:
                yield packet


def token(key):
    """RFC 8684 section 3.2: the token that names the connection of a key."""
    return struct.unpack("!I", hashlib.sha256(key).digest()[:4])[0]


def flights_to(port, packets):
    counts, directions, answered = {}, {}, set()
    for packet in packets:
        is_request = packet.dport == port
        name = (packet.src, packet.sport) if is_request else (packet.dst, packet.dport)
        if port not in (packet.sport, packet.dport) or name in answered:
            continue
        counts[name] = counts.get(name, 0) + (directions.get(name) != is_request)
        directions[name] = is_request
        if packet.length and not is_request:
            answered.add(name)
    return sorted(counts[name] for name in answered)


def table_of(flows):
    rows = []
    for name, flow in flows.items():
        source, destination = name.split(">")
        rows.append({
            "from": source.rsplit(":", 1)[0], "from_port": int(source.rsplit(":", 1)[1]),
            "to": destination.rsplit(":", 1)[0], "to_port": int(destination.rsplit(":", 1)[1])} | vars(flow))
    sums = ("packets", "payload", "syn", "syn_eno", "join", "join_eno", "rst", "fin")
    return json.dumps({name: sum(row[name] for row in rows) for name in sums} | {"flows": rows})


def main():
    packets = sorted((packet for path in sys.argv[2:] for packet in read(path)), key=lambda packet: packet.time)
    flows = {}
    for packet in packets:
        flows.setdefault(packet.name, Flow()).add(packet)
    names = globals() | {
        "packets": packets,
        "flows": flows,
        "payload": lambda prefix: sum(f.payload for name, f in flows.items() if name.startswith(prefix)),
        "table": lambda: table_of(flows),
        "flights": lambda port: flights_to(port, packets),
        "after": lambda time: [packet for packet in packets if packet.time > time],
    }
    value = eval(sys.argv[1], names)
    if isinstance(value, (list, set, tuple)):
        print("\n".join(str(item) for item in value))
    else:
        print(value)
    if value is False:
        sys.exit(1)


if __name__ == "__main__":
    main()
