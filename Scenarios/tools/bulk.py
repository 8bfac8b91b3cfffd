"""bulk.py (listen PORT | connect ADDRESS PORT) BYTES [--mptcp] [--v6] [--one-way | --upload]: sends and receives at once.

Both ends send BYTES and read to the end of the file, hashing; the last line is `sent HASH received HASH SECONDS`.
With --one-way only the listening end sends, with --upload only the connecting one. Content differs by position and by end, so that no mix-up goes unseen,
and is full of the marker.
"""
import hashlib
import socket
import sys
import threading
import time

MARKER = b"PLAINTEXT-MARKER"
SIZE = 1 << 18


def blocks(total, salt):
    """Blocks of the marker, each begun by its number, so that no two blocks of a stream are alike."""
    body = MARKER * (SIZE // len(MARKER))
    number = 0
    while total > 0:
        head = b"%s%014d" % (salt, number)
        block = (head + body)[:min(SIZE, total)]
        yield block
        total -= len(block)
        number += 1


def send(connection, total, salt, result):
    digest = hashlib.sha256()
    for block in blocks(total, salt):
        connection.sendall(block)
        digest.update(block)
    connection.shutdown(socket.SHUT_WR)
    result.append(digest.hexdigest())


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    flags = {word for word in sys.argv[1:] if word.startswith("--")}
    family = socket.AF_INET6 if "--v6" in flags else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, 262 if "--mptcp" in flags else socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening = words[0] == "listen"
    if listening:
        sock.bind(("", int(words[1])))
        sock.listen(8)
        print("listening", flush=True)
        connection, _ = sock.accept()
    else:
        sock.connect((words[1], int(words[2])))
        connection = sock
    connection.settimeout(60)
    total = int(words[-1])
    is_silent = ("--upload" if listening else "--one-way") in flags
    outgoing = 0 if is_silent else total
    began, sent = time.monotonic(), []
    sender = threading.Thread(
        target=send, args=(connection, outgoing, b"s!" if listening else b"c!", sent), daemon=True)
    sender.start()
    digest, count = hashlib.sha256(), 0
    view = bytearray(1 << 20)
    while received := connection.recv_into(view):
        digest.update(memoryview(view)[:received])
        count += received
    sender.join()
    if not sent:
        sys.exit("the sending side failed")
    print("sent", sent[0], "received", digest.hexdigest(), count,
          f"{time.monotonic() - began:.3f}", flush=True)


main()
