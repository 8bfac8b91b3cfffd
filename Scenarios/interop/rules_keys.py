"""Rules of the key exchange (RFC 8548, 3.3, 4.1 and 5), one case each. A bad message is an abort: a reset here, an error there."""
import struct

from cryptography.hazmat.primitives.serialization import PublicFormat

import keys
from keys import CURVE448, CURVE25519, P256, P521, SCHEMES, init1, init2, prefixed
from lab import case, expect

X = CURVE25519
ALL = (1, 2, 0x10)


def works(lab, active, **plan):
    peer, application = lab.active(**plan) if active else lab.passive(**plan)
    lab.encrypted(peer)
    lab.exchange(peer, application)
    expect(lab.subflow(peer)["session_id"] == peer.session_id, "session IDs differ")
    return peer


def refused(lab, active, spoil, tep=X):
    """The key exchange message is spoilt by `spoil(nonce, public key)`: the daemon aborts."""
    magic = {True: 9 + 2 * len(ALL), False: 10}[active]

    def replace(message):
        return spoil(message[magic:magic + 32], message[magic + 32:])

    plan = dict(teps=(tep,), aeads=ALL, init=replace)
    if active:
        peer, application = lab.active(**plan)
    else:
        peer, application = lab.passive(**plan)
        # What it holds back until there are keys must not leave in clear either.
        application.send(b"PLAINTEXT-MARKER" * 4)
    lab.aborted(peer, application)
    expect(not application.inbox, "the application received something")
    expect(b"PLAINTEXT" not in peer.tcp.rx, "plaintext on the wire")


# MARK: Init1

for count in (1, 200, 3000):
    case(f"Init1 with {count} ignored bytes", "RFC 8548, 4.1", active=True, init_extra=b"\xa5" * count)(works)
    case(f"Init2 with {count} ignored bytes", "RFC 8548, 4.1", active=False, init_extra=b"\xa5" * count)(works)
for name, active in (("Init1", True), ("Init2", False)):
    case(f"{name} in segments of one byte", "RFC 8548, 3.3", active=active, init_cuts=lambda message: range(1, len(message)))(works)
    case(f"{name} cut within each of its first fields", "RFC 8548, 3.3", active=active, init_cuts=lambda message: (3, 6, 8, 9, 30))(works)
    case(f"{name} whose last byte comes alone, without PSH", "RFC 8548, 3.3", active=active, push=False,
         init_cuts=lambda message: (len(message) - 1,))(works)
case("Init1 on the third segment, in segments of one byte", "RFC 8548, 3.3", active=True, eager=True,
     init_cuts=lambda message: range(1, len(message)))(works)
for tep in SCHEMES:
    case(f"{keys.TEPS[tep]}, Init1 in segments of 20 bytes and ignored bytes", "RFC 8548, 4.1", active=True, teps=(tep,), init_extra=bytes(50),
         init_cuts=lambda message: range(20, len(message), 20))(works)


def chooses(lab, offered, chosen):
    peer = works(lab, True, aeads=offered)
    expect(peer.session.aead == chosen, f"chose {peer.session.aead:#x}")


UNKNOWN = (0x0000, 0x0003, 0x00FF, 0xFFFF)
case("AEADs: unknown ones around one that is known", "RFC 8548, 3.3", offered=UNKNOWN + (0x10,) + UNKNOWN, chosen=0x10)(chooses)
case("AEADs: 255 of them, the last one known", "RFC 8548, 4.1", offered=tuple(range(0x100, 0x1FE)) + (2,), chosen=2)(chooses)
case("AEADs: the same one several times", "RFC 8548, 3.3", offered=(2,) * 5, chosen=2)(chooses)
case("AEADs: of several the daemon takes what it wants most", "RFC 8548, 3.3", offered=(0x10, 2, 1), chosen=1)(chooses)

