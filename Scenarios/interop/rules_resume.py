"""Rules of session resumption (RFC 8548, 3.5), one case each."""
import os

import eno
from keys import CURVE448, CURVE25519, P256
from lab import case, expect
from wire import SYN

X = CURVE25519


def first(lab, active=True, **plan):
    """A fresh session."""
    peer, application = lab.active(**plan) if active else lab.passive(**plan)
    lab.encrypted(peer)
    lab.exchange(peer, application)
    expect(not peer.resumed, "resumed although nobody asked")
    return peer.session


def resumes(lab, session, index, active=True, **more):
    """A connection that must be resumed with ss[index]."""
    if active:
        peer, application = lab.active(session=session, index=index, **more)
    else:
        peer, application = lab.passive(cache=(session,), **more)
    channel = lab.encrypted(peer)
    expect(peer.resumed, f"not resumed: {peer.theirs.raw.hex()}")
    expect(peer.plan.index == index, f"ss[{peer.plan.index}], not ss[{index}]")
    lab.exchange(peer, application)
    expect(lab.subflow(peer)["session_id"] == peer.session_id, "session IDs differ")
    return peer, application, channel


def fresh(lab, **plan):
    """A connection that asks to resume, and must get fresh keys."""
    peer, application = lab.active(**plan)
    lab.encrypted(peer)
    expect(not peer.resumed and not peer.theirs.suboptions[0][1], f"resumed: {peer.theirs.raw.hex()}")
    lab.exchange(peer, application)
    return peer


def nonces(lab, originally):
    session = first(lab, originally)
    for length in range(9):
        resumes(lab, session, length + 1, active=length % 2 == 0, nonce=os.urandom(length))


for originally in (True, False):
    case(f"resumption nonces of 0 to 8 bytes; the peer was host {'A' if originally else 'B'}", "RFC 8548, 3.5", originally=originally)(nonces)


@case("the daemon proposes the lowest unused secret, with a nonce of 8 bytes, and TEPs beside it", "RFC 8548, 3.5")
def proposal(lab):
    session = first(lab, False)
    for index in range(1, 5):
        peer, _, _ = resumes(lab, session, index, active=False)
        tep, variable, data = peer.theirs.suboptions[-1]
        expect((tep, variable, len(data)) == (X, True, 17), f"the daemon offers {peer.theirs.raw.hex()}")


@case("a resumption suboption behind a length byte, before other TEPs", "RFC 8547, 4.4")
def not_last(lab):
    session = first(lab)
    nonce = os.urandom(8)
    option = eno.option(0, eno.with_length(X, session.mine(1) + nonce))
    resumes(lab, session, 1, nonce=nonce, option=option, tcp=dict(scale=None))
    option = eno.option(eno.with_length(X, session.mine(2) + nonce[:2]), P256, 0x25)
    resumes(lab, session, 2, nonce=nonce[:2], option=option, tcp=dict(scale=None))
    # The daemon may prefer a fresh key exchange with another TEP, but it SHOULD agree.


@case("the peer answers a proposal behind a length byte, with another TEP of lower priority", "RFC 8547, 4.4 and 4.5")
def answer_not_last(lab):
    session = first(lab, False)

    def answer(theirs):
        return eno.option(eno.PASSIVE, 0x25, eno.with_length(X, session.mine(1) + b"12"))

    peer, application = lab.passive(session=session, index=1, nonce=b"12", option=answer)
    lab.encrypted(peer)
    expect(peer.resumed, "not resumed")
    lab.exchange(peer, application)
    expect(lab.subflow(peer)["session_id"] == peer.session_id, "session IDs differ")


@case("data on the third segment of a resumed session", "RFC 8548, 3.2")
def early(lab):
    session = first(lab)
    peer, application = lab.active(session=session, index=1, eager=True, early=b"early " * 50)
    lab.encrypted(peer)
    expect(peer.resumed, "not resumed")
    lab.until(lambda: len(application.inbox) >= 300, "the early data arrives")
    del application.inbox[:]
    lab.exchange(peer, application)


