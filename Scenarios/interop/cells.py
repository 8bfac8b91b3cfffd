"""Every TEP with every AEAD, with the peer as active and passive opener, fresh and resumed."""
import os

from frames import LARGEST
from keys import AEADS, TEPS
from lab import case, expect

SIZE = 300_000


def echo(lab, peer, application, most=LARGEST):
    """Some hundred KB there and back."""
    channel = lab.encrypted(peer)
    application.echoing = True
    data = os.urandom(SIZE)
    # Frames of many sizes, from one byte up.
    at, sizes = 0, [1, 2, 3, 100, 1431, 1440, 1460, 5000, 16000, 65518]
    while at < SIZE:
        size = sizes[len(channel.frames) % 3 + at % 8]
        size = min(size, most)
        channel.tcp.write(channel.frame(data[at:at + size]))
        at += size
        lab.host.pump(0)
    lab.until(lambda: len(channel.received) >= SIZE or peer.tcp.reset or channel.failed, "the echo is complete", 60)
    expect(channel.received == data, f"{len(channel.received)} bytes came back, not those sent")
    application.echoing = False


def same_id(lab, peer, origin, role):
    said = lab.subflow(peer)
    name, aead = TEPS[peer.tep], AEADS[peer.session.aead][0]
    expect(said["session_id"] == peer.session_id, f"the daemon's session ID is {said['session_id']}, the peer's {peer.session_id} (RFC 8548, 3.4)")
    expect((said["origin"], said["role"]) == (origin, role), f"the daemon says {said['origin']}, role {said['role']}")
    expect(name.replace("-", "_") in said["tep"] and aead.split("-")[0].lower() in said["aead"].lower().replace("_", "-"),
           f"the daemon says {said['tep']}, {said['aead']}")
    return said


def connect(lab, active, **plan):
    return lab.active(**plan) if active else lab.passive(**plan)


def end(lab, peer, application):
    """Both directions end well: FINp is an end of file, here and there."""
    peer.channel.finish()
    lab.until(application.ended, "the application hears of the end")
    expect(application.eof, f"the application saw {application.outcome()}, not an end of file (RFC 8548, 3.7)")
    application.finish()
    lab.until(lambda: peer.tcp.ended, "the peer hears of the end")
    expect(peer.channel.ended, "FIN without FINp (RFC 8548, 3.7)")
    application.close()


def cell(lab, tep, aead, active, version, tcp):
    role = "B" if active else "A"
    peer, application = connect(lab, active, teps=(tep,), aeads=(aead,), version=version, tcp=tcp, eager=aead == 2)
    echo(lab, peer, application)
    expect(peer.tep == tep and peer.session.aead == aead and not peer.resumed, "another algorithm than asked for")
    same_id(lab, peer, "fresh", role)
    end(lab, peer, application)
    session = peer.session

    # The same two hosts again, then with the openings exchanged: the role of ss[0] stays, the role by ENO changes.
    for index, opener in ((1, active), (2, not active)):
        if opener:
            peer, application = connect(lab, True, teps=(tep,), session=session, index=index, version=version, tcp=tcp)
        else:
            peer, application = connect(lab, False, teps=(tep,), cache=(session,), version=version, tcp=tcp)
        echo(lab, peer, application)
        expect(peer.resumed, "not resumed (RFC 8548, 3.5)")
        expect(peer.plan.index == index, f"resumed with ss[{peer.plan.index}], not the lowest unused (RFC 8548, 3.5)")
        same_id(lab, peer, "resumed", "B" if opener else "A")
        end(lab, peer, application)


def mptcp(lab, active):
    """An application with an MPTCP socket, whose peer knows only TCP. Its frames are no longer than a few segments: what the kernel
    drops of longer ones for want of memory and is given again, its fallback to TCP takes for out of window, now and then."""
    peer, application = lab.active(protocol=262) if active else lab.passive(protocol=262)
    echo(lab, peer, application, 4000)
    same_id(lab, peer, "fresh", "B" if active else "A")
    end(lab, peer, application)
    session = peer.session
    for index, opener in ((1, active), (2, not active)):
        peer, application = lab.active(protocol=262, session=session, index=index) if opener else lab.passive(protocol=262, cache=(session,))
        echo(lab, peer, application, 4000)
        expect(peer.resumed and peer.plan.index == index, "not resumed with the lowest unused secret")
        same_id(lab, peer, "resumed", "B" if opener else "A")
        end(lab, peer, application)


def declare():
    for active in (True, False):
        opener = "the peer opens" if active else "the daemon's host opens"
        case(f"MPTCP socket, {opener}: fresh, resumed, resumed the other way", "RFC 8548, 3.3 to 3.7", active=active)(mptcp)
        case(f"no TCP option but ENO, {opener}", "RFC 8548, 3.3 to 3.7", tep=0x23, aead=1, active=active, version=4,
             tcp=dict(scale=None, window=65535, bare=True))(cell)
    stacks = [dict(), dict(timestamps=True), dict(scale=None, mss=536, window=65535), dict(iss=0xFFFFF000)]
    number = 0
    for tep, name in TEPS.items():
        for aead, (algorithm, _, _) in AEADS.items():
            for active in (True, False):
                opener = "the peer opens" if active else "the daemon's host opens"
                version = 6 if number % 5 == 4 else 4
                case(f"{name}, {algorithm}, {opener}: fresh, resumed, resumed the other way; echo, session IDs, ends", "RFC 8548, 3.3 to 3.7",
                     tep=tep, aead=aead, active=active, version=version, tcp=stacks[number % 4])(cell)
                number += 1


declare()
