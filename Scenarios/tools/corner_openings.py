"""How connections begin: refusals, crossing SYNs, full backlogs, Fast Open, addresses used again. See corners.py."""
import functools
import itertools
import socket
import struct
import time

from pair import case, in_thread, outcome, read_pattern, send_pattern, until

CASES = []
case = functools.partial(case, CASES)
QUEUE_SEQ, REPAIR, REPAIR_QUEUE = 21, 19, 20


@case()
def refused(w):
    """nobody listens: refused at once"""
    # Neighbours get to know each other.
    w.exchange(*w.pair(port=10000 + w.port))
    began = time.monotonic()
    c = w.client()
    w.say(outcome(c.connect, (w.address["b"], w.port)), "at once", time.monotonic() - began < 1)
    # And nothing remembers it: the next one is served.
    w.exchange(*w.pair(port=20000 + w.port))


def unreachable(w, *answers):
    for answer in answers:
        rule = w.rule(*w.to_b(), target=("REJECT", "--reject-with", answer))
        w.say(answer, outcome(w.client().connect, (w.address["b"], w.port)), rule.met())
        w.lift(rule)
    w.exchange(*w.pair())


@case(versions=(4,))
def unreachable4(w):
    """ICMP errors and a reset of a router, in answer to the SYN"""
    unreachable(w, "icmp-host-unreachable", "icmp-net-unreachable", "icmp-port-unreachable", "icmp-admin-prohibited", "tcp-reset")


@case(versions=(6,))
def unreachable6(w):
    """ICMPv6 errors and a reset of a router, in answer to the SYN"""
    unreachable(w, "icmp6-no-route", "icmp6-addr-unreachable", "icmp6-port-unreachable", "icmp6-adm-prohibited", "tcp-reset")


@case()
def unreachable_for_a_while(w):
    """ICMP errors in mid-connection pass, and the connection goes on"""
    c, s = w.pair()
    w.exchange(c, s)
    answer = "icmp-host-unreachable" if w.version == 4 else "icmp6-addr-unreachable"
    rule = w.rule(*w.to_b(), target=("REJECT", "--reject-with", answer))
    send_pattern(c, 5000)
    w.say(rule.met(2))
    w.lift(rule)
    w.say(*read_pattern(s, most=5000))
    w.exchange(c, s)


@case(slow=3)
def no_answer(w):
    """nobody answers at all: connect times out when plain TCP does"""
    lost = w.rule(*w.to_b())
    c = w.client(timeout=3.0)
    w.say(outcome(c.connect, (w.address["b"], w.port)), lost.met(2))
    w.lift(lost)


@case(slow=2)
def third_ack_lost(w):
    """the first third ACK, and all data with it, is lost"""
    listener = w.listener()
    lost = w.rule(*w.to_b(), "--tcp-flags", "SYN", "NONE")
    c = w.client()
    c.connect((w.address["b"], w.port))
    in_thread(send_pattern, c, 2000)
    w.say(lost.met(2))
    w.lift(lost)
    s, _ = listener.accept()
    s.settimeout(20)
    w.say(*read_pattern(s, most=2000))
    w.exchange(c, s)


@case(slow=1)
def addresses_again(w):
    """the same four addresses, 30 times, closed by either end in turn"""
    port = 20000 + w.port
    listener = w.listener()
    for turn in range(30):
        # The acceptor closes first: TIME-WAIT is on its side, and the opener's port is free.
        c, s = w.pair(port=port, listener=listener)
        send_pattern(c, 500)
        got = read_pattern(s, most=500)
        s.send(b"x")
        if turn % 3 == 2:
            w.abort(s if turn % 2 else c)
            w.say(turn, *got, outcome((c if turn % 2 else s).recv, 1) in (b"x", "ECONNRESET"))
        else:
            s.shutdown(socket.SHUT_WR)
            w.say(turn, *got, c.recv(10), c.recv(10))
        c.close()
        w.say(outcome(s.recv, 1) if turn % 3 != 2 else "")
        s.close()
        until(lambda: w.left_at("a") == 0, 2, 0.02)


@case("TCP")
def time_wait_at_the_opener(w):
    """TIME-WAIT at the opener: its addresses used again at once (tcp_tw_reuse)"""
    port = 20000 + w.port
    listener = w.listener()
    for _ in range(20):
        c, s = w.pair(port=port, listener=listener)
        w.exchange(c, s, 100)
        c.shutdown(socket.SHUT_WR)
        w.say(*read_pattern(s))
        s.close()
        w.say(*read_pattern(c))
        c.close()
        w.say(until(lambda: w.left_at("a", "time-wait") == 1, 2, 0.02))
        time.sleep(0.02)


@case(slow=2)
def opener_forgot(w):
    """an opener that lost its connection without a word opens it again"""
    port = 20000 + w.port
    listener = w.listener()
    c, s = w.pair(port=port, listener=listener)
    w.exchange(c, s)
    lost = w.rule(*w.to_b())
    w.abort(c)
    w.say(lost.met(), w.left_at("a"))
    w.lift(lost)
    again = w.client(port=port)
    w.say(outcome(again.connect, (w.address["b"], w.port)))
    w.patience(s)
    w.say(outcome(s.recv, 1))
    s, _ = listener.accept()
    s.settimeout(20)
    w.sockets.append(s)
    w.exchange(again, s)


@case("TCP")
def sequence_numbers_wrap(w):
    """sequence numbers that wrap right after the SYN, or in a frame, its tag, the FIN"""
    listener = w.listener()
    for before, count in itertools.product((0, 1, 2, 5, 75, 76, 79, 80, 95, 96, 97, 1500, 17000, 1 << 31), (1, 20, 40000)):
        c = w.client()
        c.setsockopt(socket.IPPROTO_TCP, REPAIR, 1)
        c.setsockopt(socket.IPPROTO_TCP, REPAIR_QUEUE, 2)
        c.setsockopt(socket.IPPROTO_TCP, QUEUE_SEQ, struct.pack("=I", (1 << 32) - 1 - before))
        c.setsockopt(socket.IPPROTO_TCP, REPAIR, 0)
        c.connect((w.address["b"], w.port))
        s, _ = listener.accept()
        s.settimeout(20)
        sending = in_thread(lambda: (send_pattern(c, count), c.shutdown(socket.SHUT_WR)))
        w.say(before, *read_pattern(s), *send_pattern(s, count))
        s.close()
        w.say(*read_pattern(c))
        sending.join(10)
        c.close()