@case("rekeys in a resumed session: master keys depend on its nonces", "RFC 8548, 3.3")
def rekeyed(lab):
    session = first(lab, False)
    peer, application, channel = resumes(lab, session, 1)
    for generation in (1, 2):
        peer.tcp.write(channel.frame(rekey=True))
        lab.until(lambda: channel.generation_in >= generation, "an answer")
    lab.exchange(peer, application)


@case("a session goes on from another address of the peer", "RFC 8548, 1 and 3.5")
def other_address(lab):
    session = first(lab)
    resumes(lab, session, 1, host=lab.second_host())
    resumes(lab, session, 2)


# MARK: what must not be resumed

@case("a secret that was used is not used again: fresh keys", "RFC 8548, 3.5")
def spent(lab):
    session = first(lab)
    resumes(lab, session, 1)
    fresh(lab, session=session, index=1)
    resumes(lab, session, 2)
    fresh(lab, session=session, index=2)
    fresh(lab, session=session, index=1)


@case("a SYN that is played again, to the byte: fresh keys", "RFC 8548, 3.5")
def replayed(lab):
    session = first(lab)
    peer, _, _ = resumes(lab, session, 1, tcp=dict(iss=77777))
    fresh(lab, option=peer.syn_eno, session=session, index=1, tcp=dict(iss=77777))


@case("ss[0] is no secret to resume with: fresh keys", "RFC 8548, 3.3")
def zeroth(lab):
    session = first(lab)
    fresh(lab, session=session, index=0)


@case("the half that the other host sends: fresh keys", "RFC 8548, 3.5")
def wrong_half(lab):
    for active in (True, False):
        session = first(lab, active)
        fresh(lab, option=eno.option(eno.to_the_end(X, session.theirs(1) + bytes(8))), session=session)
        resumes(lab, session, 1)


@case("the identifier of another TEP's session: fresh keys", "RFC 8548, 3.5")
def wrong_tep(lab):
    session = first(lab)
    peer, application = lab.active(option=eno.option(eno.to_the_end(P256, session.mine(1) + bytes(8))), session=session, teps=(P256,))
    lab.encrypted(peer)
    expect(not peer.resumed and peer.tep == P256, "resumed")
    lab.exchange(peer, application)
    resumes(lab, session, 1)


@case("an identifier of 9 bytes cut to 8 is an offer of fresh keys; the secret stays", "RFC 8548, 3.5")
def short(lab):
    session = first(lab)
    fresh(lab, option=eno.option(eno.to_the_end(X, session.mine(1)[:8])), session=session)
    resumes(lab, session, 1)


def mismatched(lab, others):
    """The daemon proposes; the SYN-ACK has another identifier. With other TEPs in it, the last valid one counts."""
    session = first(lab, False, teps=(X,))

    def answer(theirs):
        expect(theirs.suboptions[-1][1], f"the daemon does not propose: {theirs.raw.hex()}")
        return eno.option(eno.PASSIVE, *others, eno.to_the_end(X, bytes(9)))

    peer, application = lab.passive(option=answer)
    offered = [tep for tep in others if tep in peer.theirs.teps]
    if not offered:
        lab.is_plain(peer, application)
        expect(not any(segment.raw_options(69) for segment in peer.tcp.log if not segment.has(SYN)), "ENO goes on")
    else:
        lab.encrypted(peer)
        lab.exchange(peer, application)
    # The secret that was proposed is spent.
    peer, _ = lab.passive(cache=(session,))
    lab.encrypted(peer)
    expect(not peer.resumed or peer.plan.index > 1, "ss[1] is proposed again")


case("a SYN-ACK with another identifier: no encryption, and the secret is spent", "RFC 8548, 3.5", others=())(mismatched)
case("a SYN-ACK with another identifier beside a TEP that was not offered", "RFC 8548, 3.5", others=(0x25,))(mismatched)


