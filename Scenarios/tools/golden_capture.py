"""golden_capture.py make VECTORS CAPTURE KEYLOG | golden_capture.py check VECTORS < ROWS: connections that the recorded vectors
(Tests/TcpcryptTests/Vectors) describe, as a capture with its key log, and what a dissector has to say of them.

Every TEP and AEAD, resumed connections and joins opened by A and by B, three generations, urgent data, FINp; some frames lie beyond 8 GB of
the stream. ROWS are those of `tshark -T fields` with the arguments that `golden_capture.py fields`
prints.
"""
import glob
import hashlib
import hmac
import json
import struct
import sys

FIELDS = [
    "tcp.srcport", "tcp.dstport", "tcpcrypt.frame.offset", "tcpcrypt.frame.generation", "tcpcrypt.frame.rekey", "tcpcrypt.flags",
    "tcpcrypt.urgent", "tcpcrypt.data", "tcpcrypt.session_id", "tcpcrypt.signals", "tcpcrypt.frame.signals_length", "tcpcrypt.signal.subtype",
    "tcpcrypt.dss.ack", "tcpcrypt.dss.dsn", "tcpcrypt.dss.ssn", "tcpcrypt.dss.length", "tcpcrypt.dss.checksum", "tcpcrypt.dss.data_fin",
    "tcpcrypt.add_addr.ipv4", "tcpcrypt.remove_addr.id", "tcpcrypt.mp_prio.backup",
]
SERVER = 47999
SYN, ACK, PSH = 2, 16, 8


def connections(folder):
    """Label, fields of the key log, options, what each role's stream begins with, the opener's role, frames, session ID."""
    for path in sorted(glob.glob(folder + "/*.json")):
        for session in json.load(open(path)):
            aead = f"{session['aead']:04x}"
            log = ["TCPCRYPT_FRESH", session["nonceA"], session["nonceB"], aead, master(session["prk"], ""), session["sessionID"]]
            yield log, session["syn"], session["synAck"], {"A": session["init1"], "B": session["init2"]}, "A", session["frames"]
            resumed = list(zip(session["chain"], session["resumptions"]))
            resumed += [(join["chain"][1], join["connection"]) for join in session["joins"]]
            for link, each in resumed:
                nonce = each["nonceA"] + each["nonceB"] + each["extra"]
                log = ["TCPCRYPT_RESUMED", link["resume"], nonce, aead, master(link["secret"], nonce), each["sessionID"]]
                yield log, each["syn"], each["synAck"], {"A": "", "B": ""}, each["openerRole"], each["frames"]


def master(secret, nonce):
    """mk[0] (RFC 8548 section 3.3)."""
    return hmac.new(bytes.fromhex(secret), b"\3" + bytes.fromhex(nonce) + b"\1", hashlib.sha256).hexdigest()


def packet(source, destination, sequence, flags, option, data):
    option += b"\1" * (-len(option) % 4)
    tcp = struct.pack(">HHIIBBHHH", source, destination, sequence % 2**32, 0, (20 + len(option)) << 2, flags, 65535, 0, 0)
    body = tcp + option + data
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2] if destination == SERVER else [10, 0, 0, 2, 10, 0, 0, 1])
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 6, 0) + addresses + body


