"""Protected signalling (the article ProtectedSignalling): who does not know it gets RFC 8548, and rule by rule what it demands."""
import os
import socket
import struct
import time

import mptcp
from keys import CURVE25519, PROTECTED
from lab import case, expect
from wire import ACK, RST

MPTCP = 262
RESET = mptcp.RESET
ARTICLE = "ProtectedSignalling"


def connect(lab, active, **plan):
    plan = {"teps": (PROTECTED, CURVE25519), **plan}
    peer, application = lab.active(**plan) if active else lab.passive(**plan)
    channel = lab.encrypted(peer)
    return peer, application, channel


def both(title, section, **more):
    """A case in each role."""
    def mark(function):
        for active in (True, False):
            case(f"{title}, {'the peer opens' if active else 'the daemon opens'}", f"{ARTICLE}, {section}", active=active, **more)(function)
        return function
    return mark


# MARK: fallback

@both("a peer that knows RFC 8548 alone gets RFC 8548: reserved bits are zero", "Negotiation")
def unaware(lab, active):
    peer, application, channel = connect(lab, active, teps=(CURVE25519,))
    if not active:
        expect(peer.theirs.teps[:2] == [PROTECTED, CURVE25519], f"the daemon offers {peer.theirs.teps}")
    expect(peer.tep == CURVE25519, f"negotiated {peer.tep:#x}")
    lab.exchange(peer, application, 20_000)
    # That control has no reserved bits set is checked with each frame.
    expect(channel.frames and not any(frame.signals for frame in channel.frames), "frames with signals")


@both("an MPTCP peer that knows RFC 8548 alone gets RFC 8548, and options in headers", "Negotiation")
def unaware_mptcp(lab, active):
    peer, application, channel = connect(lab, active, teps=(CURVE25519,), kind=mptcp.MptcpPeer, protocol=MPTCP)
    expect(peer.tep == CURVE25519 and peer.is_capable, f"negotiated {peer.tep:#x}, MPTCP {peer.is_capable}")
    application.send(b"x" * 5000)
    lab.until(lambda: len(channel.received) >= 5000, "data arrives")
    mapped = [segment for segment in peer.tcp.log if segment.payload and segment.raw_options(mptcp.KIND)]
    expect(mapped, "no MPTCP option in the header of a segment with data")
    expect(not any(frame.signals for frame in channel.frames), "frames with signals")


@both("both know it: chosen, whatever the peer likes more", "Negotiation")
def chosen(lab, active):
    peer, application, _ = connect(lab, active, teps=(CURVE25519, PROTECTED) if active else (PROTECTED,))
    expect(peer.tep == PROTECTED, f"negotiated {peer.tep:#x}")
    lab.exchange(peer, application)
    expect(lab.subflow(peer)["session_id"] == peer.session_id and peer.session_id.startswith("20"), "session IDs differ")


# MARK: frames

SIGNALS = [
    ("an option of MPTCP", mptcp.option(mptcp.PRIO, 1)), ("another option", bytes([253, 4, 1, 2])), ("40 bytes", bytes([253, 40]) + bytes(38)),
    ("one that goes beyond the end", bytes([30, 9, 0x20, 1])), ("one of length 0", bytes([30, 0, 0x20, 1])), ("half an option", b"\x1e"),
]


@case("signals of all kinds in the frames of an ordinary TCP connection are ignored, the data is not", f"{ARTICLE}, Frames")
def signals_of_tcp(lab):
    peer, application, channel = connect(lab, True)
    sent = b""
    for number, (_, signals) in enumerate(SIGNALS):
        peer.tcp.write(channel.frame(b"%d" % number, signals=signals))
        peer.tcp.write(channel.frame(signals=signals))
        peer.tcp.write(channel.frame(b"more", signals=signals, rekey=True))
        sent += b"%dmore" % number
    # One byte of it is urgent, and so out of band.
    peer.tcp.write(channel.frame(b"last", urgent=0, signals=mptcp.option(mptcp.PRIO, 1)))
    lab.until(lambda: len(application.inbox) >= len(sent) + 3 or application.ended(), "data arrives")
    expect(application.inbox == sent + b"ast", f"the application received {bytes(application.inbox)}")
    lab.exchange(peer, application)
    expect(not application.ended(), application.outcome())


def spoilt(lab, spoil):
    peer, application, channel = connect(lab, True)
    peer.tcp.write(channel.frame(b"good"))
    lab.until(lambda: application.inbox == b"good", "good data arrives")
    peer.tcp.write(spoil(channel))
    lab.aborted(peer, application)
    expect(application.inbox == b"good", "the application received something")


for title, spoil in [
        ("with 41 bytes of signals", lambda channel: channel.frame(b"bad", signals=bytes([253, 41]) + bytes(39))),
        ("shorter than its signals", lambda channel: channel.seal(cres=9, plaintext=b"\0" + bytes(8))),
        ("with URGp, signals, and no room for the field", lambda channel: channel.seal(cres=4, plaintext=b"\2" + RESET + b"\0")),
        ("whose n somebody changed", lambda channel: bytes([8]) + channel.frame(b"bad data", signals=RESET * 2)[1:]),
]:
    case(f"a frame {title} does not authenticate: abort", f"{ARTICLE}, Frames", spoil=spoil)(spoilt)


