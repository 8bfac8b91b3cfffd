#!/usr/bin/env python3
"""A second implementation of tcpcrypt's key schedule, frames and join chains, for the golden vectors.

Written from RFC 8547, RFC 8548 and the articles JoinChains and ProtectedSignalling, not from the Swift code; needs `cryptography` (Debian's
python3-cryptography or PyPI's). The article GoldenVectors says what the files hold.

    verify-vectors.py            recompute every vector from its inputs; exit 1 on any difference
    verify-vectors.py --write    write the vectors anew
"""
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

VECTORS = pathlib.Path(__file__).parent.parent / "Tests" / "TcpcryptTests" / "Vectors"
NEXTK, SESSID, REKEY, KEY_A, KEY_B, RESUME, JOIN = 1, 2, 3, 4, 5, 6, 0x10
# The frame of a stream that stands where the offset no longer fits 32 bits; what would come before is left out.
FAR_FRAME = 4
# The one whose frames carry MPTCP's signalling.
SIGNALLING = 0x20
TEPS = {0x20: "Curve25519MPTCP", 0x21: "P256", 0x22: "P521", 0x23: "Curve25519", 0x24: "Curve448"}
AEADS = {0x0001: (16, AESGCM), 0x0002: (32, AESGCM), 0x0010: (32, ChaCha20Poly1305)}
NIST = {0x21: (ec.SECP256R1(), 32, 0xFF), 0x22: (ec.SECP521R1(), 66, 0x01)}
MONTGOMERY = {
    0x20: (x25519.X25519PrivateKey, x25519.X25519PublicKey),
    0x23: (x25519.X25519PrivateKey, x25519.X25519PublicKey),
    0x24: (x448.X448PrivateKey, x448.X448PublicKey),
}


def be(value, count):
    return value.to_bytes(count, "big")


def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def cprf(key, constant, length):
    """HKDF-Expand (RFC 8548 section 3.1)."""
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac256(key, block + constant + bytes([counter]))
        output += block
        counter += 1
    return output[:length]


def public_key(tep, private):
    if tep in NIST:
        curve, length, mask = NIST[tep]
        scalar = int.from_bytes(bytes([private[0] & mask]) + private[1:], "big")
        point = ec.derive_private_key(scalar, curve).public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
        return be(len(point), 2) + point
    return MONTGOMERY[tep][0].from_private_bytes(private).public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def shared_secret(tep, private, public):
    if tep in NIST:
        curve, length, mask = NIST[tep]
        scalar = int.from_bytes(bytes([private[0] & mask]) + private[1:], "big")
        peer = ec.EllipticCurvePublicKey.from_encoded_point(curve, public[2:])
        return ec.derive_private_key(scalar, curve).exchange(ec.ECDH(), peer)
    return MONTGOMERY[tep][0].from_private_bytes(private).exchange(
        MONTGOMERY[tep][1].from_public_bytes(public))


def init1(aeads, nonce, public):
    body = bytes([len(aeads)]) + b"".join(be(a, 2) for a in aeads) + nonce + public
    return be(0x15101A0E, 4) + be(8 + len(body), 4) + body


def init2(aead, nonce, public):
    body = be(aead, 2) + nonce + public
    return be(0x097105E0, 4) + be(8 + len(body), 4) + body


def eno(contents):
    return bytes([69, 2 + len(contents)]) + contents


