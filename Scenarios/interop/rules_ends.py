"""Rules of ends and of urgent data (RFC 8548, 3.7), one case each."""
import os
import socket
import struct

from lab import case, expect
from rules_frames import alternately, arrives, pair
from wire import ACK, FIN, PSH

# MARK: ends

@alternately("FINp with its FIN is an end of file, data and all; the other direction goes on", "RFC 8548, 3.7")
def half_close(lab, active):
    peer, application, channel = pair(lab, active)
    channel.finish(b"the last words")
    arrives(lab, application, b"the last words")
    lab.until(application.ended, "the end")
    expect(application.eof, f"{application.outcome()}, not an end of file")
    data = os.urandom(100_000)
    before = len(channel.received)
    application.send(data)
    application.finish()
    lab.until(lambda: peer.tcp.ended, "the other direction's end")
    expect(channel.received[before:] == data and channel.ended, "the data, and FINp")


@alternately("the application ends first, the peer goes on", "RFC 8548, 3.7")
def half_close_there(lab, active):
    peer, application, channel = pair(lab, active)
    application.send(b"z" * 5000)
    application.finish()
    lab.until(lambda: peer.tcp.ended, "FIN arrives")
    expect(channel.ended and channel.received.endswith(b"z" * 5000), "FINp, and the data")
    lab.exchange(peer, application, 50_000, back=False)
    channel.finish()
    lab.until(application.ended, "the end")
    expect(application.eof, f"{application.outcome()}, not an end of file")


@alternately("FIN without FINp is an error", "RFC 8548, 3.7")
def truncated(lab, active):
    peer, application, channel = pair(lab, active)
    peer.tcp.write(channel.frame(b"and then nothing"))
    arrives(lab, application, b"and then nothing")
    peer.tcp.shut()
    lab.aborted(peer, application)


@case("FIN in the middle of a frame is an error", "RFC 8548, 3.7")
def truncated_frame(lab):
    peer, application, channel = pair(lab, True)
    peer.tcp.shut(channel.frame(b"half a frame")[:15])
    lab.aborted(peer, application)
    expect(not application.inbox, "the application received something")


@case("FIN on a segment behind a gap is none until the gap is filled", "RFC 8548, 3.7")
def fin_behind_gap(lab):
    peer, application, channel = pair(lab, True)
    tcp, begin = peer.tcp, len(peer.tcp.tx)
    first, last = channel.frame(b"first"), channel.frame(b"last", fin=True)
    tcp.transmit(ACK | FIN, begin + len(first), last)
    lab.until(lambda: tcp.log[-1].ack == (tcp.iss + 1 + begin) & 0xFFFFFFFF, "a duplicate acknowledgement or nothing", 25)
    expect(not application.ended(), "the application saw an end")
    tcp.tx += first
    tcp.transmit(ACK, begin, first)
    tcp.next = len(tcp.tx)
    tcp.shut(last)
    arrives(lab, application, b"firstlast")
    lab.until(application.ended, "the end")
    expect(application.eof, f"{application.outcome()}, not an end of file")


@case("FIN in a segment of its own behind the frame with FINp", "RFC 8548, 3.7")
def fin_alone(lab):
    peer, application, channel = pair(lab, True)
    peer.tcp.write(channel.frame(b"end", fin=True))
    arrives(lab, application, b"end")
    peer.tcp.shut()
    lab.until(application.ended, "the end")
    expect(application.eof, f"{application.outcome()}, not an end of file")
    lab.until(lambda: peer.tcp.una == len(peer.tcp.tx) + 1, "FIN is acknowledged")


@case("FINp is an end of file although FIN has not come", "RFC 8548, 3.7")
def finp_alone(lab):
    peer, application, channel = pair(lab, True)
    peer.tcp.write(channel.frame(b"end", fin=True))
    arrives(lab, application, b"end")
    lab.until(application.ended, "the end", 10)
    expect(application.eof, f"{application.outcome()}, not an end of file")


@case("data after FINp never arrives", "RFC 8548, 3.7")
def after_finp(lab):
    peer, application, channel = pair(lab, True)
    peer.tcp.write(channel.frame(b"end", fin=True) + channel.frame(b"too late"))
    lab.until(lambda: application.ended() or len(application.inbox) > 3, "the end")
    expect(application.inbox in (b"end", b""), f"the application received {bytes(application.inbox)}")
    return f"the application saw {bytes(application.inbox)!r}, then: {application.outcome()}"


