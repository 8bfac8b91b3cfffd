"""Rules of TCP-ENO (RFC 8547), and of tcpcrypt's use of it (RFC 8548, 3.2), one case each."""

import eno
from keys import CURVE448, CURVE25519, P256, P521, PROTECTED, SCHEMES
from lab import Application, case, expect, segment_source
from peer import Peer
from tcp import Tcp
from wire import ACK, SYN

X, P = CURVE25519, P256
B = eno.PASSIVE


def enos(segments):
    return [segment.raw_options(eno.KIND) for segment in segments]


# MARK: SYNs that the daemon receives

def offered(lab, option, tep, version=4):
    """The daemon receives a SYN with that; `tep` is the one it must choose, with v = 0, or None."""
    peer, application = lab.active(option=option, version=version, teps=tuple(SCHEMES))
    if tep is None:
        lab.is_plain(peer, application)
        return
    channel = lab.encrypted(peer)
    expect(peer.tep == tep and not peer.resumed, f"negotiated {peer.tep:#x}, resumed {peer.resumed}")
    expect(peer.theirs.suboptions == [(tep, False, b"")], f"the SYN-ACK says {peer.theirs.raw.hex()}")
    expect(peer.theirs.globals == [B], f"global suboptions {peer.theirs.globals} in the SYN-ACK: it needs one, with b = 1 alone")
    lab.exchange(peer, application)
    expect(not channel.failed, "frames do not authenticate")
    expect(lab.subflow(peer)["session_id"] == peer.session_id, "session IDs differ")


OFFERS = [
    ("one TEP", "RFC 8547, 4.5", eno.option(X), X),
    ("the experimental TEP, which the daemon wants most", "ProtectedSignalling, Negotiation", eno.option(X, PROTECTED), PROTECTED),
    ("unknown TEPs around one that is known", "RFC 8547, 4.5", eno.option(0x26, 0x25, X, 0x6F, 0x70, 0x7F), X),
    ("unknown TEPs alone: no encryption", "RFC 8547, 4.6", eno.option(0x26, 0x25, 0x70), None),
    ("a vacuous option: no encryption", "RFC 8547, 4.6", eno.option(), None),
    ("a vacuous option with a global suboption: no encryption", "RFC 8547, 4.6", eno.option(0), None),
    ("no option: no encryption", "RFC 8547, 4.6", b"", None),
    ("two ENO options: no encryption", "RFC 8547, 4.1", eno.option(X) + eno.option(X), None),
    ("two ENO options, one of them vacuous: no encryption", "RFC 8547, 4.1", eno.option(X) + eno.option(), None),
    ("b = 1, as the passive opener has it: no encryption", "RFC 8547, 4.3", eno.option(B, X), None),
    ("an explicit global suboption of zero", "RFC 8547, 4.2", eno.option(0, X), X),
    ("reserved bits of the global suboption are ignored", "RFC 8547, 4.2", eno.option(eno.RESERVED, X), X),
    ("a = 1 from the other end", "RFC 8547, 4.2", eno.option(eno.AWARE, X), X),
    ("a global suboption that is last", "RFC 8547, 4.2", eno.option(X, 0), X),
    ("of two global suboptions the first counts: b = 0", "RFC 8547, 4.2", eno.option(0, X, B), X),
    ("of two global suboptions the first counts: b = 1", "RFC 8547, 4.2", eno.option(B, X, 0), None),
    ("of two global suboptions the first counts, whatever its bits", "RFC 8547, 4.2", eno.option(0x1E, 0x1F, X), X),
    ("a length byte that reaches beyond the end: no encryption", "RFC 8547, 4.4", eno.option(X, 0x84, 0xA5, b"abcd"), None),
    ("a length byte at the end: no encryption", "RFC 8547, 4.4", eno.option(X, 0x80), None),
    ("a length byte before a TEP with v = 0: no encryption", "RFC 8547, 4.4", eno.option(X, 0x80, P, b"a"), None),
    ("a length byte before a global suboption: no encryption", "RFC 8547, 4.4", eno.option(X, 0x80, 0x00, b"a"), None),
    ("a length byte before a length byte: no encryption", "RFC 8547, 4.4", eno.option(X, 0x80, 0x80, 0xA5, b"a"), None),
    ("data of an unknown TEP behind a length byte, then a known one", "RFC 8547, 4.4", eno.option(eno.with_length(0x25, b"abcd"), X), X),
    ("data of the largest explicit length of an unknown TEP", "RFC 8547, 4.4", eno.option(eno.with_length(0x25, bytes(14)), P), P),
    ("data of an unknown TEP to the end, that looks like others", "RFC 8547, 4.1", eno.option(X, eno.to_the_end(0x25, bytes([P, B, 0x80]))), X),
    ("a known TEP inside the data of an unknown one is none", "RFC 8547, 4.1", eno.option(eno.to_the_end(0x25, bytes([X, P]))), None),
    ("an unknown TEP with v = 1 and no data", "RFC 8547, 4.1", eno.option(X, 0xA5), X),
    ("v = 1 with no data is v = 0", "RFC 8548, 3.5", eno.option(0x80 | X), X),
    ("v = 1 with 8 bytes of data is v = 0", "RFC 8548, 3.5", eno.option(eno.to_the_end(X, bytes(8))), X),
    ("v = 1 with 8 bytes behind a length byte is v = 0", "RFC 8548, 3.5", eno.option(eno.with_length(X, bytes(8))), X),
    ("an unknown resumption identifier: fresh keys", "RFC 8548, 3.5", eno.option(eno.to_the_end(X, bytes(17))), X),
    ("an unknown resumption identifier behind a length byte: fresh keys", "RFC 8548, 3.5", eno.option(eno.with_length(X, bytes(9))), X),
    ("a TEP twice is not valid, another is taken", "RFC 8547, 4.5", eno.option(X, P, X), P),
    ("a TEP twice and no other: no encryption", "RFC 8547, 4.5", eno.option(X, X), None),
]