class Session:
    """One connection's keys: a secret, its session nonce, the AEAD."""

    def __init__(self, tep, aead, secret, nonce, resumed):
        self.tep, self.aead, self.secret, self.nonce, self.resumed = tep, aead, secret, nonce, resumed

    def session_id(self):
        byte = self.tep | 0x80 if self.resumed else self.tep
        return bytes([byte]) + cprf(self.secret, bytes([SESSID]) + self.nonce, 32)

    def master(self, generation):
        key = cprf(self.secret, bytes([REKEY]) + self.nonce, 32)
        for _ in range(generation):
            key = cprf(key, bytes([REKEY]), 32)
        return key

    def traffic(self, sender, generation):
        """The AEAD key and the nonce randomizer of one direction."""
        key_length = AEADS[self.aead][0]
        both = cprf(self.master(generation), bytes([KEY_A if sender == "A" else KEY_B]), key_length + 12)
        return both[:key_length], both[key_length:]

    def keys(self):
        """Those of the generations that ``frames`` uses."""
        result = []
        for generation in range(3):
            (key_a, nonce_a), (key_b, nonce_b) = (self.traffic(sender, generation) for sender in "AB")
            result.append({
                "master": self.master(generation).hex(), "keyA": key_a.hex(), "randomizerA": nonce_a.hex(),
                "keyB": key_b.hex(), "randomizerB": nonce_b.hex()})
        return result

    def frame(self, sender, generation, rekey, offset, data, urgent, fin, signals=b""):
        key, randomizer = self.traffic(sender, generation)
        nonce = bytes(x ^ y for x, y in zip(randomizer, be(offset, 12)))
        flags = (1 if fin else 0) | (2 if urgent is not None else 0)
        plain = bytes([flags]) + signals + (be(urgent, 2) if urgent is not None else b"") + data
        control = bytes([len(signals) << 1 | (1 if rekey else 0)]) + be(len(plain) + 16, 2)
        return control + AEADS[self.aead][1](key).encrypt(nonce, plain, control)

    def frames(self, seed, begins):
        """A stream in each direction: plain, urgent, empty with rekey, data after it, another rekey far on, last.

        Where the TEP has signals: none, a mapping, several options, 40 bytes, a mapping with urgent data and rekey, with FINp."""
        shapes = [(40, None, 0, 0), (5, 3, 0, 0), (0, None, 1, 0), (100, None, 0, 0), (17, 16, 1, 0), (1, None, 0, 1)]
        result = []
        for sender in "AB":
            offset, generation = begins[sender], 0
            for index, (count, urgent, rekey, fin) in enumerate(shapes):
                generation += rekey
                if index == FAR_FRAME:
                    offset = (1 << 33) + 77
                data = stream(f"{seed} {sender} {index}", count)
                carried = signals(f"{seed} {sender} {index} signals", count)[index] if self.tep == SIGNALLING else b""
                frame = self.frame(sender, generation, rekey, offset, data, urgent, fin, carried)
                result.append({
                    "sender": sender, "generation": generation, "rekey": bool(rekey), "offset": offset,
                    "data": data.hex(), "urgent": urgent, "fin": bool(fin),
                    **({"signals": carried.hex()} if self.tep == SIGNALLING else {}), "frame": frame.hex()})
                offset += len(frame)
        return result


def stream(label, count):
    output = b""
    while len(output) < count:
        output += hashlib.sha256(f"{label} {len(output)}".encode()).digest()
    return output[:count]


def dss(ack, mapping, length, fin=False, checksum=b""):
    """RFC 8684 section 3.3, with 64-bit numbers; `mapping` is DSN and subflow sequence number."""
    flags = (0x10 if fin else 0) | (0x0C if mapping else 0) | (0x03 if ack else 0)
    body = ack + (mapping + be(length, 2) + checksum if mapping else b"")
    return bytes([30, 4 + len(body), 0x20, flags]) + body


def signals(label, count):
    """What the frames of one stream carry, by their place in it; `count` is the length of the data that a mapping is of."""
    numbers = stream(label, 32)
    ack, mapping, address = numbers[:8], numbers[8:20], numbers[20:24]
    remove_address, priority = bytes([30, 4, 0x40, 7]), bytes([30, 3, 0x51])
    echo = bytes([30, 8, 0x31, 7]) + address
    return [
        b"",
        dss(b"", mapping, count),
        dss(ack, b"", 0) + echo + remove_address + priority,
        dss(ack, mapping, count, checksum=numbers[24:26]) + echo + remove_address,
        dss(ack, mapping, count),
        dss(b"", mapping, count + 1, fin=True),
    ]


def chain(first, count):
    """Secrets and names from a secret that is itself not used: [(secret, resume)]."""
    result, secret = [], first
    for _ in range(count):
        secret = cprf(secret, bytes([NEXTK]), 32)
        result.append((secret, cprf(secret, bytes([RESUME]), 18)))
    return result


def describe(entries):
    return [{"index": i + 1, "secret": s.hex(), "resume": r.hex()} for i, (s, r) in enumerate(entries)]


