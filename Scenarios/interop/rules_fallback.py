"""What makes a kernel under protected signalling fall back to TCP, and what must not (the article ProtectedSignalling)."""
import contextlib
import os
import time

import mptcp
from keys import PROTECTED
from lab import case, expect
from wire import ACK

MPTCP = 262
ARTICLE = "ProtectedSignalling"


@contextlib.contextmanager
def counted(lab, **wanted):
    """The kernel's counters of fallbacks grow by so much and no more."""
    with lab.shared.counting:
        before = lab.shared.fallbacks()
        yield
        grown = {name: value - before[name] for name, value in lab.shared.fallbacks().items() if value != before[name]}
        expect(grown == wanted, f"the kernel counts {grown}, not {wanted}")


def unheard(lab, **more):
    """The daemon's kernel has opened, and no frame has said anything of MPTCP."""
    peer, application = lab.passive(kind=mptcp.MptcpPeer, protocol=MPTCP, teps=(PROTECTED,), **more)
    channel = lab.encrypted(peer)
    peer.silent = True
    expect(peer.tep == PROTECTED and peer.is_capable, f"negotiated {peer.tep:#x}, MPTCP {peer.is_capable}")
    return peer, application, channel


def pause(lab, seconds):
    end = time.monotonic() + seconds
    lab.until(lambda: time.monotonic() >= end, "a pause")


def neither(application):
    """MPTCP has begun, and is not fully established."""
    expect(application.speaks_mptcp(), "the kernel fell back to TCP")
    expect(not application.is_established(), "the kernel takes MPTCP for established")


def acknowledged_in_header(lab, in_headers):
    with counted(lab):
        peer, application, channel = unheard(lab)
        peer.in_headers = in_headers
        application.send(b"first")
        lab.until(lambda: channel.received == b"first", "the first data arrives")
        # Frames that say nothing of MPTCP change nothing.
        for frame in ({}, {"rekey": True}, {"signals": bytes([253, 4, 1, 2])}):
            peer.tcp.transmit(ACK, peer.tcp.next)
            pause(lab, 0.2)
            peer.tcp.write(channel.frame(**frame))
            pause(lab, 0.2)
            neither(application)
        # The kernel has no acknowledgement: it sends again what there is, and no more.
        out = os.urandom(30_000)
        application.send(out)
        pause(lab, 0.3)
        neither(application)
        peer.silent = False
        peer.say(mptcp.dss(peer.data_ack()))
        lab.until(application.is_established, "a frame with a DSS establishes MPTCP", 3)
        lab.until(lambda: len(channel.received) >= 5 + len(out) or peer.tcp.reset, "the peer received all")
        expect(channel.received == b"first" + out and peer.connection.received == channel.received, "the peer received other bytes")
        back = os.urandom(20_000)
        peer.send_mapped(back)
        lab.until(lambda: len(application.inbox) >= len(back) or application.ended(), "data arrives")
        expect(application.inbox == back, f"the application received {len(application.inbox)} bytes, not those sent; {application.outcome()}")
        expect(application.speaks_mptcp(), "the kernel fell back to TCP")


for where, in_headers in (("with a DSS in the header", True), ("without a DSS", False)):
    case(f"MPTCP: a kernel that opened, and whose data is acknowledged {where}, neither falls back nor is established until a frame has a DSS",
         f"{ARTICLE}, Receiving", in_headers=in_headers)(acknowledged_in_header)


def falls_back(lab, says, has_sent):
    with counted(lab, MPCapableDataFallback=1):
        peer, application, channel = unheard(lab)
        if has_sent:
            application.send(b"first")
            lab.until(lambda: channel.received == b"first", "the first data arrives")
        pause(lab, 0.3)
        neither(application)
        if says:
            peer.fall_back()
            lab.until(lambda: not application.speaks_mptcp(), "the kernel falls back", 3)
        peer.fallen_back = True
        lab.exchange(peer, application, 50_000)
        expect(not application.speaks_mptcp(), "the kernel has not fallen back")
    expect(not channel.frames[-1].signals, f"a frame says {channel.frames[-1].signals}")
    expect(not peer.fallbacks_heard, "the daemon says that it fell back, to who said so")
    expect(lab.subflow(peer)["session_id"] == peer.session_id, "session IDs differ")


