"""Connections that were silent for so long that every conntrack on the way has forgotten them. See corners.py."""
import functools
import socket
import time

from pair import PATTERN, case, outcome, read_pattern, send_pattern, until

CASES = []
case = functools.partial(case, CASES)


def forgotten(w, *, silent=2.0):
    """Waits until no host knows the connection any more."""
    def known():
        listed = [w.on(host, "conntrack", "-L", "-f", f"ipv{w.version}", "-p", "tcp", "--dport", str(w.port)) for host in ("a", "r1", "b")]
        return any(listed)

    w.say("known", known())
    time.sleep(silent)
    w.say("forgotten", until(lambda: not known(), 10, 0.2))


@case(slow=5)
def idle(w):
    """idle and forgotten, then either end speaks first"""
    c, s = w.pair()
    w.exchange(c, s)
    forgotten(w)
    w.exchange(c, s, 50_000)
    forgotten(w)
    w.exchange(s, c, 50_000)
    s.close()
    w.say(*read_pattern(c))


@case(slow=5)
def idle_half_closed(w):
    """half-closed, idle and forgotten, then the other end speaks and closes"""
    c, s = w.pair()
    w.exchange(c, s)
    c.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(s))
    forgotten(w)
    send_pattern(s, 70_000)
    s.close()
    w.say(*read_pattern(c))


@case(slow=5)
def idle_then_reset(w):
    """idle and forgotten, then a reset"""
    c, s = w.pair()
    w.exchange(c, s)
    forgotten(w)
    w.abort(s)
    w.say(outcome(c.recv, 1))


@case(slow=5)
def idle_with_keep_alives(w):
    """kept alive by either end beyond what conntrack remembers"""
    c, s = w.pair()
    w.exchange(c, s)
    for end in c, s:
        for option, value in (socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3):
            end.setsockopt(socket.IPPROTO_TCP, option, value)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        probes = w.rule(*(w.to_b() if end is c else w.to_a()), target=("ACCEPT",))
        w.say("probes", probes.met(3))
        w.lift(probes)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        w.exchange(c, s, 20_000)


@case(slow=5)
def idle_with_data_lost(w):
    """idle and forgotten, then the first data is lost"""
    c, s = w.pair()
    w.exchange(c, s)
    forgotten(w)
    lost = w.rule(*w.to_b())
    w.say(*send_pattern(c, 20_000), lost.met())
    w.lift(lost)
    w.say(*read_pattern(s, most=20_000), s.send(PATTERN[:9]), c.recv(10))
