"""What a case has to work with: a host of its own on the TUN device, applications on the daemon's kernel, questions to the daemon."""
import concurrent.futures
import ctypes
import errno
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

from peer import Peer
from tcp import Failure, Host, Tcp

CLONE_NEWNET = 0x40000000
SOL_MPTCP, MPTCP_INFO, INFO_FALLBACK = 284, 1, 1
libc = ctypes.CDLL(None, use_errno=True)
CASES = []
SLOW = ("init_cut_off", "keep_alive", "keep_alive_unanswered", "truncated", "truncated_frame", "spoilt", "small_buffer", "same_options", "doubted",
        "obeyed")


def case(title, *sections, **more):
    """Marks a case; `sections` are those of the RFCs that say what must be."""
    def mark(function):
        CASES.append((f"{title} ({', '.join(sections)})" if sections else title, function, more))
        return function
    return mark


def expect(condition, what):
    if not condition:
        raise Failure(what)


class Application:
    """A socket of the daemon's kernel, not blocking, driven by the pump of the case's host."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock, self.inbox, self.outbox = sock, bytearray(), bytearray()
        self.eof, self.error, self.echoing, self.reading, self.shutting, self.closed = False, None, False, True, False, False
        self.outgoing = 0

    def ended(self):
        return self.eof or self.error is not None

    def register(self, poll):
        if self.closed or self.ended() and not self.outbox:
            return
        wanted = (select.POLLIN if self.reading and not self.ended() else 0) | (select.POLLOUT if self.outbox else 0)
        if wanted:
            poll.register(self.sock.fileno(), wanted)

    def poll(self):
        if self.closed:
            return
        try:
            while self.reading and not self.ended():
                data = self.sock.recv(1 << 17)
                self.eof = not data
                (self.outbox if self.echoing else self.inbox).extend(data)
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = error.errno
        try:
            while self.outbox and self.error is None:
                sent = self.sock.send(self.outbox)
                self.outgoing += sent
                del self.outbox[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = error.errno
        if self.shutting and not self.outbox and self.error is None:
            self.shutting = False
            self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.outbox += data
        self.poll()

    def finish(self):
        """Ends this direction, once all is sent."""
        self.shutting = True
        self.poll()

    def speaks_mptcp(self):
        """Whether the kernel has not fallen back to TCP. Of a connection that has, it tells nothing of MPTCP."""
        try:
            return not struct.unpack_from("I", self.sock.getsockopt(SOL_MPTCP, MPTCP_INFO, 64), 8)[0] & INFO_FALLBACK
        except OSError:
            return False

    def is_established(self):
        """Whether MPTCP is fully established, of the connection's one subflow."""
        with Lab.shared.inside():
            ports = f"sport = :{self.sock.getsockname()[1]} and dport = :{self.sock.getpeername()[1]}"
            said = subprocess.run(["ss", "-Htin", ports], capture_output=True, check=True, text=True).stdout
        flags = re.search(r"tcp-ulp-mptcp flags:(\w+)", said)
        return flags is not None and "e" in flags[1]

    def outcome(self):
        return errno.errorcode[self.error] if self.error else "end of file" if self.eof else "open"

    def close(self):
        if not self.closed:
            self.closed = True
            self.sock.close()