for how, says in (("says so", True), ("sends data without mapping", False)):
    for when, has_sent in ((", after its first data", True), (", before any data of its own", False)):
        case(f"MPTCP: a kernel that opened falls back to TCP when the peer, in frames, {how}{when}; data both ways, encrypted",
             f"{ARTICLE}, Receiving", says=says, has_sent=has_sent)(falls_back)


class Forgetful(mptcp.MptcpPeer):
    forgets = True


def fell_back(lab, speaks_first):
    with counted(lab, MPCapableFallbackACK=1):
        peer, listener = lab.opening(kind=Forgetful, protocol=MPTCP, teps=(PROTECTED,))
        application = lab.accepted(listener)
        channel = lab.encrypted(peer)
        expect(not application.speaks_mptcp(), "the kernel has not fallen back")
    listener.close()
    if speaks_first:
        peer.fallen_back = True
        application.send(b"hello")
        lab.until(lambda: channel.received == b"hello" or peer.tcp.reset, "data arrives")
    pause(lab, 0.3)
    expect(not peer.fallbacks_heard, "it says so before there is data to acknowledge")
    if speaks_first:
        channel.send(b"first")
    else:
        peer.send_mapped(b"first")
    lab.until(lambda: peer.fallbacks_heard or peer.tcp.reset, "the daemon says so")
    lab.until(lambda: application.inbox == b"first" or application.ended(), "the first data arrives")
    for _ in range(3):
        lab.exchange(peer, application, 30_000)
    expect(peer.fallbacks_heard == 1, f"the daemon says so {peer.fallbacks_heard} times")
    said = [raw for signals in peer.signals for raw in signals]
    expect(len(said) == 1, f"signals besides: {[raw.hex() for raw in said]}")
    return f"it says {said[0].hex()}"


for who, speaks_first in (("the peer", False), ("the application", True)):
    case(f"MPTCP: a kernel that fell back, for want of MP_CAPABLE on the third ACK, says so in one frame when it acknowledges data; {who} speaks first",
         f"{ARTICLE}, Sending", speaks_first=speaks_first)(fell_back)


def sacked(lab, timestamps, blocks):
    with counted(lab):
        peer, application, channel = unheard(lab, tcp=dict(timestamps=timestamps, sack=blocks))
        expect(peer.tcp.sack == blocks, "the kernel offers no SACK")
        starts, lost = set(), []

        def deaf(segment):
            """Every other segment with data is lost, from the second on."""
            begin = (segment.seq - peer.tcp.irs - 1) & 0xFFFFFFFF
            end = begin + len(segment.payload)
            if any(begin < stop and start < end for start, stop in lost):
                return True
            if segment.payload and begin not in starts:
                starts.add(begin)
                if len(starts) % 2 == 0 and len(lost) < blocks:
                    lost.append((begin, end))
                    return True
            return False

        peer.tcp.deaf = deaf
        out, back = os.urandom(40_000), os.urandom(5000)
        application.send(out)
        lab.until(lambda: len(peer.tcp.blocks()) == blocks, "there are gaps")
        neither(application)
        peer.send_mapped(back)
        lab.until(lambda: len(application.inbox) >= len(back) or application.ended(), "the first data arrives")
        expect(len(peer.tcp.blocks()) == blocks, "the gaps are gone")
        expect(application.inbox == back, f"the application received {len(application.inbox)} bytes, not those sent; {application.outcome()}")
        lab.until(application.is_established, "MPTCP is established", 3)
        peer.tcp.deaf, peer.silent = lambda segment: False, False
        lab.until(lambda: len(channel.received) >= len(out) or peer.tcp.reset, "the peer received all")
        expect(channel.received == out and peer.connection.received == out, "the peer received other bytes")
        expect(application.speaks_mptcp(), "the kernel fell back to TCP")


for timestamps in (True, False):
    for blocks in (2, 3):
        case(f"MPTCP: a kernel that opened gets its first data with {blocks} SACK blocks{' and timestamps' if timestamps else ''}: it does not fall back",
             f"{ARTICLE}, Receiving", timestamps=timestamps, blocks=blocks)(sacked)