@case("a second FINp with its FIN changes nothing that was seen", "RFC 8548, 3.7")
def finp_twice(lab):
    peer, application, channel = pair(lab, True)
    peer.tcp.shut(channel.frame(b"end", fin=True) + channel.frame(b"more", fin=True))
    lab.until(lambda: application.ended() or len(application.inbox) > 3, "the end")
    expect(application.inbox in (b"end", b""), f"the application received {bytes(application.inbox)}")
    return f"the application saw {bytes(application.inbox)!r}, then: {application.outcome()}"


@case("a reset of the peer's is an error", "RFC 8548, 8")
def reset(lab):
    peer, application, channel = pair(lab, True)
    peer.tcp.abort()
    lab.until(application.ended, "the end")
    expect(application.error is not None, "the application saw an end of file")


@case("an application that aborts resets the connection", "RFC 8548, 3.7")
def abort_there(lab):
    peer, application, channel = pair(lab, True)
    application.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    application.close()
    lab.until(lambda: peer.tcp.reset, "a reset")
    expect(not channel.ended, "FINp of an aborted connection")


@case("both ends close at once", "RFC 8548, 3.7")
def close_both(lab):
    peer, application, channel = pair(lab, True)
    application.finish()
    channel.finish()
    lab.until(lambda: application.ended() and peer.tcp.ended, "both ends")
    expect(application.eof and channel.ended, f"{application.outcome()}")
    lab.until(lambda: peer.tcp.una == len(peer.tcp.tx) + 1, "FIN is acknowledged")


# MARK: urgent data

def finds_urgent(lab, application, byte):
    """The application gets it out of band."""
    received = []

    def out_of_band():
        try:
            received.append(application.sock.recv(1, socket.MSG_OOB))
        except OSError:
            pass
        return received

    lab.until(out_of_band, "urgent data arrives")
    expect(received == [byte], f"{received} is urgent, not {byte}")


@alternately("URGp: the application finds the urgent byte where it is, also without URG in the header", "RFC 8548, 3.7")
def urgent(lab, active):
    peer, application, channel = pair(lab, active)
    application.sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 0)
    application.reading = False
    # The sum of the offsets is the index of the last byte of urgent data: here that of "!".
    peer.tcp.write(channel.frame(b"before!after", urgent=6))
    finds_urgent(lab, application, b"!")
    application.reading = True
    arrives(lab, application, b"beforeafter")
    lab.exchange(peer, application)


@case("URGp: the urgent byte lies in a later frame", "RFC 8548, 3.7")
def urgent_ahead(lab):
    peer, application, channel = pair(lab, True)
    application.reading = False
    peer.tcp.write(channel.frame(b"in this ", urgent=17))
    peer.tcp.write(channel.frame(b"or a later!one"))
    # "in this " and "or a later" are 18 bytes: the last byte of urgent data is the "r".
    finds_urgent(lab, application, b"r")
    application.reading = True
    arrives(lab, application, b"in this or a late!one")
    lab.exchange(peer, application)


@case("URG in the header without URGp is not urgent", "RFC 8547, 5")
def urgent_forged(lab):
    peer, application, channel = pair(lab, True)
    frame = channel.frame(b"nothing urgent here")
    tcp = peer.tcp
    tcp.tx += frame
    tcp.transmit(ACK | PSH, tcp.next, frame, urgent=10)
    tcp.next = len(tcp.tx)
    tcp.arm()
    arrives(lab, application, b"nothing urgent here")
    try:
        expect(not application.sock.recv(1, socket.MSG_OOB), "there is urgent data")
    except OSError:
        pass
    lab.exchange(peer, application)


@case("urgent data of the application's: URGp, and the index of its last byte", "RFC 8548, 3.7")
def urgent_there(lab):
    peer, application, channel = pair(lab, True)
    before = len(channel.received)
    application.sock.send(b"some words!", socket.MSG_OOB)
    lab.until(lambda: len(channel.received) >= before + 11, "the data arrives")
    marks = {frame.at + frame.urgent for frame in channel.frames if frame.urgent is not None}
    expect(marks == {before + 10}, f"urgent data ends at {marks}, the application said {before + 10}")
    lab.exchange(peer, application)


@case("urgent data in line", "RFC 8548, 3.7")
def urgent_inline(lab):
    peer, application, channel = pair(lab, True)
    application.sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    peer.tcp.write(channel.frame(b"words, and!more", urgent=10))
    # Reading stops in front of the urgent byte.
    arrives(lab, application, b"words, and!more")
    lab.exchange(peer, application)