# MARK: resets

@both("a reset that a frame says ends an ordinary TCP connection", "Resets")
def signed_reset(lab, active):
    peer, application, channel = connect(lab, active)
    lab.exchange(peer, application)
    peer.tcp.write(channel.frame(signals=RESET))
    lab.until(application.ended, "the application hears of it", 3)
    expect(application.error is not None, "an end of file, not an error")


@both("an application that resets says so in a frame first", "Resets")
def says_reset(lab, active):
    peer, application, channel = connect(lab, active)
    lab.exchange(peer, application)
    application.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    application.close()
    read_to_reset(lab, peer)
    expect([mptcp.subtype(raw) for raw in channel.frames[-1].signals] == [mptcp.TCPRST], f"the last frame says {channel.frames[-1].signals}")
    first = next(segment for segment in peer.tcp.log if segment.has(RST))
    expect((first.seq - peer.tcp.irs - 1) & 0xFFFFFFFF >= channel.frames[-1].offset, "the reset comes before the frame that says it")


def read_to_reset(lab, peer):
    """Frames and reset may come at once."""
    lab.until(lambda: peer.tcp.reset, "the reset")
    peer.work()


def forge_reset(peer):
    """What anybody on the path could send."""
    peer.tcp.transmit(RST | ACK, peer.tcp.next, options=b"")


@both("a reset that no frame says is not obeyed while the peer answers", "Resets")
def doubted(lab, active):
    peer, application, channel = connect(lab, active)
    lab.exchange(peer, application)
    for _ in range(3):
        forge_reset(peer)
    lab.until(lambda: channel.rekeys_in(), "the daemon asks by rekeying")
    began = time.monotonic()
    lab.until(lambda: application.ended() or time.monotonic() > began + 4, "four seconds")
    expect(not application.ended(), f"the application saw {application.outcome()}")
    lab.exchange(peer, application)


@both("a reset that no frame says is obeyed after three seconds where nobody answers", "Resets")
def obeyed(lab, active):
    peer, application, channel = connect(lab, active)
    lab.exchange(peer, application)
    forge_reset(peer)
    peer.tcp.deaf, peer.tcp.quiet, peer.tcp.timer = lambda segment: True, True, None
    began = time.monotonic()
    lab.until(application.ended, "the application hears of it", 10)
    expect(application.error is not None, "an end of file, not an error")
    expect(2.5 < time.monotonic() - began < 6, f"after {time.monotonic() - began:.1f} s")


@both("without the extension a reset counts at once", "Resets")
def plain_reset(lab, active):
    peer, application, channel = connect(lab, active, teps=(CURVE25519,))
    lab.exchange(peer, application)
    forge_reset(peer)
    lab.until(application.ended, "the application hears of it", 2)


@both("a reset counts at once where a direction has ended with FINp", "Resets")
def after_fin(lab, active):
    peer, application, channel = connect(lab, active)
    lab.exchange(peer, application)
    application.finish()
    lab.until(lambda: channel.ended, "FINp arrives")
    forge_reset(peer)
    lab.until(application.ended, "the application hears of it", 2)


# MARK: MPTCP

def multipath(lab, active):
    peer, application, channel = connect(lab, active, kind=mptcp.MptcpPeer, protocol=MPTCP)
    expect(peer.tep == PROTECTED and peer.is_capable, f"negotiated {peer.tep:#x}, MPTCP {peer.is_capable}")
    if active:
        peer.send_mapped(b"first")
        lab.until(lambda: application.inbox == b"first" or application.ended(), "the first data arrives")
    else:
        application.send(b"first")
        lab.until(lambda: channel.received == b"first" or peer.tcp.reset, "the first data arrives")
    expect(not application.ended(), application.outcome())
    return peer, application, channel


@both("MPTCP: mappings and acknowledgements in frames, both ways; DATA_FIN; ends", "Sending and Receiving")
def mapped(lab, active):
    peer, application, channel = multipath(lab, active)
    out, back, begin, start = os.urandom(30_000), os.urandom(100_000), len(application.inbox), len(channel.received)
    peer.send_mapped(out)
    application.send(back)
    lab.until(lambda: len(application.inbox) >= begin + len(out) or application.ended(), "the application received all")
    expect(application.inbox[begin:] == out, f"the application received {len(application.inbox) - begin} bytes, not those sent; {application.outcome()}")
    lab.until(lambda: len(channel.received) >= start + len(back) or peer.tcp.reset, "the peer received all")
    expect(channel.received[start:] == back and peer.connection.received == channel.received, "the peer received other bytes")
    # Mappings and acknowledgements are checked as they arrive.
    lab.until(lambda: peer.acknowledged == peer.connection.sent, "all is acknowledged in frames")
    peer.finish_data()
    lab.until(application.ended, "the application hears of the end")
    expect(application.eof, f"the application saw {application.outcome()}, not an end of file")
    application.finish()
    lab.until(lambda: peer.connection.data_fin, "a frame with DATA_FIN")


