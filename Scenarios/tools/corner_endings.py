"""How connections end: FINs, resets at every state, closed ends, ends that vanish. See corners.py."""
import functools
import select
import socket
import struct
import time

from pair import PATTERN, case, has_ended, in_thread, outcome, read_pattern, received, send_pattern, state, until

CASES = []
case = functools.partial(case, CASES)
FIN = ("--tcp-flags", "FIN", "FIN")
RST = ("--tcp-flags", "RST", "RST")


@case()
def both_fins_lost(w):
    """both ends close at once, and both FINs are lost"""
    c, s = w.pair()
    w.exchange(c, s)
    lost = [w.rule(*w.to_b(), *FIN), w.rule(*w.to_a(), *FIN)]
    c.shutdown(socket.SHUT_WR)
    s.shutdown(socket.SHUT_WR)
    if w.kind == "TCP":
        w.say("both lost", *[rule.met() for rule in lost], state(c), state(s))
    w.lift(*lost)
    w.say(*read_pattern(c), *read_pattern(s))


@case()
def data_with_fin(w):
    """the last data and the FIN are one segment"""
    c, s = w.pair((socket.IPPROTO_TCP, socket.TCP_CORK, 1))
    for sender, receiver in ((c, s), (s, c)):
        send_pattern(sender, 700)
        sender.shutdown(socket.SHUT_WR)
        w.say(*read_pattern(receiver))


@case()
def data_with_fin_lost(w):
    """the segment of the last data and the FIN is lost"""
    c, s = w.pair((socket.IPPROTO_TCP, socket.TCP_CORK, 1))
    w.exchange(c, s, 4000)
    lost = w.rule(*w.to_b(), *FIN)
    send_pattern(c, 700)
    c.shutdown(socket.SHUT_WR)
    if w.kind == "TCP":
        w.say("lost", lost.met(2))
    w.lift(lost)
    w.say(*read_pattern(s))
    s.close()
    w.say(*read_pattern(c))


@case()
def last_ack_lost(w):
    """the acknowledgement of the second FIN is lost"""
    c, s = w.pair()
    w.exchange(c, s)
    c.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(s))
    lost = w.rule(*w.to_b())
    s.close()
    w.say(*read_pattern(c), lost.met(2))
    c.close()
    w.lift(lost)
    w.say("all closed", until(lambda: w.left_at("a") + w.left_at("b") == 0, 10, 0.05))


@case()
def close_lingers(w):
    """close with SO_LINGER waits for the data, and returns"""
    c, s = w.pair()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 15))
    closing = in_thread(lambda: (send_pattern(c, 900_000), c.close()))
    w.say(*read_pattern(s))
    s.close()
    closing.join(15)
    w.say("closed", not closing.is_alive())


@case()
def close_with_unread_data(w):
    """close with unread data is a reset"""
    c, s = w.pair()
    w.exchange(c, s)
    send_pattern(c, 5000)
    until(lambda: received(s) == 8000)
    s.close()
    w.say(outcome(c.recv, 10), outcome(c.recv, 10))
    w.say(outcome(c.send, b"x"))


@case()
def abort_with_data_in_flight(w):
    """an abort with data in flight: a prefix of it, then the error"""
    c, s = w.pair((socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000))
    c.settimeout(0.3)
    sent, _ = send_pattern(c, 3_000_000)
    w.abort(c)
    count, right, ending = read_pattern(s)
    w.say("a prefix", count <= sent, right, ending)
    w.say(outcome(s.send, b"x"))


def reset_from(w, which, early):
    """Aborts while what the acceptor sends, an Init2 in the encrypted case, is lost."""
    listener = w.listener()
    lost = w.rule(*w.to_a(), "-m", "length", "--length", "111:")
    c = w.client()
    c.connect((w.address["b"], w.port))
    s, _ = listener.accept()
    s.settimeout(20)
    w.sockets.append(s)
    if early:
        send_pattern(c, early)
    w.abort(c if which == "c" else s)
    # What waits for keys is lost with them.
    w.say(read_pattern(s if which == "c" else c)[1:])
    w.lift(lost)
    c, s = w.pair(listener=listener)
    w.exchange(c, s)


