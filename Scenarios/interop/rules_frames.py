"""Rules of encryption frames (RFC 8548, 3.6, 3.7 and 4.2), one case each."""
import os
import socket

from frames import LARGEST
from lab import case, expect
from wire import ACK, PSH

ROLES = (True, False)


def pair(lab, active, **more):
    peer, application = lab.active(**more) if active else lab.passive(**more)
    channel = lab.encrypted(peer)
    lab.exchange(peer, application, 100)
    del application.inbox[:]
    return peer, application, channel


def arrives(lab, application, data, what="the data arrives"):
    lab.until(lambda: len(application.inbox) >= len(data) or application.ended(), what)
    expect(application.inbox == data, f"{len(application.inbox)} of {len(data)} bytes arrived, {application.outcome()}")
    del application.inbox[:]


def alternately(title, *sections):
    """The case for both roles of the peer."""
    def mark(function):
        for active in ROLES:
            case(f"{title}; the peer is host {'A' if active else 'B'}", *sections, active=active)(function)
        return function
    return mark


# MARK: sizes

@alternately("frames of every size from 1 to 300 bytes, and around segments'", "RFC 8548, 3.6")
def sizes(lab, active):
    peer, application, channel = pair(lab, active)
    sizes = [*range(1, 301), 1399, 1400, 1401, 1419, 1420, 1421, 1440, 1441, 1448, 1460, 1461, 2880, 2900, 9000, 16383, 16384, 16385, 32768]
    data = os.urandom(sum(sizes))
    at = 0
    for size in sizes:
        peer.tcp.write(channel.frame(data[at:at + size]))
        at += size
    arrives(lab, application, data)


@alternately("frames of the largest size, and next to it", "RFC 8548, 3.6 and 4.2")
def largest(lab, active):
    peer, application, channel = pair(lab, active)
    for size in (LARGEST, LARGEST - 1, LARGEST, 65000):
        data = os.urandom(size)
        peer.tcp.write(channel.frame(data))
        arrives(lab, application, data, f"a frame of {size} bytes arrives")
    lab.exchange(peer, application)


@case("a largest frame is the first one, without window scaling", "RFC 8548, 3.6")
def largest_first(lab):
    for tcp in (dict(scale=None, mss=536), dict(scale=0)):
        peer, application = lab.active(tcp=tcp)
        channel = lab.encrypted(peer)
        data = os.urandom(LARGEST)
        peer.tcp.write(channel.frame(data))
        arrives(lab, application, data)
        lab.exchange(peer, application)


@case("largest frames for a socket with a small receive buffer that reads late", "RFC 8548, 3.6")
def small_buffer(lab):
    peer, application = lab.passive(options=((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),))
    channel = lab.encrypted(peer)
    application.reading = False
    data = os.urandom(3 * LARGEST)
    for at in range(0, len(data), LARGEST):
        peer.tcp.write(channel.frame(data[at:at + LARGEST]))
    lab.until(lambda: peer.tcp.una > 1000, "something is acknowledged")
    application.reading = True
    arrives(lab, application, data)


@alternately("frames in segments of one byte", "RFC 8548, 4.2")
def bytewise(lab, active):
    peer, application, channel = pair(lab, active)
    data = os.urandom(300)
    frames = channel.frame(data[:1]) + channel.frame(data[1:200]) + channel.frame() + channel.frame(data[200:])
    peer.tcp.write(frames, cuts=range(1, len(frames)))
    arrives(lab, application, data)
    lab.exchange(peer, application)


@alternately("many frames in one segment, empty ones among them", "RFC 8548, 4.2")
def many_in_one(lab, active):
    peer, application, channel = pair(lab, active)
    data = os.urandom(40)
    frames = b"".join(channel.frame(data[index:index + 1]) + (channel.frame() if index % 3 == 0 else b"") for index in range(40))
    peer.tcp.write(frames)
    arrives(lab, application, data)
    # Frames that begin and end anywhere in their segments.
    data = os.urandom(20_000)
    frames = b"".join(channel.frame(data[at:at + 77]) for at in range(0, len(data), 77))
    peer.tcp.write(frames)
    arrives(lab, application, data)
    lab.exchange(peer, application)


