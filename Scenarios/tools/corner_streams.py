"""What flows in between: urgent data, small and closed windows, corks, files. See corners.py."""
import array
import fcntl
import functools
import os
import select
import signal
import socket
import struct
import tempfile
import termios
import threading
import time

from pair import PATTERN, case, has_ended, in_thread, outcome, read_pattern, received, send_pattern, together, until

CASES = []
case = functools.partial(case, CASES)
INLINE = (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
SIOCATMARK, SIOCOUTQ, SIOCINQ = 0x8905, termios.TIOCOUTQ, termios.FIONREAD


def asked(sock, what):
    answer = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), what, answer)
    return answer[0]


def said_step_by_step(w, sender, receiver, words):
    """Sends each word, urgent where it is marked with `!`, when the one before has arrived."""
    start = received(receiver)
    for word in words:
        urgent = word.startswith(b"!")
        sender.sendall(word[urgent:], socket.MSG_OOB if urgent else 0)
        start += len(word) - urgent
        until(lambda: received(receiver) >= start, 10, 0.001)
    w.say("all", received(receiver) == start)


def heard(w, sock, inline):
    """Reads all there is: the stream up to each mark, and the urgent bytes."""
    poll = select.poll()
    poll.register(sock, select.POLLPRI)
    sock.setblocking(False)
    for _ in range(50):
        mark, urgent = asked(sock, SIOCATMARK), bool(poll.poll(0))
        apart = "" if inline else outcome(sock.recv, 1, socket.MSG_OOB)
        data = outcome(sock.recv, 4096)
        count = len(data) if len(data) > 100 and data == data[:1] * len(data) else data
        w.say("mark" if mark else "-", "urgent" if urgent else "-", apart, count)
        if not data or isinstance(data, str):
            break
    sock.settimeout(20)


URGENT = [
    [b"!x"], [b"!x", b"abc"], [b"abc", b"!x"], [b"abc", b"!x", b"def"], [b"ab", b"!urgent", b"cd"], [b"!x", b"!y"],
    [b"abc", b"!x", b"def", b"!y", b"ghi", b"!z"], [b"a" * 1000, b"!x", b"b" * 1000, b"!y"], [b"a" * 20000, b"!x"],
    [b"a" * 4000, b"!" + b"u" * 4000, b"b" * 4000],
]


@case("TCP")
def urgent_apart(w):
    """urgent data out of band: byte, mark and stream, both directions"""
    c, s = w.pair(NODELAY)
    for words in URGENT:
        for sender, receiver in ((c, s), (s, c)):
            said_step_by_step(w, sender, receiver, words)
            heard(w, receiver, False)


@case("TCP")
def urgent_inline(w):
    """urgent data in line (SO_OOBINLINE), both directions"""
    c, s = w.pair(NODELAY, INLINE)
    for end in c, s:
        end.setsockopt(*INLINE)
    for words in URGENT:
        for sender, receiver in ((c, s), (s, c)):
            said_step_by_step(w, sender, receiver, words)
            heard(w, receiver, True)


@case("TCP")
def urgent_in_a_rush(w):
    """urgent bytes within a fast stream: all in order, the last mark where it belongs"""
    c, s = w.pair(INLINE)
    s.setsockopt(*INLINE)

    def rush():
        for number in range(200):
            c.sendall(PATTERN[number * 5000:number * 5000 + 4999])
            c.send(PATTERN[number * 5000 + 4999:number * 5000 + 5000], socket.MSG_OOB)

    in_thread(rush)
    w.say(*read_pattern(s, most=999_999))
    until(lambda: asked(s, SIOCATMARK) == 1, 5)
    w.say("mark", asked(s, SIOCATMARK), s.recv(10) == PATTERN[999_999:1_000_000])


@case("TCP")
def urgent_last(w):
    """an urgent byte and the end of the stream together"""
    for sent in 100, 20000:
        c, s = w.pair()
        c.send(b"a" * sent)
        c.send(b"!", socket.MSG_OOB)
        c.shutdown(socket.SHUT_WR)
        until(lambda: received(s) >= sent + 1 and has_ended(s))
        heard(w, s, False)


