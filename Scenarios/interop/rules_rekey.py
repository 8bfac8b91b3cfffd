"""Rules of rekeying and of verified keep-alives (RFC 8548, 3.8 and 3.9), one case each."""
import os
import socket

from lab import case, expect
from rules_frames import alternately, arrives, pair


def answered(lab, channel, generation):
    lab.until(lambda: channel.generation_in >= generation or channel.tcp.reset, f"an answer of generation {generation}")
    expect(channel.generation_in == generation, f"generation {channel.generation_in}")


@alternately("a rekey with data is answered at once, with an empty frame where there is nothing to send", "RFC 8548, 3.8")
def with_data(lab, active):
    peer, application, channel = pair(lab, active)
    peer.tcp.write(channel.frame(b"new keys", rekey=True))
    arrives(lab, application, b"new keys")
    answered(lab, channel, 1)
    expect([frame.data for frame in channel.rekeys_in()] == [b""], "one empty frame with rekey = 1")
    lab.exchange(peer, application)
    expect(len(channel.rekeys_in()) == 1, "rekey = 1 in another frame")


@alternately("a rekey with an empty frame is answered; the application sees nothing of it", "RFC 8548, 3.8")
def without_data(lab, active):
    peer, application, channel = pair(lab, active)
    for generation in range(1, 6):
        peer.tcp.write(channel.frame(rekey=True))
        answered(lab, channel, generation)
    expect(not application.inbox and not application.ended(), "the application saw something")
    lab.exchange(peer, application)


@alternately("three generations at once, in one segment", "RFC 8548, 3.8")
def at_once(lab, active):
    peer, application, channel = pair(lab, active)
    peer.tcp.write(b"".join(channel.frame(word, rekey=True) for word in (b"one", b"two", b"three")))
    arrives(lab, application, b"onetwothree")
    answered(lab, channel, 3)
    expect(len(channel.rekeys_in()) == 3, f"{len(channel.rekeys_in())} frames with rekey = 1: each key set is used for the first time once")
    lab.exchange(peer, application)


@case("300 generations, during an exchange", "RFC 8548, 3.8")
def many(lab):
    peer, application, channel = pair(lab, True)
    application.echoing = True
    before, data = len(channel.received), os.urandom(300 * 100)
    for index in range(300):
        peer.tcp.write(channel.frame(data[index * 100:index * 100 + 100], rekey=True))
        # The RFC knows no limit; the daemon leaves no more than 128 answers unacknowledged.
        lab.until(lambda: channel.generation_out - channel.generation_in < 100 or channel.failed, "answers")
    lab.until(lambda: len(channel.received) >= before + len(data) and channel.generation_in == 300 or channel.failed, "all comes back", 40)
    expect(channel.received[before:] == data, "other data")


@alternately("both directions are full, keys change on both sides", "RFC 8548, 3.8")
def during_bulk(lab, active):
    peer, application, channel = pair(lab, active)
    before, out, back = len(channel.received), os.urandom(200_000), os.urandom(200_000)
    application.send(back)
    for at in range(0, len(out), 5000):
        peer.tcp.write(channel.frame(out[at:at + 5000], rekey=at % 25_000 == 0))
        lab.host.pump(0)
    lab.until(lambda: len(application.inbox) >= len(out) and len(channel.received) >= before + len(back), "all arrives")
    expect(application.inbox == out and channel.received[before:] == back, "other data")
    answered(lab, channel, 8)


@alternately("a rekey whose frame is cut over segments of one byte", "RFC 8548, 3.8")
def bytewise(lab, active):
    peer, application, channel = pair(lab, active)
    frames = channel.frame(b"a", rekey=True) + channel.frame(b"b") + channel.frame(b"c", rekey=True)
    peer.tcp.write(frames, cuts=range(1, len(frames)))
    arrives(lab, application, b"abc")
    answered(lab, channel, 2)


@alternately("old frames that come again after a rekey do no harm", "RFC 8548, 3.8")
def old_frames(lab, active):
    peer, application, channel = pair(lab, active)
    tcp, begin = peer.tcp, len(peer.tcp.tx)
    tcp.write(channel.frame(b"old keys") + channel.frame(b"new keys", rekey=True))
    arrives(lab, application, b"old keysnew keys")
    answered(lab, channel, 1)
    frames = bytes(tcp.tx[begin:])
    for at in (0, 10, 28, 35):
        tcp.transmit(0x18, begin + at, frames[at:])
    lab.exchange(peer, application)
    expect(channel.generation_in == 1, "another generation")