class Lab:
    """One case's surroundings. Every address is used by one case only, so that what the daemon knows of peers keeps apart."""

    shared = None

    def __init__(self, number, name):
        shared = Lab.shared
        self.name, self.number = name, number
        self.host = self.new_host(number)
        self.hosts, self.peers, self.listening = [self.host], [], None

    @staticmethod
    def new_host(number):
        return Host(Lab.shared.tun, f"10.99.{number // 250}.{number % 250 + 1}", f"fd99::{number + 1:x}")

    def second_host(self):
        """Another address of the same peer."""
        host = self.new_host(self.number + 2000)
        self.hosts.append(host)
        return host

    def tcp_socket(self, version=4, protocol=0):
        """A TCP or MPTCP socket in the daemon's network namespace."""
        with Lab.shared.inside():
            return socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM, protocol)

    # MARK: connections

    def opening(self, version=4, listener=None, protocol=0, tcp=None, host=None, quiet=False, kind=Peer, **plan):
        """The peer begins to connect to an application; (peer, listening socket)."""
        if listener is None:
            listener = self.tcp_socket(version, protocol)
            listener.bind(("::" if version == 6 else "0.0.0.0", 0))
            listener.listen(16)
            listener.setblocking(False)
        connection = Tcp(host or self.host, Lab.shared.address[version], listener.getsockname()[1], **(tcp or {}))
        peer = kind(connection, True, **plan)
        self.peers.append(peer)
        connection.quiet = quiet
        connection.connect()
        return peer, listener

    def accepted(self, listener, host=None):
        def try_accept():
            try:
                return listener.accept()[0]
            except BlockingIOError:
                return None
        application = Application(self.until(try_accept, "the application accepts", host=host))
        (host or self.host).applications.append(application)
        return application

    def active(self, **more):
        """The peer connects, and is accepted; (peer, application)."""
        peer, listener = self.opening(**more)
        application = self.accepted(listener, more.get("host"))
        if "listener" not in more:
            listener.close()
        return peer, application

    def passive(self, version=4, tcp=None, options=(), wait=True, answer=True, quiet=False, protocol=0, kind=Peer, **plan):
        """An application connects to the peer; (peer, application). The peer is None until a SYN came, if it is not waited for."""
        port, found = self.host.port(), []

        def make(segment):
            found.append(kind(Tcp(self.host, segment_source(segment), segment.source_port, port, **(tcp or {})), False, **plan))
            self.peers.append(found[0])
            found[0].tcp.mute, found[0].tcp.quiet = not answer, quiet
            return found[0].tcp.accept(segment)

        self.host.listen(port, make)
        sock = self.tcp_socket(version, protocol)
        for option in options:
            sock.setsockopt(*option)
        application = Application(sock)
        if (code := sock.connect_ex((self.host.addresses[4 if version == 4 else 16], port))) not in (0, errno.EINPROGRESS):
            raise Failure(f"connect: {os.strerror(code)}")
        self.until(lambda: found, "the application's SYN arrives")
        if wait:
            self.until(lambda: found[0].tcp.state == "established", "the application is connected")
        # Until then a socket has nothing to be read.
        self.host.applications.append(application)
        return found[0], application

    # MARK: waiting

    def until(self, condition, what, seconds=40, host=None):
        return (host or self.host).until(condition, what, seconds)

    def encrypted(self, peer):
        """Waits for keys, and compares what the daemon says of the connection."""
        self.until(lambda: peer.channel is not None or peer.enabled is False or peer.tcp.reset, "there are keys", host=peer.tcp.host)
        expect(peer.channel is not None, f"not encrypted: enabled {peer.enabled}, reset {peer.tcp.reset}, {peer.tcp.violations}")
        return peer.channel

    def exchange(self, peer, application, size=3000, back=True):
        """Bytes to the application and bytes back, compared."""
        host, out = peer.tcp.host, os.urandom(size)
        before = len(application.inbox)
        if peer.channel is not None:
            peer.channel.send(out)
            received = peer.channel.received
        else:
            peer.tcp.write(out)
            received = peer.tcp.rx
        host.until(lambda: len(application.inbox) >= before + size or application.ended(), "the application received all")
        expect(application.inbox[before:] == out, f"the application received {len(application.inbox) - before} bytes, not those sent; {application.outcome()}")
        if not back:
            return
        start, answer = len(received), os.urandom(size)
        application.send(answer)
        host.until(lambda: len(received) >= start + size or peer.tcp.reset, "the peer received all")
        expect(received[start:] == answer, f"the peer received {len(received) - start} bytes, not those sent")

    def is_plain(self, peer, application):
        """The connection goes on as ordinary TCP, and says nothing of ENO any more."""
        self.until(lambda: peer.enabled is False or peer.channel, "it is decided that there is no encryption", host=peer.tcp.host)
        expect(peer.enabled is False, "the connection is encrypted")
        self.exchange(peer, application)
        late = [segment for segment in peer.tcp.log if segment.raw_options(69) and not segment.has(2)]
        expect(not late, f"an ENO option after encryption was disabled: {late[0] if late else ''} (RFC 8547, 4.6)")

    def aborted(self, peer, application):
        """The connection ends with a reset on the wire, and with an error for the application."""
        self.until(lambda: application.ended(), "the application hears of the end", host=peer.tcp.host)
        expect(application.error is not None, "the application saw an end of file, not an error")
        self.until(lambda: peer.tcp.reset, "a reset arrives", host=peer.tcp.host)

    def subflow(self, peer):
        """What the daemon says of this connection (`tcpcryptctl connections --json`)."""
        host = peer.tcp.host
        address = host.addresses[len(peer.tcp.remote)]
        remote = f"[{address}]:{peer.tcp.port_here}" if ":" in address else f"{address}:{peer.tcp.port_here}"

        def ask():
            for connection in json.loads(Lab.shared.control("connections", "--json")):
                for subflow in connection["subflows"]:
                    if subflow["remote"] == remote and subflow["state"] != "handshake":
                        return subflow
            return None
        return host.until(ask, f"the daemon lists {remote}")

    def leave(self):
        violations = [f"{peer.tcp.local.hex()}: {what}" for peer in self.peers for what in peer.tcp.violations]
        for host in self.hosts:
            host.leave()
        return violations

    def trace(self):
        return [f"{index}: {segment}" for index, peer in enumerate(self.peers[-2:]) for segment in peer.tcp.log[-8:]]