def segments(source, destination, isn, frames):
    """One role's stream, a segment for each frame: Wireshark takes pieces of one for a repetition where those 8 GB before had the same sequence
    numbers. Jumps of less than 2 GB bring it to where frames are that others do not precede."""
    position = 0
    for frame in frames:
        start, data = frame["offset"], bytes.fromhex(frame["frame"])
        for offset in range((position // 2**30 + 1) * 2**30, start, 2**30):
            yield packet(source, destination, isn + 1 + offset, ACK, b"", b"\xff\xff\xff")
        yield packet(source, destination, isn + 1 + start, ACK | PSH, b"", data)
        position = start + len(data)


def make(folder, capture, keylog):
    packets, lines = [], []
    for number, (log, syn, syn_ack, begins, opener, frames) in enumerate(connections(folder)):
        port = 20000 + number
        lines.append(" ".join(log) + "\n")
        packets.append(packet(port, SERVER, 1000, SYN, bytes.fromhex(syn), b""))
        packets.append(packet(SERVER, port, 2**32 - 10, SYN | ACK, bytes.fromhex(syn_ack), b""))
        ends = {opener: (port, SERVER, 1000), "B" if opener == "A" else "A": (SERVER, port, 2**32 - 10)}
        for role in "AB":
            source, destination, isn = ends[role]
            if begins[role]:
                packets.append(packet(source, destination, isn + 1, ACK | PSH, b"", bytes.fromhex(begins[role])))
        for role in "AB":
            packets += segments(*ends[role], [frame for frame in frames if frame["sender"] == role])
    with open(capture, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for number, each in enumerate(packets):
            file.write(struct.pack("<IIII", number // 1000, number % 1000 * 1000, len(each), len(each)) + each)
    open(keylog, "w").write("".join(lines))


def signals(frames):
    """What is to be seen of the signals (the article ProtectedSignalling): options one by one, read here by their lengths."""
    lists = {name: [] for name in ("all", "lengths", "subtypes", "ack", "dsn", "ssn", "length", "checksum", "fin", "address", "removed", "backup")}
    for frame in frames:
        if "signals" not in frame:
            continue
        rest = bytes.fromhex(frame["signals"])
        lists["all"] += [rest.hex()] if rest else []
        lists["lengths"].append(str(len(rest)))
        while rest:
            option, rest = rest[:rest[1]], rest[rest[1]:]
            subtype, body = option[2] >> 4, option[4:]
            lists["subtypes"].append(str(subtype))
            if subtype == 2:
                lists["fin"].append(str(option[3] >> 4 & 1))
                if option[3] & 1:
                    lists["ack"].append(str(int.from_bytes(body[:8], "big")))
                    body = body[8:]
                if option[3] & 4:
                    sequence, subflow, length = struct.unpack_from(">QIH", body)
                    lists["dsn"].append(str(sequence))
                    lists["ssn"].append(str(subflow))
                    lists["length"].append(str(length))
                    lists["checksum"] += ["0x" + body[14:].hex()] if body[14:] else []
            elif subtype == 3:
                lists["address"].append(".".join(map(str, body)))
            elif subtype == 4:
                lists["removed"].append(str(option[3]))
            else:
                lists["backup"].append(str(option[2] & 1))
    return list(lists.values())


def check(folder, rows):
    seen = {}
    for row in rows:
        source, destination, *values = row.rstrip("\n").split("\t")
        lists = seen.setdefault((int(source), int(destination)), [[] for _ in values])
        for known, value in zip(lists, values):
            known += [word for word in value.split(",") if word]
    count = 0
    for number, (log, _, _, _, opener, frames) in enumerate(connections(folder)):
        for role in "AB":
            theirs = [frame for frame in frames if frame["sender"] == role]
            ports = (20000 + number, SERVER) if role == opener else (SERVER, 20000 + number)
            flags = [f"0x{2 * (frame['urgent'] is not None) + frame['fin']:02x}" for frame in theirs]
            expected = [
                [str(frame["offset"]) for frame in theirs], [str(frame["generation"]) for frame in theirs],
                [str(int(frame["rekey"])) for frame in theirs], flags,
                [str(frame["urgent"]) for frame in theirs if frame["urgent"] is not None],
                [frame["data"] for frame in theirs if frame["data"]], [log[-1]] * len(theirs), *signals(theirs),
            ]
            if seen.get(ports) != expected:
                sys.exit(f"connection {number}, {log[0]}, sender {role}:\n{seen.get(ports)}\n{expected}")
            count += len(theirs)
    print(f"{count} frames")


if sys.argv[1] == "fields":
    print(" ".join("-e " + field for field in FIELDS))
elif sys.argv[1] == "make":
    make(*sys.argv[2:])
else:
    check(sys.argv[2], sys.stdin)