@case()
def opener_resets_in_key_exchange(w):
    """RST of the opener while keys are exchanged"""
    reset_from(w, "c", 0)


@case()
def opener_resets_with_data_waiting(w):
    """RST of the opener while its data waits for keys"""
    reset_from(w, "c", 100)


@case()
def acceptor_resets_in_key_exchange(w):
    """RST of the acceptor while keys are exchanged"""
    reset_from(w, "s", 0)


@case()
def opener_gone_before_syn_ack(w):
    """an opener that left before the SYN-ACK came: RST in SYN-RECV"""
    listener = w.listener()
    lost = w.rule(*w.to_a())
    c = w.client()
    w.connect(c)
    w.say(lost.met())
    c.close()
    w.lift(lost)
    w.say("nothing half-open", until(lambda: w.left_at("b") == 0, 10, 0.05))
    listener.settimeout(0.2)
    w.say(outcome(listener.accept))
    listener.settimeout(20)
    w.exchange(*w.pair(listener=listener))


@case()
def abort_before_accept(w):
    """an abort before accept: the data, then the error"""
    listener = w.listener()
    c = w.client()
    c.connect((w.address["b"], w.port))
    send_pattern(c, 1000)
    if w.kind == "TCP":
        until(lambda: "1000" in w.on("b", "ss", "-Htn", "state", "established", f"sport = :{w.port}"), 5, 0.05)
    else:
        time.sleep(0.5)
    w.abort(c)
    until(lambda: w.left_at("b") == 0, 5, 0.05)
    s, _ = listener.accept()
    s.settimeout(20)
    w.say(*read_pattern(s))


@case()
def reset_when_established(w):
    """RST in ESTABLISHED, of either end: error at once, then EPIPE"""
    for turn in 0, 1:
        ends = w.pair()
        w.exchange(*ends)
        w.abort(ends[turn])
        other = ends[1 - turn]
        w.say(outcome(other.recv, 10), outcome(other.send, b"x"), outcome(other.recv, 10))


@case()
def reset_seen_by_writer(w):
    """RST while the other end writes"""
    c, s = w.pair()
    w.exchange(c, s)
    send_pattern(c, 2000)
    until(lambda: received(s) == 5000)
    w.abort(s)
    w.say("told", until(lambda: state(c) == "CLOSE") if w.kind == "TCP" else time.sleep(0.5))
    w.say(outcome(c.send, b"x"), outcome(c.send, b"x"), outcome(c.recv, 10))


@case()
def reset_in_fin_wait(w):
    """RST in FIN-WAIT-2"""
    c, s = w.pair()
    w.exchange(c, s)
    c.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(s))
    until(lambda: state(c) == "FIN-WAIT-2", 2)
    w.abort(s)
    w.say(outcome(c.recv, 10))


@case()
def reset_in_fin_wait_1(w):
    """RST in FIN-WAIT-1, with data and FIN unacknowledged"""
    c, s = w.pair()
    w.exchange(c, s)
    lost = w.rule(*w.to_b(), "-m", "length", "--length", "53:")
    send_pattern(c, 3000)
    c.shutdown(socket.SHUT_WR)
    w.say(lost.met())
    w.abort(s)
    w.say(outcome(c.recv, 10))


@case()
def reset_in_close_wait(w):
    """RST in CLOSE-WAIT: what is left is read, then the error"""
    c, s = w.pair()
    w.exchange(c, s)
    send_pattern(c, 2000)
    c.shutdown(socket.SHUT_WR)
    until(lambda: received(s) >= 5000 and has_ended(s))
    w.abort(c)
    until(lambda: has_ended(s, select.POLLERR), 5)
    w.say(*read_pattern(s), outcome(s.send, b"x"))


@case("TCP")
def reset_in_last_ack(w):
    """RST in LAST-ACK and in CLOSING: nothing is left of the connection"""
    c, s = w.pair()
    w.exchange(c, s)
    c.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(s))
    lost = w.rule(*w.to_a(), *FIN)
    s.close()
    w.say(lost.met(), w.left_at("b", "last-ack"))
    w.abort(c)
    w.say("gone", until(lambda: w.left_at("b") == 0, 10, 0.05))
    w.lift(lost)