@both("MPTCP: ADD_ADDR in a frame is echoed in a frame", "Sending")
def address(lab, active):
    peer, application, channel = multipath(lab, active)
    peer.say(peer.add_address(9, bytes([10, 98, 7, 6])))
    lab.until(lambda: peer.said(mptcp.ADD_ADDR) or peer.tcp.reset, "an echo")
    echo = peer.said(mptcp.ADD_ADDR)[0]
    expect(echo == mptcp.option(mptcp.ADD_ADDR, 1, bytes([9, 10, 98, 7, 6])), f"the echo is {echo.hex()}")


@both("MPTCP: MP_FASTCLOSE in a frame ends the connection, in a header it does not", "Receiving")
def fastclose(lab, active):
    peer, application, channel = multipath(lab, active)
    close = mptcp.option(mptcp.FASTCLOSE, 0, b"\0" + peer.their_key)
    peer.tcp.transmit(ACK, peer.tcp.next, options=close)
    peer.tcp.transmit(ACK, peer.tcp.next, options=mptcp.dss(peer.data_ack(), peer.end_of_data(), 0, 1, fin=True))
    peer.send_mapped(b"behind them")
    lab.until(lambda: application.inbox.endswith(b"behind them") or application.ended(), "data arrives")
    expect(not application.ended(), f"the application saw {application.outcome()}")
    peer.say(close)
    lab.until(application.ended, "the application hears of it", 5)
    expect(application.error is not None, "an end of file, not an error")


@case("MPTCP: an application that resets says MP_FASTCLOSE or MP_TCPRST in a frame", f"{ARTICLE}, Resets")
def says_fastclose(lab):
    peer, application, channel = multipath(lab, True)
    application.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    application.close()
    read_to_reset(lab, peer)
    closes = peer.said(mptcp.FASTCLOSE)
    expect(closes or peer.said(mptcp.TCPRST), f"the last frame says {channel.frames[-1].signals}")
    expect(all(raw[4:12] == peer.key for raw in closes), "MP_FASTCLOSE with another key")


def to_be_joined(lab):
    """A connection whose listener stays: a join needs one."""
    peer, listener = lab.opening(kind=mptcp.MptcpPeer, protocol=MPTCP, teps=(PROTECTED,))
    application = lab.accepted(listener)
    lab.encrypted(peer)
    peer.send_mapped(b"first")
    lab.until(lambda: application.inbox == b"first", "the first data arrives")
    lab.until(lambda: peer.acknowledged, "a first acknowledgement")
    return peer, application, listener


@case("MPTCP: two subflows, mappings and acknowledgements in the frames of both", f"{ARTICLE}, Negotiation; JoinChains, 3 to 5")
def joined(lab):
    peer, application, listener = to_be_joined(lab)
    join = mptcp.JoinPeer(peer)
    lab.peers.append(join)
    lab.encrypted(join)
    expect(join.resumed and join.tep == PROTECTED, "another TEP than the connection's (ProtectedSignalling, Negotiation)")
    lab.until(lambda: join.heard_non_syn, "the join is answered")
    expect(lab.subflow(join)["session_id"] == join.session_id and join.session_id.startswith("a0"), "session IDs differ")
    pieces = [os.urandom(7000) for _ in range(6)]
    for piece, subflow in zip(pieces, (join, peer) * 3):
        subflow.send_mapped(piece)
    lab.until(lambda: len(application.inbox) >= 5 + 42_000 or application.ended(), "the application received all")
    expect(application.inbox == b"first" + b"".join(pieces), f"the application received other bytes; {application.outcome()}")
    back = os.urandom(200_000)
    application.send(back)
    lab.until(lambda: len(join.connection.received) >= len(back) or peer.tcp.reset, "the peer received all")
    expect(join.connection.received == back, "the peer received other bytes")
    lab.until(lambda: max(peer.acknowledged, join.acknowledged) == peer.connection.sent, "all is acknowledged in frames")
    join.say(mptcp.RESET)
    peer.send_mapped(b"the rest")
    lab.until(lambda: application.inbox.endswith(b"the rest") or application.ended(), "one subflow goes on")
    expect(not application.ended(), application.outcome())
    listener.close()
    return f"{len(peer.channel.received)} and {len(join.channel.received)} bytes on the subflows"


@case("MPTCP: a join with another TEP than its connection's is refused", f"{ARTICLE}, Negotiation; JoinChains, 3")
def join_with_other_tep(lab):
    peer, application, listener = to_be_joined(lab)
    join = mptcp.JoinPeer(peer, CURVE25519)
    lab.peers.append(join)
    lab.until(lambda: join.tcp.reset or join.tcp.log, "an answer")
    expect(join.tcp.reset, f"it is answered: {join.tcp.log[0]}")
    peer.send_mapped(b"goes on")
    lab.until(lambda: application.inbox.endswith(b"goes on"), "the connection goes on")
    listener.close()
