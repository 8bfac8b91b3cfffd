"""Both ends of a connection in one process: what the tools of cases share. A thread may enter any network namespace, and a
socket stays in the one it was made in, so one function can drive both ends of a connection and the router between them.
"""
import contextlib
import ctypes
import errno
import itertools
import os
import select
import socket
import struct
import subprocess
import threading
import time

import wire

MARKER = b"PLAINTEXT-MARKER"
# Every 32 bytes of it differ from all others, and any 31 of them betray themselves.
PATTERN = b"".join(MARKER + b"%016d" % number for number in range(1 << 17))
IPPROTO_MPTCP = 262
RESET = struct.pack("ii", 1, 0)
STATES = ("", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSE", "CLOSE-WAIT", "LAST-ACK",
          "LISTEN", "CLOSING")
libc = ctypes.CDLL(None, use_errno=True)
rule_numbers = itertools.count(1)


def name_of(error):
    return errno.errorcode.get(error.errno, type(error).__name__) if error.errno else type(error).__name__


def outcome(call, *arguments):
    """What a call returns, or the name of its error."""
    try:
        return call(*arguments)
    except OSError as error:
        return name_of(error)


def until(condition, seconds=10.0, pause=0.01):
    """Polls; whether the condition came to hold."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def state(sock):
    return STATES[sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0]]


def has_ended(sock, what=select.POLLRDHUP):
    """The end of file, or an error, has arrived, read or not."""
    poll = select.poll()
    poll.register(sock, what)
    return any(events & what for _, events in poll.poll(0))


def received(sock):
    """Bytes that the kernel has taken in order, read or not (tcpi_bytes_received)."""
    return struct.unpack_from("=Q", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136), 128)[0]


def send_pattern(sock, count, start=0):
    """Sends bytes `start..<start + count` of the pattern; how many were taken, and the error that ended it."""
    done = 0
    while done < count:
        try:
            done += sock.send(PATTERN[start + done:start + min(count, done + (1 << 17))])
        except OSError as error:
            return done, name_of(error)
    return done, "sent"


def read_pattern(sock, start=0, most=None):
    """Reads to the end (or `most` bytes): how many arrived, whether they are the pattern's, and what ended it."""
    got, ending = bytearray(), "enough"
    while most is None or len(got) < most:
        try:
            data = sock.recv(1 << 17 if most is None else most - len(got))
        except OSError as error:
            ending = name_of(error)
            break
        if not data:
            ending = "eof"
            break
        got += data
    return len(got), "right" if got == PATTERN[start:start + len(got)] else "WRONG", ending


class Rule:
    """A rule of the router for this case's packets, and how many it met."""

    def __init__(self, world, words, target):
        self.world, self.tag = world, f"case{next(rule_numbers)}"
        self.tool = "ip6tables" if world.version == 6 else "iptables"
        self.rule = ["FORWARD", "-p", "tcp", *words, "-m", "comment", "--comment", self.tag, "-j", *target]
        self.change("-I")

    def change(self, what):
        self.world.on("r1", self.tool, "-w", what, *self.rule)

    def count(self):
        listed = self.world.on("r1", self.tool, "-w", "-vxnL", "FORWARD")
        return sum(int(line.split()[0]) for line in listed.splitlines() if f"/* {self.tag} */" in line)

    def met(self, packets=1, seconds=10):
        return until(lambda: self.count() >= packets, seconds, 0.03)


class Sniffer:
    """What the router sees of one case, to forge from."""

    def __init__(self, world):
        self.world = world
        world.enter("r1")
        self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.tap.bind(("tob", 0))
        self.raw = socket.socket(world.family, socket.SOCK_RAW, socket.IPPROTO_TCP)
        world.sockets += [self.tap, self.raw]

    def packets(self):
        """TCP packets of this case since the last call."""
        self.tap.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while True:
                packet = wire.parse(0, self.tap.recv(1 << 16))
                if packet is not None and self.world.port in (packet.sport, packet.dport):
                    yield packet

    def reset_after_fin(self, from_a):
        """A reset behind the FIN that one end sent."""
        fin = [packet for packet in self.packets() if packet.flags & 1 and (packet.dport == self.world.port) == from_a][-1]
        self.forge(fin, fin.seq + fin.length + 1, wire.RST)

    def forge(self, like, sequence, flags):
        header = struct.pack("!HHIIBBHHH", like.sport, like.dport, sequence & 0xFFFFFFFF, 0, 5 << 4, flags, 0, 0, 0)
        ends = b"".join(socket.inet_pton(self.world.family, end) for end in (like.src, like.dst))
        padded = ends + (struct.pack("!HH", 6, len(header)) if self.world.version == 4 else struct.pack("!II", len(header), 6)) + header
        total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        header = header[:16] + struct.pack("!H", ~total & 0xFFFF) + header[18:]
        # The router sends from an address that is not its own.
        if self.world.version == 4:
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 6, 0, ends[:4], ends[4:])
            self.raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        else:
            ip = struct.pack("!IHBB", 6 << 28, len(header), 6, 64) + ends
            self.raw.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
        self.raw.sendto(ip + header, (like.dst, 0))


