"""visits.py listen PORT | visit ADDRESS PORT COUNT AT-ONCE | crowd ADDRESS PORT COUNT ROUNDS [--mptcp]: many small connections.

A request is a number and the marker; the answer is the same number and more of the marker, and nothing else will do.
visit: COUNT connections, each with one request, in AT-ONCE processes; the last line is `visits N failed N seconds S`.
crowd: COUNT connections at once, ROUNDS requests on each of them; the last line is `crowd N answers N failed N seconds S`.
"""
import collections
import errno
import multiprocessing
import selectors
import socket
import sys
import time

MARKER = b"PLAINTEXT-MARKER"
REQUEST, ANSWER = 32, 1024
protocol = 262 if "--mptcp" in sys.argv else socket.IPPROTO_TCP


def answer(request):
    return request[:16] + MARKER * 63


def request(number):
    return b"%016d" % number + MARKER


def listen(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::", port))
    sock.listen(4096)
    sock.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    print("listening", flush=True)
    begun = {}
    while True:
        for key, _ in selector.select():
            connection = key.fileobj
            if connection is sock:
                try:
                    while True:
                        accepted, _ = sock.accept()
                        accepted.setblocking(False)
                        selector.register(accepted, selectors.EVENT_READ)
                except OSError:
                    continue
            try:
                data = connection.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                selector.unregister(connection)
                begun.pop(connection, None)
                connection.close()
                continue
            data = begun.pop(connection, b"") + data
            while len(data) >= REQUEST:
                connection.setblocking(True)
                connection.sendall(answer(data[:REQUEST]))
                connection.setblocking(False)
                data = data[REQUEST:]
            if data:
                begun[connection] = data


def connected(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(100):
        sock = socket.socket(family, socket.SOCK_STREAM, protocol)
        sock.settimeout(30)
        try:
            sock.connect((address, port))
            return sock
        except OSError as error:
            sock.close()
            # Every port is in TIME-WAIT, and too young to be used again.
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            time.sleep(0.01)
    raise OSError(errno.EADDRNOTAVAIL, "no port")


def ask(sock, number):
    sock.sendall(request(number))
    got = bytearray()
    while len(got) < ANSWER:
        data = sock.recv(ANSWER - len(got))
        if not data:
            break
        got += data
    return got == answer(request(number))


def visit(address, port, numbers):
    failures = collections.Counter()
    for number in numbers:
        try:
            with connected(address, port) as sock:
                if not ask(sock, number):
                    failures["wrong"] += 1
                sock.shutdown(socket.SHUT_WR)
                # Who reads to the end of file knows that nothing was lost; every tenth does.
                if number % 10 == 0 and sock.recv(1):
                    failures["more"] += 1
        except OSError as error:
            failures[str(error)] += 1
    return failures


def visits(address, port, count, at_once):
    began = time.monotonic()
    with multiprocessing.Pool(at_once) as pool:
        parts = [(address, port, range(part, count, at_once)) for part in range(at_once)]
        failures = sum(pool.starmap(visit, parts, 1), collections.Counter())
    print(dict(failures))
    print("visits", count, "failed", failures.total(), "seconds", f"{time.monotonic() - began:.2f}", flush=True)


def crowd(address, port, count, rounds):
    began, right, failures = time.monotonic(), 0, collections.Counter()
    sockets = []
    for _ in range(count):
        try:
            sockets.append(connected(address, port))
        except OSError as error:
            failures[str(error)] += 1
    print("open", len(sockets), flush=True)
    for turn in range(rounds):
        # All speak before anybody listens.
        for number, sock in enumerate(sockets):
            sock.sendall(request(turn * count + number))
        for number, sock in enumerate(sockets):
            got = bytearray()
            try:
                while len(got) < ANSWER and (data := sock.recv(ANSWER - len(got))):
                    got += data
            except OSError as error:
                failures[str(error)] += 1
            right += got == answer(request(turn * count + number))
    print("all", flush=True)
    for sock in sockets:
        sock.close()
    print(dict(failures))
    print("crowd", count, "answers", right, "failed", failures.total(), "seconds", f"{time.monotonic() - began:.2f}", flush=True)


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if words[0] == "listen":
        listen(int(words[1]))
    elif words[0] == "visit":
        visits(words[1], *map(int, words[2:]))
    else:
        crowd(words[1], *map(int, words[2:]))


main()