@case("TCP")
def urgent_lost(w):
    """the segment with the urgent byte is lost"""
    c, s = w.pair(NODELAY)
    w.exchange(c, s)
    for lost_words in [[b"abc", b"!x", b"def"], [b"a" * 3000, b"!x"]]:
        start = received(s)
        lost = w.rule(*w.to_b())
        for word in lost_words:
            c.send(word.lstrip(b"!"), socket.MSG_OOB if word.startswith(b"!") else 0)
        w.say(lost.met())
        w.lift(lost)
        total = sum(len(word.lstrip(b"!")) for word in lost_words)
        until(lambda: received(s) >= start + total)
        heard(w, s, False)


def signals_of(sock):
    """Has SIGURG of a socket sent to this very thread; returns a call that waits for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    set_owner, owner_thread = 15, 0
    fcntl.fcntl(sock.fileno(), set_owner, struct.pack("ii", owner_thread, threading.get_native_id()))
    return lambda seconds: signal.sigtimedwait({signal.SIGURG}, seconds) is not None


@case("TCP")
def urgent_signal(w):
    """SIGURG, the mark, and MSG_OOB before, at and after the urgent byte"""
    c, s = w.pair(NODELAY)
    for inline in False, True:
        if inline:
            s.setsockopt(*INLINE)
        urged = signals_of(s)
        s.setblocking(False)
        w.say("none yet", outcome(s.recv, 1, socket.MSG_OOB), urged(0))
        s.settimeout(20)
        said_step_by_step(w, c, s, [b"abc"])
        w.say("not for other data", urged(0.1))
        said_step_by_step(w, c, s, [b"!x"])
        w.say("signal", urged(5), "not at the mark", asked(s, SIOCATMARK))
        said_step_by_step(w, c, s, [b"def"])
        w.say("peek", outcome(s.recv, 1, socket.MSG_OOB | socket.MSG_PEEK), outcome(s.recv, 1, socket.MSG_OOB), outcome(s.recv, 1, socket.MSG_OOB))
        w.say(outcome(s.recv, 100), "mark", asked(s, SIOCATMARK), outcome(s.recv, 100), "behind it", asked(s, SIOCATMARK))
        w.say("one signal", urged(0.1))


@case("TCP")
def urgent_at_closed_window(w):
    """an urgent byte behind a closed window: its mark is where it belongs"""
    c, s = w.pair((socket.SOL_SOCKET, socket.SO_RCVBUF, 8192), (socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000), INLINE)
    s.setsockopt(*INLINE)
    send_pattern(c, 150_000)
    c.send(b"!", socket.MSG_OOB)
    c.shutdown(socket.SHUT_WR)
    time.sleep(1)
    w.say(*read_pattern(s, most=150_000))
    until(lambda: asked(s, SIOCATMARK) == 1, 5)
    w.say("mark", asked(s, SIOCATMARK), outcome(s.recv, 10), outcome(s.recv, 10))


@case("TCP")
def urgent_then_reset(w):
    """an urgent byte, then an abort: an error; and no urgent byte behind the end of what may be sent"""
    c, s = w.pair(NODELAY)
    said_step_by_step(w, c, s, [b"abc", b"!x"])
    w.abort(c)
    until(lambda: has_ended(s, select.POLLERR), 5)
    w.say(outcome(s.recv, 10), outcome(s.recv, 10), outcome(s.recv, 1, socket.MSG_OOB))
    c, s = w.pair()
    c.shutdown(socket.SHUT_WR)
    w.say(outcome(c.send, b"x", socket.MSG_OOB), *read_pattern(s))


@case()
def queues_are_counted(w):
    """what is still unacknowledged (SIOCOUTQ) and unread (SIOCINQ) is counted in the application's bytes"""
    c, s = w.pair()
    send_pattern(c, 10000)
    w.say(until(lambda: asked(s, SIOCINQ) == 10000), until(lambda: asked(c, SIOCOUTQ) == 0))
    c.send(b"x")
    w.say(until(lambda: asked(s, SIOCINQ) == 10001), until(lambda: asked(c, SIOCOUTQ) == 0))