class World:
    """One case in one setting. `say` notes what an application sees; two settings are compared by that."""

    def __init__(self, prefix, addresses, kind, version, port, family=None):
        self.prefix, self.kind, self.version, self.port = prefix, kind, version, port
        self.address = {host: addresses[f"{host}{version}"] for host in "ab"}
        self.family = socket.AF_INET6 if version == 6 else socket.AF_INET
        self.said, self.sockets, self.rules = [], [], []

    # MARK: what the case does

    def say(self, *words):
        self.said.append(" ".join(str(word) for word in words))

    def enter(self, host):
        with open(f"/run/netns/{self.prefix}-{host}", "rb") as namespace:
            if libc.setns(namespace.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def on(self, host, *command):
        done = subprocess.run(["ip", "netns", "exec", f"{self.prefix}-{host}", *command], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stderr}")
        return done.stdout

    def socket(self, host, *options, port=None, timeout=20.0):
        self.enter(host)
        protocol = IPPROTO_MPTCP if self.kind == "MPTCP" else socket.IPPROTO_TCP
        sock = socket.socket(self.family, socket.SOCK_STREAM, protocol)
        self.sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(timeout)
        for level, option, value in options:
            sock.setsockopt(level, option, value)
        if port is not None:
            sock.bind((self.address[host], port))
        return sock

    def listener(self, *options, backlog=64):
        sock = self.socket("b", *options, port=self.port)
        sock.listen(backlog)
        return sock

    def client(self, *options, port=None, timeout=20.0):
        return self.socket("a", *options, port=port, timeout=timeout)

    def connect(self, sock):
        """Asks to connect, without waiting."""
        sock.setblocking(False)
        error = sock.connect_ex((self.address["b"], self.port))
        sock.settimeout(20)
        return error

    def pair(self, *options, port=None, listener=None):
        """A connected pair: the opener at a, what b accepted."""
        waiting = listener or self.listener(*options)
        opener = self.client(*options, port=port)
        opener.connect((self.address["b"], self.port))
        accepted, _ = waiting.accept()
        accepted.settimeout(20)
        self.sockets.append(accepted)
        if listener is None:
            waiting.close()
        return opener, accepted

    def exchange(self, left, right, count=3000):
        """Both directions work: data of either reaches the other."""
        for sender, receiver in ((left, right), (right, left)):
            send_pattern(sender, count)
            self.say("exchange", *read_pattern(receiver, most=count))

    def patience(self, sock):
        """MPTCP keeps a connection that has lost its last subflow, silently, for another one: no need to wait for long."""
        if self.kind == "MPTCP":
            sock.settimeout(2)

    def abort(self, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()

    def rule(self, *words, target=("DROP",)):
        made = Rule(self, words, target)
        self.rules.append(made)
        return made

    def sniffer(self):
        return Sniffer(self)

    def to_b(self):
        return ("--dport", str(self.port))

    def to_a(self):
        return ("--sport", str(self.port))

    def lift(self, *rules):
        for rule in rules:
            rule.change("-D")
            self.rules.remove(rule)

    def left_at(self, host, *states):
        """How many sockets of this port are in these states (all but LISTEN and TIME-WAIT by default)."""
        alive = ("established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "close-wait", "last-ack", "closing")
        words = [word for name in states or alive for word in ("state", name)]
        return len(self.on(host, "ss", "-Htn", *words, f"( sport = :{self.port} or dport = :{self.port} )").splitlines())

    # MARK: running

    def run(self, case):
        try:
            case(self)
        except Exception as error:  # whatever it is, it is part of what is compared
            self.say("exception", type(error).__name__, name_of(error) if isinstance(error, OSError) else error)
        for rule in list(self.rules):
            with contextlib.suppress(Exception):
                self.lift(rule)
        for sock in self.sockets:
            sock.close()
        return self.said


def case(cases, *kinds, versions=(4, 6), slow=0):
    """Marks a function as a case of a group, for the kinds of connection named (both where none is)."""
    def add(function):
        function.kinds, function.versions, function.slow = kinds or ("TCP", "MPTCP"), versions, slow
        cases.append(function)
        return function
    return add


def together(*calls):
    """Runs calls in threads of their own, and returns what they return."""
    results = [None] * len(calls)

    def run(index, call):
        results[index] = call()

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def in_thread(call, *arguments):
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


__all__ = [name for name in dir() if not name.startswith("_")]