@case("the daemon proposes, the peer answers with fresh keys; the next proposal has another identifier", "RFC 8548, 3.5")
def declined(lab):
    sessions, seen = [first(lab, False)], []
    for _ in range(4):
        peer, application = lab.passive()
        lab.encrypted(peer)
        lab.exchange(peer, application)
        expect(not peer.resumed, "resumed")
        seen += [data[:9] for _, variable, data in peer.theirs.suboptions if variable]
        sessions.append(peer.session)
    expect(len(set(seen)) == len(seen) and seen, f"{len(seen)} proposals, {len(set(seen))} of them different")


@case("an answer with v = 1 and less data than an identifier", "RFC 8548, 3.5")
def short_answer(lab):
    first(lab, False)
    peer, application = lab.passive(option=eno.option(eno.PASSIVE, eno.to_the_end(X, bytes(8))), wait=True)
    lab.until(lambda: peer.tcp.log[-1].flags & 2 == 0, "the third segment")
    peer.enabled = False
    lab.is_plain(peer, application)
    return "taken as no valid TEP (that it stands for v = 0 is said of passive openers only)"


# MARK: order

@case("several secrets of one session at once", "RFC 8548, 3.5")
def at_once(lab):
    session = first(lab)
    peers = [lab.opening(session=session, index=index) for index in range(1, 5)]
    resumed = 0
    for peer, listener in peers:
        application = lab.accepted(listener)
        lab.encrypted(peer)
        lab.exchange(peer, application)
        expect(lab.subflow(peer)["session_id"] == peer.session_id, "session IDs differ")
        resumed += peer.resumed
    expect(resumed >= 1, "none of them is resumed")
    return f"{resumed} of 4 are resumed"


@case("secrets out of order: resumed or fresh, never wrong", "RFC 8548, 3.5")
def out_of_order(lab):
    session, said, used = first(lab), [], set()
    for index in (2, 1, 4, 3, 3, 5, 1):
        peer, application = lab.active(session=session, index=index)
        lab.encrypted(peer)
        lab.exchange(peer, application)
        expect(not (peer.resumed and index in used), f"ss[{index}] twice")
        if peer.resumed:
            used.add(index)
        said.append(f"ss[{index}] {'resumed' if peer.resumed else 'fresh'}")
    return ", ".join(said)


@case("a handshake that resumes and is never finished: the next secret", "RFC 8548, 3.5")
def unfinished(lab):
    session = first(lab)
    peer, listener = lab.opening(session=session, index=1, quiet=True)
    lab.until(lambda: peer.theirs is not None, "a SYN-ACK")
    expect(peer.resumed, "not resumed")
    peer.tcp.abort()
    resumes(lab, session, 2)
    second, application = lab.active(session=session, index=1)
    lab.encrypted(second)
    lab.exchange(second, application)
    return f"ss[1], of which no connection was made, is then {'resumed' if second.resumed else 'answered with fresh keys'}"


@case("a SYN that resumes and comes again before the third segment: the same answer", "RFC 8547, 4.6")
def syn_again(lab):
    session = first(lab)
    peer, listener = lab.opening(session=session, index=1, quiet=True)
    lab.until(lambda: peer.theirs is not None, "a SYN-ACK")
    answer = peer.theirs.raw
    seen = len(peer.tcp.log)
    peer.tcp.transmit(SYN, -1)
    lab.until(lambda: len(peer.tcp.log) > seen, "another SYN-ACK", 30)
    expect(peer.tcp.log[-1].raw_options(69) == [answer], "another option")
    peer.tcp.speak()
    application = lab.accepted(listener)
    lab.encrypted(peer)
    expect(peer.resumed, "not resumed")
    lab.exchange(peer, application)


@case("two sessions with the same peer, with different TEPs", "RFC 8548, 3.5")
def two_sessions(lab):
    one, two = first(lab, teps=(X,)), first(lab, teps=(CURVE448,), aeads=(0x10,))
    resumes(lab, one, 1)
    peer, _, _ = resumes(lab, two, 1)
    expect(peer.session.aead == 0x10, "the AEAD of the session")
    resumes(lab, one, 2, teps=(CURVE448,))
    return "the AEAD of a resumed session is the original one's (the RFC does not say so)"
