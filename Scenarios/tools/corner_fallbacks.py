"""Openings that may end in ordinary TCP: Fast Open on at both ends, SYNs that are lost or cross, or find no room. See corners.py."""
import functools
import socket

from pair import PATTERN, case, in_thread, name_of, outcome, read_pattern, send_pattern, state, together, until

CASES = []
case = functools.partial(case, CASES)
FASTOPEN, FASTOPEN_CONNECT = socket.TCP_FASTOPEN, 30


@case(slow=4)
def lost_syns(w):
    """the first SYN, then the first SYN-ACK of another connection, is lost"""
    for words in (w.to_b(), w.to_a()):
        listener = w.listener()
        lost = w.rule(*words)
        c = w.client()
        w.connect(c)
        w.say(lost.met())
        w.lift(lost)
        s, _ = listener.accept()
        s.settimeout(20)
        listener.close()
        w.exchange(c, s)
        s.close()


@case("TCP", slow=2)
def simultaneous_open(w):
    """both ends open to each other, and their SYNs cross"""
    ends = {"a": w.socket("a", port=w.port), "b": w.socket("b", port=w.port)}
    lost = [w.rule("--syn", *w.to_b())]
    for host, other in ("a", "b"), ("b", "a"):
        ends[host].setblocking(False)
        ends[host].connect_ex((w.address[other], w.port))
    w.say(lost[0].met(2))
    w.lift(*lost)
    w.say("open", until(lambda: all(state(end) == "ESTAB" for end in ends.values()), 15, 0.05))
    for end in ends.values():
        end.settimeout(20)
    send_pattern(ends["a"], 3000)
    w.say(*read_pattern(ends["b"], most=3000))
    send_pattern(ends["b"], 3000)
    w.say(*read_pattern(ends["a"], most=3000))
    ends["a"].close()
    w.say(*read_pattern(ends["b"]))


@case(slow=4)
def backlog_overflows(w):
    """more connections than the backlog takes: each is served or reset"""
    listener = w.listener(backlog=1)

    def visit():
        c = w.client(timeout=40)
        try:
            c.connect((w.address["b"], w.port))
            send_pattern(c, 2000)
            c.shutdown(socket.SHUT_WR)
            return read_pattern(c)
        except OSError as error:
            return name_of(error)

    done = []

    def serve():
        w.say("full", until(lambda: int(w.on("b", "ss", "-Hltn", f"sport = :{w.port}").split()[1]) > 1, 5, 0.02))
        listener.settimeout(0.1)
        while not done:
            try:
                s, _ = listener.accept()
            except TimeoutError:
                continue
            s.settimeout(10)
            got = read_pattern(s)
            # One that was reset in the queue may be served too.
            if got[1] == "WRONG" or got[1:] == ("right", "eof") and got[0] != 2000:
                w.say("WRONG", *got)
            outcome(send_pattern, s, 700)
            s.close()

    serving = in_thread(serve)
    results = together(*[visit] * 8)
    done.append(True)
    serving.join(10)
    # A connection that the full queue had no place for is served later, or is reset: by chance, with ordinary TCP too. A reset that
    # comes between sending and shutting down, or before the first read of MPTCP, is told by ENOTCONN.
    good = [(700, "right", "eof"), (0, "right", "ECONNRESET"), (0, "right", "ENOTCONN"), "ECONNRESET", "ENOTCONN"]
    w.say("served or reset", all(result in good for result in results) or ("WRONG", results), results.count(good[0]) >= 2)


def fast_open(w, how, count, words=(), turns=4):
    """Connections whose first data may ride on the SYN: what was sent arrives once."""
    listener = w.listener((socket.IPPROTO_TCP, FASTOPEN, 16))
    for turn in range(turns):
        lost = w.rule(*w.to_b(), "--syn", *words) if words else None
        c = w.client()
        if how == "sendto":
            c.setblocking(True)
            w.say(c.sendto(PATTERN[:count], socket.MSG_FASTOPEN, (w.address["b"], w.port)))
        else:
            c.setblocking(True)
            c.setsockopt(socket.IPPROTO_TCP, FASTOPEN_CONNECT, 1)
            c.connect((w.address["b"], w.port))
            w.say(c.send(PATTERN[:count]))
        c.settimeout(20)
        if lost:
            lost.met()
            w.lift(lost)
        s, _ = listener.accept()
        s.settimeout(20)
        w.sockets.append(s)
        send_pattern(c, 3000, count)
        c.shutdown(socket.SHUT_WR)
        w.say(turn, *read_pattern(s))
        send_pattern(s, 500)
        s.close()
        w.say(*read_pattern(c))
        c.close()


@case()
def fast_open_message(w):
    """Fast Open by MSG_FASTOPEN: a cookie is asked for, then used"""
    fast_open(w, "sendto", 600)


@case()
def fast_open_connect(w):
    """Fast Open by TCP_FASTOPEN_CONNECT"""
    fast_open(w, "connect", 600)


@case()
def fast_open_much(w):
    """Fast Open with more data than a SYN takes"""
    fast_open(w, "sendto", 5000)


@case(slow=9)
def fast_open_lost(w):
    """Fast Open, and the SYN with data is lost"""
    fast_open(w, "sendto", 600, ("-m", "length", "--length", "200:"), 2)
