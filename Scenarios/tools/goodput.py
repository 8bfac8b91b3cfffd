"""Goodput over alternating connections to several ports.

    goodput.py serve PORT... --control NAME [--mptcp]
    goodput.py measure ADDRESS PORT... --seconds S --rounds N [--mptcp]

The server sends random bytes until the client has had enough. Each round measures every port once, in turn, so that what else the
machine does meets all alike. Printed as JSON: per port, the megabits per second of each round, counted from the first byte on.
"""

import argparse
import json
import os
import socket
import threading
import time

MPTCP = 262


def new_socket(is_mptcp):
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP if is_mptcp else 0)


def serve(ports, is_mptcp, control):
    block = os.urandom(1 << 18)

    def feed(connection):
        # Per socket: not every machine lets a namespace choose (net.ipv4.tcp_allowed_congestion_control).
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
        try:
            while True:
                connection.sendall(block)
        except OSError:
            connection.close()

    def accept(listener):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=feed, args=(connection,), daemon=True).start()

    threads = []
    for port in ports:
        listener = new_socket(is_mptcp)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen(8)
        threads.append(threading.Thread(target=accept, args=(listener,)))
    for thread in threads:
        thread.start()


def measure(address, port, seconds, is_mptcp):
    buffer = bytearray(1 << 18)
    connection = new_socket(is_mptcp)
    connection.settimeout(20)
    connection.connect((address, port))
    total = connection.recv_into(buffer)
    start = now = time.monotonic()
    connection.settimeout(seconds)
    while now < start + seconds:
        try:
            got = connection.recv_into(buffer)
        except TimeoutError:
            break
        now = time.monotonic()
        if got == 0:
            break
        total += got
    # An abort, so that what is still on its way does not meet the next measurement.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    return total * 8 / max(seconds, now - start) / 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["serve", "measure"])
    parser.add_argument("words", nargs="+")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--control", default="cubic")
    parser.add_argument("--mptcp", action="store_true")
    options = parser.parse_args()
    if options.what == "serve":
        return serve([int(word) for word in options.words], options.mptcp, options.control)
    address, ports = options.words[0], options.words[1:]
    rates = {port: [] for port in ports}
    for turn in range(options.rounds):
        for port in ports if turn % 2 == 0 else reversed(ports):
            rates[port].append(round(measure(address, int(port), options.seconds, options.mptcp), 2))
            time.sleep(0.3)
    print(json.dumps(rates))


main()
