"""Connections of which one half has ended: what each end reads, may still send, and is told by poll. See corners.py."""
import functools
import select
import socket
import time

from pair import case, has_ended, outcome, read_pattern, send_pattern, until

CASES = []
case = functools.partial(case, CASES)


def events_of(sock):
    """What poll says of a socket that is to be read, and the error that it keeps (SO_ERROR)."""
    names = ("IN", "RDHUP", "HUP", "ERR")
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLRDHUP)
    events = poll.poll(0)[0][1] if poll.poll(0) else 0
    return [name for name in names if events & getattr(select, f"POLL{name}")]


@case()
def endings_polled(w):
    """what poll and SO_ERROR tell of half-closed, closed and aborted connections"""
    c, s = w.pair()
    w.exchange(c, s)
    w.say("open", events_of(c), events_of(s))
    c.shutdown(socket.SHUT_WR)
    until(lambda: has_ended(s))
    w.say("half-closed", events_of(c), events_of(s), *read_pattern(s))
    s.shutdown(socket.SHUT_WR)
    until(lambda: has_ended(c))
    w.say("closed", events_of(c), events_of(s), *read_pattern(c))
    c, s = w.pair()
    w.exchange(c, s)
    w.abort(c)
    until(lambda: has_ended(s, select.POLLERR), 5)
    w.say("aborted", events_of(s))
    error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    w.say("error", error, "then", s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), outcome(s.recv, 10))


@case()
def half_closed_either_way(w):
    """each end in turn closes its half, and the other half carries data, rests, and carries data again"""
    for turn in 0, 1:
        ends = w.pair()
        closing, other = ends[turn], ends[1 - turn]
        w.exchange(*ends)
        send_pattern(closing, 2000)
        closing.shutdown(socket.SHUT_WR)
        w.say(*read_pattern(other), outcome(other.recv, 10))
        send_pattern(other, 50_000)
        w.say(*read_pattern(closing, most=50_000))
        time.sleep(1.5)
        send_pattern(other, 40_000, 50_000)
        other.shutdown(socket.SHUT_WR)
        w.say(*read_pattern(closing, 50_000), outcome(closing.recv, 10), outcome(closing.send, b"x"))


@case()
def abort_of_a_half(w):
    """SO_LINGER 0: an abort by the end that has closed its half, and by the one that has not"""
    for turn in 0, 1:
        ends = w.pair()
        w.exchange(*ends)
        ends[0].shutdown(socket.SHUT_WR)
        w.say(*read_pattern(ends[1]))
        w.abort(ends[turn])
        other = ends[1 - turn]
        until(lambda: has_ended(other, select.POLLERR | select.POLLHUP), 5)
        w.say(turn, outcome(other.recv, 10), outcome(other.send, b"x"))


@case("TCP")
def fin_never_acknowledged(w):
    """data, then FIN, and nothing of the other end gets through: the reader has all, and its end"""
    c, s = w.pair()
    w.exchange(c, s)
    cut = w.rule(*w.to_a())
    send_pattern(c, 3000)
    c.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(s), cut.met(3))
    w.lift(cut)
    s.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(c))