INIT1 = [
    ("a wrong magic", "4.3", lambda nonce, key: b"\x15\x10\x1a\x0f" + init1(ALL, nonce, key)[4:]),
    ("the magic of Init2", "4.3", lambda nonce, key: struct.pack("!I", keys.INIT2_MAGIC) + init1(ALL, nonce, key)[4:]),
    ("plaintext", "3.3", lambda nonce, key: b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    ("a length of 0", "4.1", lambda nonce, key: init1(ALL, nonce, key)[:4] + bytes(4)),
    ("a length that ends before the key does", "4.1", lambda nonce, key: shortened(init1(ALL, nonce, key), 1)),
    ("a length that leaves no room for the key", "4.1", lambda nonce, key: shortened(init1(ALL, nonce, key), 32)),
    ("a length that ends within the list", "4.1", lambda nonce, key: shortened(init1(ALL, nonce, key), 66)),
    ("no AEAD", "3.3", lambda nonce, key: init1((), nonce, key)),
    ("only unknown AEADs", "3.3", lambda nonce, key: init1(UNKNOWN, nonce, key)),
    ("a count of AEADs that is too great", "4.1", lambda nonce, key: init1(ALL, nonce, key)[:8] + b"\xff" + init1(ALL, nonce, key)[9:]),
]
INIT2 = [
    ("a wrong magic", "4.3", lambda nonce, key: bytes(4) + init2(1, nonce, key)[4:]),
    ("the magic of Init1", "4.3", lambda nonce, key: struct.pack("!I", keys.INIT1_MAGIC) + init2(1, nonce, key)[4:]),
    ("plaintext", "3.3", lambda nonce, key: b"220 ready for mail, in clear\r\n" * 4),
    ("a length of 0", "4.1", lambda nonce, key: init2(1, nonce, key)[:4] + bytes(4)),
    ("a length that ends before the key does", "4.1", lambda nonce, key: shortened(init2(1, nonce, key), 1)),
    ("an AEAD that was not offered", "3.3", lambda nonce, key: init2(0x11, nonce, key)),
    ("the AEAD 0", "3.3", lambda nonce, key: init2(0, nonce, key)),
]


def shortened(message, by):
    """The same bytes with a smaller length before them."""
    return message[:4] + struct.pack("!I", len(message) - by) + message[8:]


for title, section, spoil in INIT1:
    case(f"Init1 with {title}: abort", f"RFC 8548, {section}", active=True, spoil=spoil)(refused)
for title, section, spoil in INIT2:
    case(f"Init2 with {title}: abort", f"RFC 8548, {section}", active=False, spoil=spoil)(refused)


# MARK: public keys

def little(value, length):
    return value.to_bytes(length, "little")


P255, P448 = 2**255 - 19, 2**448 - 2**224 - 1
ORDER8 = (325606250916557431795983626356110631294008115727848805560023387167927233504,
          39382357235489614581723060781553021112529911719440698176882885853963445705823)
BAD_25519 = [0, 1, *ORDER8, P255 - 1, P255, P255 + 1]
BAD_448 = [0, 1, P448 - 1, P448, P448 + 1]
G256 = SCHEMES[P256].point(SCHEMES[P256].generate())
FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1


def not_on_curve(size, prime, b):
    """A compressed point whose x belongs to no point of the curve y^2 = x^3 - 3x + b."""
    x = next(x for x in range(1, 100) if pow(x**3 - 3 * x + b, (prime - 1) // 2, prime) == prime - 1)
    return b"\x02" + x.to_bytes(size, "big")


B256 = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
B521 = 0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00
WRONG_KEYS = [
    *[(CURVE25519, f"of small order, number {number}", little(value, 32)) for number, value in enumerate(BAD_25519)],
    *[(CURVE25519, f"of small order with the highest bit set, number {number}", little(value | 1 << 255, 32)) for number, value in enumerate((0, 1, ORDER8[0]))],
    *[(CURVE448, f"of small order, number {number}", little(value, 56)) for number, value in enumerate(BAD_448)],
    (P256, "not on the curve", prefixed(not_on_curve(32, FIELD, B256))),
    (P256, "with an x beyond the field", prefixed(b"\x02" + (FIELD + 5).to_bytes(32, "big"))),
    (P256, "that is the point at infinity", prefixed(b"\x00")),
    (P256, "of no bytes", prefixed(b"")),
    (P256, "with an unknown first byte", prefixed(b"\x05" + G256[1:])),
    (P256, "a byte too short", prefixed(G256[:-1])),
    (P256, "a byte too long", prefixed(G256 + b"\0")),
    (P521, "not on the curve", prefixed(not_on_curve(66, 2**521 - 1, B521))),
    (P521, "with an x beyond the field", prefixed(b"\x03" + b"\xff" * 66)),
    (P521, "of another curve", prefixed(G256)),
]
for tep, title, wrong in WRONG_KEYS:
    for active in (True, False):
        case(f"{keys.TEPS[tep]}, a public key {title}, in Init{1 if active else 2}: abort", "RFC 8548, 3.3 and 5", active=active, tep=tep,
             spoil=lambda nonce, key, active=active, wrong=wrong: init1(ALL, nonce, wrong) if active else init2(1, nonce, wrong))(refused)


class HighBit:
    """X25519 ignores the highest bit of a public key (RFC 7748, 5)."""

    def __init__(self, active):
        self.at = (9 + 2 * len(ALL) if active else 10) + 32 + 31

    def __call__(self, message):
        return message[:self.at] + bytes([message[self.at] | 0x80]) + message[self.at + 1:]


for active in (True, False):
    case(f"Curve25519, the highest bit of the key in Init{1 if active else 2} does not count", "RFC 7748, 5", active=active, init=HighBit(active))(works)


def leading_zero(tep, other):
    """A private key whose secret with the other end's begins with a zero byte: the secret is as long as the field all the same."""
    scheme = SCHEMES[tep]
    while True:
        private = scheme.generate()
        if scheme.agree(private, other)[0] == 0:
            return private


for tep in (P256, P521):
    case(f"{keys.TEPS[tep]}, a shared secret that begins with a zero byte", "RFC 8548, 5", active=False, teps=(tep,), private=leading_zero)(works)


@case("P256, a public key that is not compressed", "RFC 8548, 5")
def uncompressed(lab):
    private = SCHEMES[P256].generate()
    point = prefixed(SCHEMES[P256].point(private, PublicFormat.UncompressedPoint))

    def replace(message):
        return init1(ALL, message[15:47], point)

    peer, application = lab.active(teps=(P256,), aeads=ALL, init=replace, private=lambda tep, other: private)
    # Init2 may come before the daemon looks at the key.
    lab.until(lambda: application.ended() or peer.channel, "the daemon decides")
    if peer.channel:
        peer.channel.send(b"accepted")
        lab.until(lambda: application.ended() or application.inbox == b"accepted", "the daemon decides")
    if application.ended():
        lab.aborted(peer, application)
        return "refused (senders must compress; the RFC does not say what a receiver does)"
    return "accepted (senders must compress; the RFC does not say what a receiver does)"


# MARK: what follows

@case("Init2 and frames in one segment", "RFC 8548, 3.3")
def init2_and_frames(lab):
    peer, application = lab.passive(early=b"at once, " * 100, quiet=True, wait=False)
    lab.until(lambda: len(peer.tcp.rx) >= 8, "Init1 arrives")
    # Both are written before anything is sent.
    peer.tcp.quiet = False
    peer.tcp.peer_window, window = 0, peer.tcp.peer_window
    peer.work()
    peer.tcp.peer_window = window
    peer.tcp.flush()
    lab.encrypted(peer)
    lab.until(lambda: len(application.inbox) == 900 or application.ended(), "the data arrives")
    expect(application.inbox == b"at once, " * 100, "other data")
    lab.exchange(peer, application)


@case("Init1 whose ignored bytes are many, and stand in the transcript", "RFC 8548, 3.3 and 4.1")
def long_init(lab):
    taken = []
    for size in (8000, 16000, 60000):
        peer, application = lab.active(init_extra=b"\x5a" * size)
        lab.until(lambda: peer.channel or application.ended(), "the daemon decides")
        if peer.channel:
            lab.exchange(peer, application)
            taken.append(size)
        else:
            lab.aborted(peer, application)
    return f"of 8000, 16000 and 60000 ignored bytes it takes {taken}"


@case("Init1 that stops half-way and FIN: an error, no end of file", "RFC 8547, 4.6")
def init_cut_off(lab):
    peer, application = lab.active(init=lambda message: message[:40])
    peer.tcp.shut()
    lab.until(application.ended, "the application hears of the end")
    expect(application.error is not None, "the application saw an end of file")