@alternately("empty frames alone are acknowledged and end nothing", "RFC 8548, 4.2.1")
def empty(lab, active):
    peer, application, channel = pair(lab, active)
    for _ in range(150):
        peer.tcp.write(channel.frame())
    lab.until(lambda: peer.tcp.una == len(peer.tcp.tx), "empty frames are acknowledged")
    expect(not application.ended() and not application.inbox, "the application saw something")
    lab.exchange(peer, application)


@alternately("reserved bits of control and flags are ignored", "RFC 8548, 4.2 and 4.2.1")
def reserved(lab, active):
    peer, application, channel = pair(lab, active)
    for cres, fres in ((0x7F, 0), (0, 0x3F), (0x55, 0x2A), (0x7F, 0x3F)):
        peer.tcp.write(channel.frame(b"reserved", cres=cres, fres=fres))
    arrives(lab, application, b"reserved" * 4)
    peer.tcp.write(channel.frame(b"and rekey", cres=0x7F, fres=0x3F, rekey=True))
    arrives(lab, application, b"and rekey")
    lab.until(lambda: channel.generation_in == 1, "the answer to a rekey")
    channel.finish(cres=0x40, fres=0x20)
    lab.until(application.ended, "the end")
    expect(application.eof, f"{application.outcome()}, not an end of file")


# MARK: bad frames

def spoilt(lab, spoil):
    """A frame that can never authenticate. What the RFC lets the daemon do: abort, at the latest at its end."""
    peer, application, channel = pair(lab, True)
    good = channel.frame(b"good")
    peer.tcp.write(good)
    arrives(lab, application, b"good")
    peer.tcp.write(spoil(channel))
    lab.until(lambda: application.ended(), "the application hears of it")
    expect(not application.inbox, "the application received something")
    lab.aborted(peer, application)


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


for title, section, spoil in [
        ("whose tag is wrong", "3.6", lambda channel: flip(channel.frame(b"bad"), -1)),
        ("whose ciphertext is wrong", "3.6", lambda channel: flip(channel.frame(b"bad"), 3)),
        ("with a rekey bit that somebody set", "3.8", lambda channel: flip(channel.frame(b"bad"), 0)),
        ("with a reserved bit that somebody set: control is associated data", "4.2.2", lambda channel: b"\x80" + channel.frame(b"bad")[1:]),
        ("of clen 0", "4.2", lambda channel: b"\0\0\0" + bytes(30)),
        ("of clen 1", "4.2", lambda channel: b"\0\0\1" + bytes(30)),
        ("of clen 15, less than a tag", "4.2", lambda channel: b"\0\0\x0f" + bytes(30)),
        ("of clen 16, a tag of garbage", "4.2", lambda channel: b"\0\0\x10" + bytes(30)),
        ("that authenticates but has no flags", "4.2.1", lambda channel: channel.seal(plaintext=b"")),
        ("that authenticates, with URGp and no room for the field", "4.2.1", lambda channel: channel.seal(plaintext=b"\x02\x00")),
        ("of another offset", "4.2.3", lambda channel: shifted(channel)),
        ("of the other direction's key", "3.3", lambda channel: reflected(channel)),
]:
    case(f"a frame {title}: abort", f"RFC 8548, {section}", spoil=spoil)(spoilt)


def shifted(channel):
    channel.next_out += 1
    return channel.frame(b"bad")


def reflected(channel):
    """A whole frame of the daemon's own, sent back to it."""
    return bytes(channel.tcp.rx[channel.frames[0].offset:channel.next_in])


