"""reluctant.py (listen PORT | connect ADDRESS PORT) BYTES [--mptcp] [--buffer=N] [--crumbs] [--shrink=N] [--stop=SECONDS]: one stream, read badly.

The connecting end writes BYTES, with --crumbs in writes of 1 to 200 bytes. The listening end has a receive buffer of N bytes, or gets one of N when
a quarter has arrived (--shrink); then it reads nothing for SECONDS, and once more when half has arrived. Both say `end HASH COUNT MILLISECONDS`.
"""
import hashlib
import random
import socket
import sys
import time

words = [word for word in sys.argv[1:] if not word.startswith("--")]
options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
total = int(words[-1])
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262 if "mptcp" in options else socket.IPPROTO_TCP)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
digest, count = hashlib.sha256(), 0


def read(connection):
    global count
    connection.settimeout(60)
    stop = float(options.get("stop", 0))
    breaks = [total // 2, total // 4]
    while True:
        if breaks and count >= breaks[-1]:
            breaks.pop()
            if "shrink" in options:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(options["shrink"]))
            time.sleep(stop)
        data = connection.recv(65536)
        if not data:
            return
        digest.update(data)
        count += len(data)


def write(connection):
    global count
    connection.settimeout(60)
    generator, block = random.Random(1), b"PLAINTEXT-MARKER" * 4096
    if "crumbs" in options:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while count < total:
        start = count % 16
        size = generator.randrange(1, 200) if "crumbs" in options else 65000
        piece = block[start:start + min(size, total - count)]
        connection.sendall(piece)
        digest.update(piece)
        count += len(piece)
    connection.shutdown(socket.SHUT_WR)
    # To the end of file: the time is that of the whole stream.
    connection.recv(1)


if words[0] == "listen":
    if "buffer" in options:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(options["buffer"]))
    sock.bind(("", int(words[1])))
    sock.listen(8)
    connection, _ = sock.accept()
    began = time.monotonic()
    read(connection)
else:
    sock.connect((words[1], int(words[2])))
    began = time.monotonic()
    write(sock)
print("end", digest.hexdigest(), count, int(1000 * (time.monotonic() - began)), flush=True)
