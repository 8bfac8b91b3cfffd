"""datagrams.py echo PORT: sends every UDP datagram back (IPv4 and IPv6), until it is ended.
datagrams.py probe ADDRESS PORT COUNT GAP SIZE [WAIT]: sends COUNT numbered datagrams of SIZE bytes, one every GAP seconds, waits WAIT
seconds (0.5) for the last, and prints a JSON object: sent, received (different ones), duplicates, late (arrived behind a later one), and
the round-trip times min, median and p90 in milliseconds.
"""
import json
import socket
import struct
import sys
import time


def echo(port):
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    server.bind(("::", port))
    print("ready", flush=True)
    while True:
        data, address = server.recvfrom(65536)
        server.sendto(data, address)


def probe(address, port, count, gap, size, wait):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    client.connect((address, port))
    sent, times, order, duplicates = {}, {}, [], 0
    begin = time.monotonic()
    number, end = 0, begin + gap * count + wait
    while (now := time.monotonic()) < end:
        if number == count and len(times) == count:
            # A duplicate of the last may still be on its way.
            end = min(end, now + 0.05)
        due = begin + gap * number
        if number < count and now >= due:
            sent[number] = time.monotonic()
            try:
                client.send(struct.pack("!Q", number).ljust(size, b"."))
            except ConnectionRefusedError:
                # About an earlier one, whose port was changed on the way.
                continue
            number += 1
            continue
        client.settimeout(max(1e-5, min(end, due if number < count else end) - now))
        try:
            data = client.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            continue
        arrived = time.monotonic()
        index = struct.unpack("!Q", data[:8])[0]
        if index in times:
            duplicates += 1
        elif index in sent:
            times[index] = (arrived - sent[index]) * 1000
            order.append(index)
    late = sum(1 for before, after in zip(order, order[1:]) if after < before)
    sorted_times = sorted(times.values()) or [-1]
    print(json.dumps({
        "sent": count, "received": len(times), "duplicates": duplicates, "late": late, "min": round(sorted_times[0], 3),
        "median": round(sorted_times[len(sorted_times) // 2], 3), "p90": round(sorted_times[len(sorted_times) * 9 // 10], 3)}))


if sys.argv[1] == "echo":
    echo(int(sys.argv[2]))
else:
    probe(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]), float((sys.argv[7:] or [0.5])[0]))
