"""peer.py FIFO (listen PORT | connect ADDRESS PORT) [--mptcp] [--v6] [--bind ADDRESS]: one end of a connection, driven
by commands from a FIFO; everything that happens is one line on standard output, so that a scenario can wait for it.

Commands: send BYTES | flood | stop | finish (stop, then shutdown) | want BYTES | read | pause | keepalive SECONDS |
          shutdown | close | abort
Events:   listening, connected LOCAL REMOTE, sent N, received N (for want), eof TOTAL, recv-error NAME TOTAL, send-error NAME
A kernel reports an error once, to whichever call comes first; that a read returns nothing after a write failed is no `eof`.
The payload is the marker over and over, so that any 31 plaintext bytes in a row betray themselves. What arrives is
compared with what must arrive: `corrupt OFFSET` should never be seen.
"""
import errno
import os
import socket
import struct
import sys
import threading
import time

MARKER = b"PLAINTEXT-MARKER"
BLOCK = MARKER * 8192
started = time.monotonic()
lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, f"@{time.monotonic() - started:.3f}", flush=True)


def name_of(error):
    return errno.errorcode.get(error.errno, str(error)) if error.errno else type(error).__name__


class Peer:
    def __init__(self, connection):
        self.connection = connection
        self.received = self.sent = 0
        self.wanted = []
        self.failed = False
        self.flooding = threading.Event()
        self.writing = threading.Lock()
        self.reading = threading.Event()
        self.reading.set()
        threading.Thread(target=self.receive, daemon=True).start()
        threading.Thread(target=self.flood, daemon=True).start()

    def receive(self):
        while True:
            self.reading.wait()
            try:
                data = self.connection.recv(1 << 17)
            except OSError as error:
                say("recv-error", name_of(error), self.received)
                return
            if not data:
                # The write may have failed in this moment, and not have said so yet.
                time.sleep(0.05)
                say("after-error" if self.failed else "eof", self.received)
                return
            phase = self.received % len(MARKER)
            if data != BLOCK[phase:phase + len(data)] and data != (BLOCK + BLOCK)[phase:phase + len(data)]:
                say("corrupt", self.received)
            self.received += len(data)
            while self.wanted and self.received >= self.wanted[0]:
                say("received", self.wanted.pop(0))

    def send(self, count):
        while count > 0:
            phase = self.sent % len(MARKER)
            piece = min(count, len(BLOCK) - phase)
            try:
                written = self.connection.send(BLOCK[phase:phase + piece])
            except OSError:
                self.failed = True
                raise
            self.sent += written
            count -= written

    def flood(self):
        while self.flooding.wait():
            try:
                with self.writing:
                    self.send(len(BLOCK))
            except OSError as error:
                say("send-error", name_of(error))
                return

    def obey(self, words):
        command, count = words[0], int(words[1]) if len(words) > 1 else 0
        if command == "send":
            self.send(count)
            say("sent", self.sent)
        elif command == "flood":
            self.flooding.set()
        elif command == "stop":
            self.flooding.clear()
            say("stopped", self.sent)
        elif command == "finish":
            self.flooding.clear()
            with self.writing:
                self.connection.shutdown(socket.SHUT_WR)
                say("shut", self.sent)
        elif command == "want":
            self.wanted.append(count)
            if self.received >= count:
                say("received", self.wanted.pop(0))
        elif command == "keepalive":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in (socket.TCP_KEEPIDLE, count), (socket.TCP_KEEPINTVL, count), (socket.TCP_KEEPCNT, 3):
                self.connection.setsockopt(socket.IPPROTO_TCP, option, value)
        elif command == "pause":
            self.reading.clear()
        elif command == "read":
            self.reading.set()
        elif command == "shutdown":
            self.connection.shutdown(socket.SHUT_WR)
            say("shut", self.sent)
        elif command == "abort":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close("aborted")
        elif command == "close":
            self.close("closed")

    def close(self, word):
        # A descriptor that the receiving thread sleeps in stays open in the kernel: wake it by duplicating over it.
        if word == "closed":
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        say(word)
        os._exit(0) if word == "aborted" else None


def main():
    arguments = [word for word in sys.argv[1:] if not word.startswith("--")]
    flags = [word for word in sys.argv[1:] if word.startswith("--")]
    family = socket.AF_INET6 if "--v6" in flags else socket.AF_INET
    protocol = 262 if "--mptcp" in flags else socket.IPPROTO_TCP
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    source = next((flag.split("=", 1)[1] for flag in flags if flag.startswith("--bind=")), None)
    commands = open(arguments[0], encoding="ascii")
    if arguments[1] == "listen":
        sock.bind((source or ("::" if family == socket.AF_INET6 else "0.0.0.0"), int(arguments[2])))
        sock.listen(128)
        say("listening")
        connection, _ = sock.accept()
    else:
        if source:
            sock.bind((source, 0))
        sock.connect((arguments[2], int(arguments[3])))
        connection = sock
    say("connected", *connection.getsockname()[:2], *connection.getpeername()[:2])
    peer = Peer(connection)
    for line in commands:
        try:
            peer.obey(line.split())
        except OSError as error:
            say("send-error", name_of(error))


main()