def resumption(tep, aead, entry, opener_role, nonce_a, nonce_b, extra, seed):
    """A connection that resumes with `entry`; its opener was `opener_role` in the original session."""
    secret, name = entry
    halves = {"A": name[:9] + nonce_a, "B": name[9:] + nonce_b}
    opener, acceptor = halves[opener_role], halves["B" if opener_role == "A" else "A"]
    session = Session(tep, aead, secret, nonce_a + nonce_b + extra, True)
    return {
        "openerRole": opener_role, "nonceA": nonce_a.hex(), "nonceB": nonce_b.hex(), "extra": extra.hex(),
        "syn": eno(bytes([tep | 0x80]) + opener).hex(),
        "synAck": eno(bytes([1, tep | 0x80]) + acceptor).hex(),
        "sessionID": session.session_id().hex(), "keys": session.keys(),
        "frames": session.frames(seed, {"A": 0, "B": 0})}


def vector(tep, aead):
    seed = f"tcpcrypt {tep:#x} {aead:#x}"
    size = {0x20: 32, 0x21: 32, 0x22: 66, 0x23: 32, 0x24: 56}[tep]
    offered = [a for a in AEADS if a != aead] + [aead]
    private = {side: stream(f"{seed} private {side}", size) for side in "AB"}
    nonce = {side: stream(f"{seed} nonce {side}", 32) for side in "AB"}
    public = {side: public_key(tep, private[side]) for side in "AB"}
    # Two TEPs in each but the one: 0x20 stands in front of what it falls back to.
    syn = eno({0x20: bytes([0x20, 0x23]), 0x23: bytes([0x23])}.get(tep, bytes([0x23, tep])))
    syn_ack = eno(bytes([1, tep]))
    first = init1(offered, nonce["A"], public["A"])
    second = init2(aead, nonce["B"], public["B"])
    es = shared_secret(tep, private["A"], public["B"])
    assert es == shared_secret(tep, private["B"], public["A"])
    prk = hmac256(nonce["A"], syn + syn_ack + first + second + es)
    fresh = Session(tep, aead, prk, b"", False)
    secrets = chain(prk, 4)
    token = {side: stream(f"{seed} token {side}", 4) for side in "AB"}
    joins = []
    for opener in "AB":
        head = cprf(prk, bytes([JOIN]) + opener.encode() + token["A"] + token["B"], 32)
        entries = chain(head, 4)
        randoms = stream(f"{seed} randoms {opener}", 8)
        joins.append({
            "opener": opener, "chain": describe(entries),
            "connection": resumption(
                tep, aead, entries[1], opener, stream(f"{seed} ja {opener}", 7 if opener == "A" else 2),
                stream(f"{seed} jb {opener}", 2 if opener == "A" else 7), randoms, f"{seed} join {opener}")})
    return {
        "tep": tep, "aead": aead, "offered": offered,
        "privateA": private["A"].hex(), "privateB": private["B"].hex(),
        "nonceA": nonce["A"].hex(), "nonceB": nonce["B"].hex(),
        "syn": syn.hex(), "synAck": syn_ack.hex(), "init1": first.hex(), "init2": second.hex(),
        "sharedSecret": es.hex(), "prk": prk.hex(), "sessionID": fresh.session_id().hex(), "keys": fresh.keys(),
        "frames": fresh.frames(seed, {"A": len(first), "B": len(second)}),
        "chain": describe(secrets),
        "resumptions": [
            resumption(tep, aead, secrets[i], role, stream(f"{seed} a{i}", 8 - i), stream(f"{seed} b{i}", 8), b"",
                       f"{seed} resumed {i}")
            for i, role in enumerate("AB")],
        "tokenA": token["A"].hex(), "tokenB": token["B"].hex(), "joins": joins}


def main():
    wrong = 0
    for tep, name in TEPS.items():
        path = VECTORS / f"{name}.json"
        text = json.dumps([vector(tep, aead) for aead in AEADS], indent=1) + "\n"
        if "--write" in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path}: differs", file=sys.stderr)
            wrong += 1
        print(f"{path.name}: {len(AEADS)} sessions")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