@alternately("what was sent before a rekey is sent again with its own keys", "RFC 8548, 3.8")
def sent_before(lab, active):
    peer, application, channel = pair(lab, active)
    tcp = peer.tcp
    # The daemon's data is lost (the peer is deaf to it) until after the rekey.
    lost = []
    tcp.deaf = lambda segment: bool(segment.payload) and (lost.append(segment) or len(lost) <= 2)
    before = len(channel.received)
    application.send(b"under the old keys " * 10)
    lab.until(lambda: lost, "the data is lost once")
    tcp.write(channel.frame(rekey=True))
    answered(lab, channel, 1)
    expect(channel.received[before:] == b"under the old keys " * 10, "other data")
    lab.exchange(peer, application)


@case("a rekey in the frame with FINp is answered", "RFC 8548, 3.8")
def with_finp(lab):
    peer, application, channel = pair(lab, True)
    channel.finish(b"end", rekey=True)
    arrives(lab, application, b"end")
    answered(lab, channel, 1)
    application.send(b"with new keys")
    application.finish()
    lab.until(lambda: peer.tcp.ended, "the other end")
    expect(channel.received.endswith(b"with new keys") and channel.ended, "the data, and FINp")


@case("a rekey after the daemon has sent FIN is taken, and answered by nothing", "RFC 8548, 3.8")
def after_fin(lab):
    peer, application, channel = pair(lab, True)
    application.finish()
    lab.until(lambda: peer.tcp.ended, "FIN arrives")
    for word in (b"one", b"two", b"three"):
        peer.tcp.write(channel.frame(word, rekey=True))
    arrives(lab, application, b"onetwothree")
    channel.finish(b"four", rekey=True)
    arrives(lab, application, b"four")
    lab.until(application.ended, "the end")
    expect(application.eof and not channel.rekeys_in(), f"{application.outcome()}, {len(channel.rekeys_in())} answers")


@case("an answer that is lost comes again", "RFC 8548, 3.8")
def answer_lost(lab):
    peer, application, channel = pair(lab, True)
    lost = []
    peer.tcp.deaf = lambda segment: bool(segment.payload) and (lost.append(segment) or len(lost) <= 2)
    peer.tcp.write(channel.frame(rekey=True))
    answered(lab, channel, 1)
    lab.exchange(peer, application)


# MARK: keep-alive

KEEPALIVE = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
             (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 40))


@case("keep-alives of the application's socket are verified: the daemon rekeys, the peer's answers keep the connection", "RFC 8548, 3.9")
def keep_alive(lab):
    peer, application = lab.passive(options=KEEPALIVE)
    channel = lab.encrypted(peer)
    lab.exchange(peer, application, 100)
    lab.until(lambda: channel.answers >= 3, "three probes that rekey")
    expect(not application.ended(), application.outcome())
    lab.exchange(peer, application, 100)
    expect(channel.generation_in == channel.generation_out, "generations")


@case("a peer that acknowledges and cannot rekey is dead: the application hears of it", "RFC 8548, 3.9 and 8.2")
def keep_alive_unanswered(lab):
    peer, application = lab.passive(options=(*KEEPALIVE[:3], (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)))
    channel = lab.encrypted(peer)
    lab.exchange(peer, application, 100)
    channel.answering = False
    lab.until(application.ended, "the application hears of the end", 25)
    expect(application.error is not None, "the application saw an end of file")
    expect(channel.generation_in == 1, f"{channel.generation_in} rekeys with empty frames, none of them answered: one is allowed")
    return f"the application saw {application.outcome()}"


@case("rekeys that cross make one generation, and no answers", "RFC 8548, 3.8")
def crossing(lab):
    peer, application = lab.passive(options=KEEPALIVE)
    channel = lab.encrypted(peer)
    lab.exchange(peer, application, 100)
    channel.answering = False
    lab.until(lambda: channel.answers_owed, "the daemon rekeys")
    # The peer has, as it sees it, not heard of that yet.
    generation = channel.generation_in
    peer.tcp.write(channel.frame(b"crossing", rekey=True))
    channel.answers_owed, channel.answering = 0, True
    lab.until(lambda: application.inbox.endswith(b"crossing"), "data of the crossing rekey arrives")
    expect(channel.generation_out == generation, "generations")
    lab.exchange(peer, application, 100)
    expect(channel.generation_in - channel.generation_out in (0, 1), "an answer to an answer")


@case("a TCP keep-alive of the peer's is acknowledged", "RFC 8548, 3.9")
def tcp_keep_alive(lab):
    for garbage in (b"", b"\0"):
        peer, application, channel = pair(lab, True)
        lab.until(lambda: peer.tcp.una == len(peer.tcp.tx), "all is acknowledged")
        seen = len(peer.tcp.log)
        peer.tcp.transmit(0x10, peer.tcp.next - 1, garbage)
        lab.until(lambda: len(peer.tcp.log) > seen, "an acknowledgement")
        expect(not application.inbox and not application.ended(), "the application saw something")
        lab.exchange(peer, application)