def window(w, count, size, pause):
    """Both directions against a receiver with a small buffer that reads late, and then slowly."""
    small = (socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    c, s = w.pair(small)
    s.setsockopt(*small)

    def reader(sock):
        time.sleep(pause)
        return read_pattern(sock)

    def writer(sock):
        done = send_pattern(sock, count)
        sock.shutdown(socket.SHUT_WR)
        return done

    for end in c, s:
        end.settimeout(60)
    began = time.monotonic()
    results = together(lambda: writer(c), lambda: writer(s), lambda: reader(c), lambda: reader(s))
    w.say(*results)
    return time.monotonic() - began


@case(slow=10)
def closed_window(w):
    """a receiver that does not read for 4 s"""
    window(w, 1_000_000, 16384, 4)


@case(slow=8)
def tiny_window(w):
    """the smallest window there is (SO_RCVBUF 1)"""
    window(w, 100_000, 1, 0)


@case(slow=1)
def slow_reader(w):
    """a receiver that reads a few bytes at a time"""
    c, s = w.pair((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096))
    in_thread(lambda: (send_pattern(c, 60_000), c.shutdown(socket.SHUT_WR)))
    got = b""
    while data := s.recv(37):
        got += data
    w.say(len(got), got == PATTERN[:60_000])


@case()
def corked(w):
    """TCP_CORK and MSG_MORE: all arrives, in order"""
    c, s = w.pair()
    position = 0
    for size in (1, 10, 100, 1000, 3000, 7, 1):
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for _ in range(5):
            position += c.send(PATTERN[position:position + size])
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    w.say(*read_pattern(s, most=position))
    for size in (1, 10, 100, 1000, 3000):
        for _ in range(5):
            position += c.send(PATTERN[position:position + size], socket.MSG_MORE)
    position += c.send(PATTERN[position:position + 1])
    c.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(s, 5 * 4119))


@case()
def files(w):
    """sendfile from a file, splice into a pipe"""
    c, s = w.pair()
    with tempfile.TemporaryFile() as file:
        file.write(PATTERN)
        file.flush()

        def send():
            done = 0
            while done < len(PATTERN):
                done += os.sendfile(c.fileno(), file.fileno(), done, len(PATTERN) - done)
            c.shutdown(socket.SHUT_WR)

        c.setblocking(True)
        s.setblocking(True)
        in_thread(send)
        reading, writing = os.pipe()
        got = bytearray()
        while count := os.splice(s.fileno(), writing, 1 << 16):
            while count:
                piece = os.read(reading, count)
                got += piece
                count -= len(piece)
        w.say(len(got), got == PATTERN)
        # And the other way: from a pipe into the socket.
        for start in range(0, 900_000, 30_000):
            left = os.write(writing, PATTERN[start:start + 30_000])
            while left:
                left -= os.splice(reading, s.fileno(), left)
            if read_pattern(c, start, 30_000) != (30_000, "right", "enough"):
                w.say("WRONG at", start)
        s.shutdown(socket.SHUT_WR)
        w.say(*read_pattern(c))
        os.close(reading)
        os.close(writing)


@case()
def scattered(w):
    """many small writes with Nagle's algorithm and without, both directions at once"""
    c, s = w.pair()
    for end in c, s:
        end.setsockopt(*NODELAY)
    sizes = [1, 2, 3, 19, 20, 21, 255, 256, 257, 1000, 1419, 1420, 1421, 1440, 1441, 1460, 16383, 16384, 16385, 40000]

    def write(sock):
        position = 0
        for size in sizes * 3:
            while size:
                done = sock.send(PATTERN[position:position + size])
                position += done
                size -= done
        sock.shutdown(socket.SHUT_WR)

    threads = [in_thread(write, end) for end in (c, s)]
    w.say(*together(lambda: read_pattern(s), lambda: read_pattern(c)))
    for thread in threads:
        thread.join(10)
