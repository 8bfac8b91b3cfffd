"""crowd.py listen PORT | connect ADDRESS PORT COUNT FIFO: many quiet connections at once.

The connecting end prints `open COUNT` when all are established and a first word has been sent on each. A line `speak SECONDS` in
the FIFO makes it write the marker on every connection, over and over; then it says `told N`: how many of them saw an error.
"""
import selectors
import socket
import sys
import time

MARKER = b"PLAINTEXT-MARKER"


def listen(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.listen(4096)
    sock.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sock:
                connection, _ = sock.accept()
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ)
                continue
            try:
                if key.fileobj.recv(65536):
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            selector.unregister(key.fileobj)
            key.fileobj.close()


def connect(address, port, count, fifo):
    connections = []
    for _ in range(count):
        connection = socket.create_connection((address, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.send(b"hello")
        connection.setblocking(False)
        connections.append(connection)
    print("open", count, flush=True)
    for line in open(fifo, encoding="ascii"):
        end, told = time.monotonic() + float(line.split()[1]), 0
        while connections and time.monotonic() < end:
            left = []
            for connection in connections:
                try:
                    connection.send(MARKER)
                    left.append(connection)
                except BlockingIOError:
                    left.append(connection)
                except OSError:
                    told += 1
            connections = left
            # Spread over the time in which a congestion window fills.
            time.sleep(0.02)
        print("told", told, flush=True)


if sys.argv[1] == "listen":
    listen(int(sys.argv[2]))
else:
    connect(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
