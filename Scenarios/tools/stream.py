"""stream.py (listen PORT | connect ADDRESS PORT) BYTES [--mptcp] [--v6] [--send] [--bytewise]: a long stream, fast and verified.

One end has --send. It sends records of a number and a mebibyte that never changes, from a file in memory; the other end checks
every byte of it. The last line is `sent N seconds S` or `received N right seconds S`.
With --bytewise both ends send BYTES one-byte writes without Nagle's algorithm, and both check what arrives.
"""
import os
import socket
import struct
import sys
import threading
import time

MARKER = b"PLAINTEXT-MARKER"
BODY = MARKER * 65536
RECORD = 8 + len(BODY)


def send(connection, total):
    file = os.memfd_create("body")
    os.write(file, BODY)
    left, number = total, 0
    while left > 0:
        head = struct.pack("!Q", number)[:left]
        connection.sendall(head, socket.MSG_MORE)
        left -= len(head)
        done, most = 0, min(left, len(BODY))
        while done < most:
            done += os.sendfile(connection.fileno(), file, done, most - done)
        left -= most
        number += 1


def receive(connection, total):
    """How much arrived before the end of file, and whether all of it was right."""
    record, count, number = bytearray(RECORD), 0, 0
    while True:
        got = 0
        while got < RECORD:
            more = connection.recv_into(memoryview(record)[got:], RECORD - got)
            if not more:
                break
            got += more
        if record[:min(8, got)] != struct.pack("!Q", number)[:got] or record[8:got] != BODY[:max(0, got - 8)]:
            return count + got, "WRONG"
        count += got
        number += 1
        if got < RECORD:
            return count, "right"


def bytewise(connection, total):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write():
        for number in range(total):
            connection.send(bytes([number * 7 % 251]))
        connection.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    got = bytearray()
    while data := connection.recv(1 << 16):
        got += data
    writer.join()
    return len(got), "right" if got == bytes(number * 7 % 251 for number in range(total)) else "WRONG"


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    flags = {word for word in sys.argv[1:] if word.startswith("--")}
    family = socket.AF_INET6 if "--v6" in flags else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, 262 if "--mptcp" in flags else socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if words[0] == "listen":
        sock.bind(("", int(words[1])))
        sock.listen(8)
        print("listening", flush=True)
        connection, _ = sock.accept()
    else:
        sock.connect((words[1], int(words[2])))
        connection = sock
    total, began = int(words[-1]), time.monotonic()
    if "--bytewise" in flags:
        said = ("received", *bytewise(connection, total))
    elif "--send" in flags:
        send(connection, total)
        connection.shutdown(socket.SHUT_WR)
        # The other end closes when it has read all.
        connection.recv(1)
        said = ("sent", total)
    else:
        said = ("received", *receive(connection, total))
    connection.close()
    print(*said, "seconds", f"{time.monotonic() - began:.3f}", flush=True)


main()