def declare():
    for number, (title, section, option, tep) in enumerate(OFFERS):
        case(f"SYN with {title}", section, option=option, tep=tep, version=6 if number % 6 == 5 else 4)(offered)
    for number, (title, section, answer, tep) in enumerate(ANSWERS):
        case(f"SYN-ACK with {title}", section, answer=answer, tep=tep, version=6 if number % 6 == 5 else 4)(answered)


@case("SYN with more than 8 bytes of nonce: not resumed", "RFC 8548, 3.5")
def long_nonce(lab):
    first, application = lab.active()
    lab.encrypted(first)
    lab.exchange(first, application)
    peer, application = lab.active(option=eno.option(eno.to_the_end(X, first.session.mine(1) + bytes(9))), tcp=dict(scale=None))
    lab.until(lambda: peer.theirs is not None or peer.enabled is not None, "a SYN-ACK arrives")
    if peer.enabled is False:
        lab.is_plain(peer, application)
        return "18 bytes of data: the daemon disables encryption (the RFC leaves that open)"
    lab.encrypted(peer)
    expect(not peer.resumed, "resumed with a nonce of nine bytes")
    lab.exchange(peer, application)
    return "18 bytes of data: the daemon answers with fresh key exchange (the RFC leaves that open)"


@case("data on a SYN is neither taken nor acknowledged", "RFC 8547, 4.7")
def syn_data(lab):
    listener = lab.tcp_socket()
    listener.bind(("0.0.0.0", 0))
    listener.listen(1)
    listener.setblocking(False)
    tcp = Tcp(lab.host, lab.shared.address[4], listener.getsockname()[1])
    other = Peer(tcp, True, option=eno.option(X))
    lab.peers.append(other)
    tcp.state = "syn-sent"
    tcp.transmit(SYN, -1, b"data on the SYN, as if somebody meant it")
    tcp.arm()
    lab.until(lambda: tcp.log, "a SYN-ACK")
    expect(tcp.log[0].has(SYN) and tcp.log[0].ack == (tcp.iss + 1) & 0xFFFFFFFF, f"the SYN's data is acknowledged: {tcp.log[0]}")
    application = lab.accepted(listener)
    if other.enabled is False:
        lab.is_plain(other, application)
        return "the connection is plain"
    lab.encrypted(other)
    lab.exchange(other, application)


# MARK: SYN-ACKs that the daemon receives

def answered(lab, answer, tep, version=4):
    """The daemon receives a SYN-ACK with that; `tep` is the negotiated one, or None."""
    peer, application = lab.passive(option=answer, version=version)
    expect(set(peer.theirs.teps) == set(SCHEMES), f"the daemon offers {peer.theirs.teps}, not all five TEPs")
    expect(not peer.theirs.globals or peer.theirs.globals == [0], f"global suboptions {peer.theirs.globals} of an active opener")
    if tep is None:
        lab.is_plain(peer, application)
        expect(not any(enos(segment for segment in peer.tcp.log if not segment.has(SYN))), "an ENO option after that SYN-ACK (RFC 8547, 4.6)")
        return
    lab.encrypted(peer)
    expect(peer.tep == tep, f"negotiated {peer.tep:#x}")
    lab.exchange(peer, application)
    expect(lab.subflow(peer)["session_id"] == peer.session_id, "session IDs differ")