def segment_source(segment):
    return socket.inet_ntop(socket.AF_INET if len(segment.source) == 4 else socket.AF_INET6, segment.source)


class Inside:
    """This thread in the daemon's network namespace, for as long as it takes to make a socket."""

    def __init__(self, own, other):
        self.own, self.other = own, other

    def __enter__(self):
        if libc.setns(self.other, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def __exit__(self, *_):
        libc.setns(self.own, CLONE_NEWNET)


class Shared:
    def __init__(self, tun, namespace, addresses, control):
        self.tun, self.address, self.command = tun, dict(zip((4, 6), addresses)), control
        # Held by a case that compares the kernel's counters, which all cases have in common.
        self.counting = threading.Lock()
        self.other = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
        self.own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def fallbacks(self):
        """The daemon's kernel's counters of connections that fell back to TCP after the SYNs."""
        with self.inside(), open("/proc/thread-self/net/netstat") as table:
            names, values = [line.split()[1:] for line in table if line.startswith("MPTcpExt:")]
        return {name: int(value) for name, value in zip(names, values) if "Fallback" in name and name != "MPCapableFallbackSYNACK"}

    def inside(self):
        return Inside(self.own, self.other)

    def control(self, *words):
        return subprocess.run([*self.command, *words], capture_output=True, check=True, text=True, timeout=30).stdout


def run(jobs, at_once):
    """Runs the cases, each in a thread; prints one line for each, and for a failed one what was wrong."""
    speaking = threading.Lock()

    def one(job):
        number, (title, function, arguments) = job
        lab, problem, details, began = Lab(number, function.__name__), None, [], time.monotonic()
        try:
            note = function(lab, **arguments)
        except Failure as failure:
            problem = str(failure)
        except Exception as error:
            problem, details = f"{type(error).__name__}: {error}", traceback.format_exc().splitlines()[-6:]
        trace = lab.trace()
        violations = lab.leave()
        with speaking:
            good = problem is None and not violations
            print("ok -" if good else "not ok -", title, flush=True)
            if good and isinstance(note, str):
                print(f"# {function.__name__}: {note}", flush=True)
            for line in [] if good else [function.__name__, problem or "", *violations, *details, *trace]:
                print("#  ", line, flush=True)
            if "TIMES" in os.environ:
                print(f"# {time.monotonic() - began:.2f} s: {title}", file=sys.stderr)
        return good

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return sum(not good for good in pool.map(one, jobs))