@case("a frame that does not authenticate, then the genuine one: data or an abort, nothing else", "RFC 8548, 3.6")
def then_genuine(lab):
    peer, application, channel = pair(lab, True)
    genuine = channel.frame(b"genuine data")
    at = len(peer.tcp.tx)
    peer.tcp.transmit(ACK | PSH, at, flip(genuine, 20))
    peer.tcp.write(genuine)
    lab.until(lambda: application.inbox or application.ended(), "something happens")
    if application.inbox:
        arrives(lab, application, b"genuine data")
        lab.exchange(peer, application)
        return "the genuine retransmission is taken"
    lab.aborted(peer, application)
    return "the connection is aborted"


# MARK: retransmissions

@alternately("retransmissions with other boundaries, overlapping and long past", "RFC 8548, 3.6")
def boundaries(lab, active):
    peer, application, channel = pair(lab, active)
    tcp, data = peer.tcp, os.urandom(6000)
    begin = len(tcp.tx)
    frames = b"".join(channel.frame(data[at:at + 500]) for at in range(0, len(data), 500))
    # Only every second segment, then pieces that do not fit what was sent, then all of it, then what is long acknowledged.
    tcp.tx += frames
    for at in range(0, len(frames), 1400):
        tcp.transmit(ACK, begin + at, frames[at:at + 700])
    for at in range(0, len(frames), 333):
        tcp.transmit(ACK, begin + at, frames[max(0, at):at + 600])
    tcp.next = len(tcp.tx)
    tcp.arm()
    arrives(lab, application, data)
    lab.until(lambda: tcp.una == len(tcp.tx), "all is acknowledged")
    for at in range(0, len(frames), 1000):
        tcp.transmit(ACK, begin + at, frames[at:at + 1000])
    lab.exchange(peer, application)


@alternately("segments in the opposite order", "RFC 8548, 3.6")
def reversed_order(lab, active):
    peer, application, channel = pair(lab, active)
    tcp, data = peer.tcp, os.urandom(9000)
    begin = len(tcp.tx)
    frames = b"".join(channel.frame(data[at:at + 2000]) for at in range(0, len(data), 2000))
    tcp.tx += frames
    for at in reversed(range(0, len(frames), 1000)):
        tcp.transmit(ACK, begin + at, frames[at:at + 1000])
    tcp.next = len(tcp.tx)
    tcp.arm()
    arrives(lab, application, data)
    lab.exchange(peer, application)


@alternately("what the daemon sends again is the same, whatever was acknowledged in between", "RFC 8548, 3.6")
def same_bytes(lab, active):
    peer, application, channel = pair(lab, active)
    tcp = peer.tcp
    # The peer hears everything and acknowledges nothing, while more data comes in small writes; Tcp compares.
    tcp.quiet = True
    for index in range(8):
        application.send(bytes([index]) * 700)
        lab.host.pump(0.05)
    seen = len(tcp.log)
    lab.until(lambda: any(segment.payload for segment in tcp.log[seen:]) and len(tcp.log) >= seen + 2, "retransmissions")
    tcp.speak()
    lab.until(lambda: len(channel.received) >= 5600 + 100, "all arrives")
    expect(channel.received[-5600:] == b"".join(bytes([index]) * 700 for index in range(8)), "other data")


@alternately("the peer's window is small, or closed for a while: nothing is sent beyond it", "RFC 9293, 3.8.6")
def small_window(lab, active):
    for window in (3000, 600, 100):
        tcp = dict(scale=None, window=window)
        peer, application = lab.active(tcp=tcp) if active else lab.passive(tcp=tcp)
        channel = lab.encrypted(peer)
        data = os.urandom(4000)
        application.send(data)
        lab.until(lambda: len(channel.received) >= 1000, "some arrives")
        peer.tcp.window = 0
        peer.tcp.transmit(ACK, peer.tcp.next)
        probes = lambda: [segment for segment in peer.tcp.log[-1:] if not segment.payload]
        lab.until(lambda: probes() or len(channel.received) == 4000, "a probe of the closed window")
        peer.tcp.window = window
        peer.tcp.transmit(ACK, peer.tcp.next)
        lab.until(lambda: len(channel.received) >= 4000, "all arrives")
        expect(channel.received == data, "other data")