ANSWERS = [
    ("each TEP and other unknown ones: the last valid one counts", "RFC 8547, 4.5", eno.option(B, 0x26, X, P521, 0x7F), P521),
    ("several TEPs: the last valid one counts", "RFC 8547, 4.5", eno.option(B, P521, P, X, CURVE448), CURVE448),
    ("several TEPs, the other order", "RFC 8547, 4.5", eno.option(B, CURVE448, X, P521, P), P),
    ("a TEP, the global suboption after it", "RFC 8547, 4.2", eno.option(X, B), X),
    ("a TEP with v = 1 and data that nobody asked for, after a valid one", "RFC 8548, 3.5", eno.option(B, P, eno.to_the_end(X, bytes(17))), P),
    ("a TEP with v = 1 and data that nobody asked for, behind a length byte", "RFC 8548, 3.5", eno.option(B, eno.with_length(X, bytes(17)), P), P),
    ("only a TEP with v = 1 and data that nobody asked for: no encryption", "RFC 8548, 3.5", eno.option(B, eno.to_the_end(X, bytes(17))), None),
    ("an unknown TEP with data, before a valid one", "RFC 8547, 4.4", eno.option(B, eno.with_length(0x25, b"abc"), X), X),
    ("a TEP twice, and another", "RFC 8547, 4.5", eno.option(B, P, X, X), P),
    ("a TEP twice: no encryption", "RFC 8547, 4.5", eno.option(B, X, X), None),
    ("no global suboption, so b = 0 at both ends: no encryption", "RFC 8547, 4.3", eno.option(X), None),
    ("b = 0: no encryption", "RFC 8547, 4.3", eno.option(eno.AWARE, X), None),
    ("the option echoed: no encryption", "RFC 8547, 8.1", lambda option: option.raw, None),
    ("a vacuous option: no encryption", "RFC 8547, 4.6", eno.option(B), None),
    ("an unknown TEP alone: no encryption", "RFC 8547, 4.6", eno.option(B, 0x26), None),
    ("no option: no encryption", "RFC 8547, 4.6", b"", None),
    ("two options: no encryption", "RFC 8547, 4.1", eno.option(B, X) + eno.option(B, X), None),
    ("a length byte that reaches beyond the end: no encryption", "RFC 8547, 4.4", eno.option(B, X, 0x84, 0xA5, b"abcd"), None),
    ("a length byte before v = 0: no encryption", "RFC 8547, 4.4", eno.option(B, X, 0x80, P, b"a"), None),
    ("reserved bits and a = 1", "RFC 8547, 4.2", eno.option(0x1F, X), X),
    ("two global suboptions: the first counts", "RFC 8547, 4.2", eno.option(B, X, 0), X),
]
declare()


# MARK: the options of segments after the SYN

@case("the third segment without ENO: no encryption, and no ENO from the daemon", "RFC 8547, 4.6")
def no_third(lab):
    peer, listener = lab.opening(quiet=True)
    lab.until(lambda: peer.theirs is not None, "a SYN-ACK arrives")
    expect(peer.tep == X, "no ENO in the SYN-ACK")
    peer.enabled = False
    peer.tcp.speak()
    application = lab.accepted(listener)
    lab.is_plain(peer, application)


@case("the third segment without ENO, the next one with it: no encryption", "RFC 8547, 4.6")
def late_eno(lab):
    peer, listener = lab.opening(quiet=True)
    lab.until(lambda: peer.theirs is not None, "a SYN-ACK arrives")
    peer.tcp.transmit(ACK, 0, options=b"")
    application = lab.accepted(listener)
    peer.tcp.transmit(ACK, 0, options=eno.ACKNOWLEDGEMENT)
    peer.enabled = False
    peer.tcp.speak()
    lab.is_plain(peer, application)


@case("contents of non-SYN-form options are ignored, and several count as one", "RFC 8547, 4.1")
def contents_ignored(lab):
    peer, application = lab.active(acknowledgement=eno.option(b"\xff\x80\x00") + eno.option(X))
    lab.encrypted(peer)
    lab.exchange(peer, application)