@case("TCP")
def reset_in_time_wait(w):
    """RST in TIME-WAIT, which it ends"""
    seen = w.sniffer()
    c, s = w.pair()
    w.exchange(c, s)
    s.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(c))
    c.close()
    w.say(read_pattern(s))
    s.close()
    w.say(until(lambda: w.left_at("b", "time-wait") == 1, 5, 0.05))
    seen.reset_after_fin(from_a=True)
    w.say("gone", until(lambda: w.left_at("b", "time-wait") == 0, 5, 0.05))


@case()
def lost_reset(w):
    """the RST is lost: the next data is answered with one"""
    c, s = w.pair()
    w.exchange(c, s)
    lost = w.rule(*w.to_a(), *RST)
    w.abort(s)
    w.say(lost.met())
    w.lift(lost)
    c.send(PATTERN[:100])
    w.patience(c)
    w.say(outcome(c.recv, 10))


@case("TCP")
def killed_socket(w):
    """a socket destroyed by the administrator (ss -K)"""
    c, s = w.pair()
    w.exchange(c, s)
    w.on("b", "ss", "-K", f"sport = :{w.port}")
    w.say(outcome(s.recv, 10), outcome(c.recv, 10))


@case()
def shut_for_reading(w):
    """SHUT_RD: end of file here, the other direction goes on"""
    c, s = w.pair()
    w.exchange(c, s)
    c.shutdown(socket.SHUT_RD)
    w.say(outcome(c.recv, 10))
    w.say(*send_pattern(c, 1000), *read_pattern(s, most=1000))
    s.send(b"x" * 100)
    time.sleep(0.1)
    w.say(*send_pattern(c, 1000), *read_pattern(s, most=1000))
    c.shutdown(socket.SHUT_WR)
    w.say(*read_pattern(s))


@case()
def write_after_shutdown(w):
    """writing after SHUT_WR and to a closed peer"""
    c, s = w.pair()
    w.exchange(c, s)
    c.shutdown(socket.SHUT_WR)
    w.say(outcome(c.send, b"x"), *read_pattern(s))
    c.close()
    w.say(outcome(s.send, b"x"))
    time.sleep(0.2)
    w.say(outcome(s.send, b"x"), outcome(s.recv, 1))


@case()
def fin_behind_zero_window(w):
    """data and FIN behind a closed window arrive when it opens"""
    c, s = w.pair((socket.SOL_SOCKET, socket.SO_RCVBUF, 8192), (socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000))
    c.settimeout(0.5)
    sent, _ = send_pattern(c, 150_000)
    w.say("sent", sent)
    c.shutdown(socket.SHUT_WR)
    time.sleep(1)
    w.say(*read_pattern(s))
    s.close()
    c.settimeout(10)
    w.say(*read_pattern(c))


@case("TCP", slow=3)
def user_timeout(w):
    """TCP_USER_TIMEOUT ends a connection whose path is gone"""
    c, s = w.pair((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1500))
    w.exchange(c, s)
    cut = w.rule(*w.to_b())
    c.send(PATTERN[:100])
    began = time.monotonic()
    w.say(outcome(c.recv, 10), cut.met(2), "in time", time.monotonic() - began < 8)


@case(slow=5)
def keep_alive(w):
    """keep-alives keep a live connection, and end a dead one"""
    c, s = w.pair((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
                  (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2))
    w.exchange(c, s)
    probes = w.rule(*w.to_b(), target=("ACCEPT",))
    w.say("probes", probes.met(3))
    w.lift(probes)
    w.exchange(c, s)
    # Both ways: whoever gives up first would tell the other by a reset.
    cut = w.rule(*w.to_b())
    w.rule(*w.to_a())
    began = time.monotonic()
    w.patience(c)
    w.say(outcome(c.recv, 10), cut.met(2), "in time", time.monotonic() - began < 10)


@case(slow=3)
def peer_vanished(w):
    """the other end is gone without a word, while the path was cut"""
    c, s = w.pair()
    w.exchange(c, s)
    cut = w.rule(*w.to_a())
    w.abort(s)
    w.say(cut.met(), w.left_at("b"))
    w.lift(cut)
    w.patience(c)
    w.say(outcome(c.send, PATTERN[:3000]), outcome(c.recv, 10))