@case("an ENO option in a later segment changes nothing", "RFC 8547, 8.5")
def eno_later(lab):
    peer, application = lab.active()
    channel = lab.encrypted(peer)
    lab.exchange(peer, application)
    peer.tcp.transmit(ACK, peer.tcp.next, options=eno.option(b"anything"))
    data = channel.frame(b"behind it")
    peer.tcp.tx += data
    peer.tcp.transmit(ACK, peer.tcp.next, data, options=eno.option())
    peer.tcp.next += len(data)
    lab.until(lambda: application.inbox.endswith(b"behind it") or application.ended(), "data arrives")
    lab.exchange(peer, application)


@case("the first data with ENO stands for a third segment that was lost", "RFC 8547, 4.6")
def third_lost(lab):
    peer, application = lab.active(eager=True)
    lab.encrypted(peer)
    lab.exchange(peer, application)


@case("an active opener says ENO in every segment until it hears a non-SYN segment, retransmissions too", "RFC 8547, 4.6")
def every_segment(lab):
    peer, application = lab.passive(quiet=True)
    # Nothing but the SYN-ACK was sent: whatever comes has the option.
    heard = lambda: [segment for segment in peer.tcp.log if not segment.has(SYN)]
    application.send(b"x" * 5000)
    lab.until(lambda: len([segment for segment in heard() if segment.payload]) >= 2, "Init1 comes again")
    expect(all(segment.raw_options(eno.KIND) == [eno.ACKNOWLEDGEMENT] for segment in heard()), "a segment without the option")
    peer.tcp.speak()
    lab.encrypted(peer)
    lab.until(lambda: len(peer.channel.received) == 5000, "data arrives")


@case("a SYN that is sent again has the same option; so has the SYN-ACK", "RFC 8547, 4.6")
def same_options(lab):
    peer, application = lab.passive(answer=False, wait=False)
    lab.until(lambda: len(peer.tcp.log) >= 2, "the SYN comes again")
    raws = enos(peer.tcp.log)
    expect(raws[0] and raws[1] in (raws[0], []), f"the second SYN has {raws[1]}")
    peer.tcp.mute = False
    peer.tcp.send_syn()
    lab.until(lambda: peer.tcp.state == "established", "the application is connected")
    other, listener = lab.opening(quiet=True)
    lab.until(lambda: len(other.tcp.log) >= 2, "the SYN-ACK comes again", 30)
    raws = enos(other.tcp.log)
    expect(raws[0] and raws[1] == raws[0], f"the second SYN-ACK has {raws[1]}")
    other.tcp.speak()
    application = lab.accepted(listener)
    lab.encrypted(other)
    lab.exchange(other, application)


@case("a SYN that comes again without the option: no encryption", "RFC 8547, 4.6")
def withdrawn(lab):
    peer, listener = lab.opening(quiet=True)
    lab.until(lambda: peer.theirs is not None, "a SYN-ACK arrives")
    peer.tcp.state, peer.tcp.irs, peer.syn_eno, peer.plan.acknowledgement, peer.theirs, peer.mine = "syn-sent", None, b"", b"", None, None
    seen = len(peer.tcp.log)
    peer.tcp.send_syn()
    # The kernel may be repeating its first answer just now; ENO is gone from what answers this SYN, and for good.
    lab.until(lambda: any(not raws for raws in enos(peer.tcp.log[seen:])), "a SYN-ACK without ENO arrives")
    peer.enabled = False
    peer.tcp.speak()
    application = lab.accepted(listener)
    lab.is_plain(peer, application)


def crossing(lab, flags):
    """Both ends open actively: the peer answers a SYN with a SYN of its own."""
    port, sock = lab.host.port(), lab.tcp_socket()
    sock.bind(("0.0.0.0", 0))
    found = []

    def make(segment):
        tcp = Tcp(lab.host, segment_source(segment), segment.source_port, port)
        found.append(Peer(tcp, True, flags=flags))
        lab.peers.append(found[0])
        tcp.connect()
        return tcp

    lab.host.listen(port, make)
    application = Application(sock)
    sock.connect_ex((lab.host.addresses[4], port))
    lab.until(lambda: found and found[0].tcp.state == "established", "the simultaneous open succeeds")
    lab.host.applications.append(application)
    return found[0], application


@case("simultaneous open, the peer with b = 1: encrypted, the daemon is host A", "RFC 8547, 4.3 and 4.6")
def simultaneous(lab):
    peer, application = crossing(lab, B)
    lab.encrypted(peer)
    expect(peer.role == "B", "roles")
    lab.exchange(peer, application)
    expect(lab.subflow(peer)["role"] == "A", "the daemon's role")


@case("simultaneous open, both with b = 0: no encryption", "RFC 8547, 4.3")
def simultaneous_conflict(lab):
    peer, application = crossing(lab, None)
    peer.enabled = False
    lab.is_plain(peer, application)
