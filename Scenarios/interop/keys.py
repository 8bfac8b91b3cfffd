"""The cryptography of RFC 8548: key agreement (section 5), key schedule (3.3, 3.4, 3.5), authenticated encryption (3.6).

Written from the RFC's text and nothing else, so that it can disagree with the daemon. TEP 0x20 is what the article ProtectedSignalling
makes of Curve25519.
"""
import hashlib
import hmac
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NEXTK, SESSID, REKEY, KEY_A, KEY_B, RESUME = (bytes([value]) for value in range(1, 7))
INIT1_MAGIC, INIT2_MAGIC = 0x15101A0E, 0x097105E0
K_LEN = NONCE_LEN = 32
PROTECTED, P256, P521, CURVE25519, CURVE448 = 0x20, 0x21, 0x22, 0x23, 0x24
TEPS = {PROTECTED: "Curve25519-MPTCP", P256: "P256", P521: "P521", CURVE25519: "Curve25519", CURVE448: "Curve448"}
# Table 3: name, ae_key_len; ae_nonce_len is 12 for all three.
AEADS = {1: ("AES-128-GCM", 16, AESGCM), 2: ("AES-256-GCM", 32, AESGCM), 0x10: ("ChaCha20-Poly1305", 32, ChaCha20Poly1305)}
TAG_LEN = 16
AE_NONCE_LEN = 12


def extract(salt, material):
    return hmac.new(salt, material, hashlib.sha256).digest()


def cprf(key, constant, length):
    """HKDF-Expand of figure 1."""
    out = block = b""
    counter = 1
    while len(out) < length:
        block = hmac.new(key, block + constant + bytes([counter]), hashlib.sha256).digest()
        out += block
        counter += 1
    return out[:length]


class Montgomery:
    """Curve25519 and Curve448: public keys as they are, without a length."""

    def __init__(self, module, name, length):
        self.private, self.public, self.length = getattr(module, name + "PrivateKey"), getattr(module, name + "PublicKey"), length

    def generate(self):
        return self.private.generate()

    def encode(self, private):
        return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def agree(self, private, encoded):
        # `exchange` refuses the all-zero value, as section 5 asks for.
        return private.exchange(self.public.from_public_bytes(encoded))

    def take(self, data, at):
        """The encoded key that begins at `at`."""
        return data[at:at + self.length]


class Weierstrass:
    """P-256 and P-521: compressed points behind a length of two bytes; the secret is x, as long as the field."""

    def __init__(self, curve):
        self.curve, self.size = curve, (curve.key_size + 7) // 8

    def generate(self):
        return ec.generate_private_key(self.curve)

    def point(self, private, form=PublicFormat.CompressedPoint):
        return private.public_key().public_bytes(Encoding.X962, form)

    def encode(self, private):
        return prefixed(self.point(private))

    def agree(self, private, encoded):
        return private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(self.curve, encoded[2:]))

    def take(self, data, at):
        length = struct.unpack_from("!H", data, at)[0]
        return data[at:at + 2 + length]


def prefixed(key):
    return struct.pack("!H", len(key)) + key


SCHEMES = {P256: Weierstrass(ec.SECP256R1()), P521: Weierstrass(ec.SECP521R1()),
           CURVE25519: Montgomery(x25519, "X25519", 32), PROTECTED: Montgomery(x25519, "X25519", 32), CURVE448: Montgomery(x448, "X448", 56)}


def init1(ciphers, nonce, public, extra=b""):
    body = bytes([len(ciphers)]) + b"".join(struct.pack("!H", cipher) for cipher in ciphers) + nonce + public + extra
    return struct.pack("!II", INIT1_MAGIC, 8 + len(body)) + body


def init2(cipher, nonce, public, extra=b""):
    body = struct.pack("!H", cipher) + nonce + public + extra
    return struct.pack("!II", INIT2_MAGIC, 8 + len(body)) + body


class Session:
    """Two hosts' series of secrets, from one key exchange. `role` is ours in the connection with ss[0]."""

    def __init__(self, prk, tep, aead, role):
        self.secrets, self.tep, self.aead, self.role = [prk], tep, aead, role

    def secret(self, index):
        while len(self.secrets) <= index:
            self.secrets.append(cprf(self.secrets[-1], NEXTK, K_LEN))
        return self.secrets[index]

    def half(self, index, role):
        """The half of resume[i] that the host sends which had that role with ss[0]."""
        whole = cprf(self.secret(index), RESUME, 18)
        return whole[:9] if role == "A" else whole[9:]

    def mine(self, index):
        return self.half(index, self.role)

    def theirs(self, index):
        return self.half(index, "B" if self.role == "A" else "A")

    def session_nonce(self, mine, theirs):
        """sn[i] = nonce_a | nonce_b, by the roles with ss[0]."""
        return mine + theirs if self.role == "A" else theirs + mine


class TrafficKeys:
    """The key sets of one connection, one for each generation (section 3.3, 3.8)."""

    def __init__(self, session, index, session_nonce, tep_byte):
        secret = session.secret(index)
        self.session, self.index = session, index
        self.session_id = bytes([tep_byte]) + cprf(secret, SESSID + session_nonce, K_LEN)
        self.masters = [cprf(secret, REKEY + session_nonce, K_LEN)]
        _, self.key_length, self.cipher = AEADS[session.aead]
        self.ready = {}

    def key(self, generation, sending):
        """(AEAD, nonce randomizer) of one direction."""
        while len(self.masters) <= generation:
            self.masters.append(cprf(self.masters[-1], REKEY, K_LEN))
        if (generation, sending) not in self.ready:
            constant = KEY_A if (self.session.role == "A") == sending else KEY_B
            traffic = cprf(self.masters[generation], constant, self.key_length + AE_NONCE_LEN)
            self.ready[generation, sending] = self.cipher(traffic[:self.key_length]), traffic[self.key_length:]
        return self.ready[generation, sending]

    def seal(self, generation, offset, control, plaintext):
        """A whole frame that begins at that offset of the sender's datastream."""
        aead, randomizer = self.key(generation, True)
        head = struct.pack("!BH", control, len(plaintext) + TAG_LEN)
        return head + aead.encrypt(frame_nonce(offset, randomizer), plaintext, head)

    def open(self, generation, offset, frame):
        """The plaintext value, or None (the RFC's FAIL)."""
        aead, randomizer = self.key(generation, False)
        try:
            return aead.decrypt(frame_nonce(offset, randomizer), frame[3:], frame[:3])
        except InvalidTag:
            return None


def frame_nonce(offset, randomizer):
    return bytes(a ^ b for a, b in zip(struct.pack("!IQ", 0, offset), randomizer))


def fresh_nonce():
    return os.urandom(NONCE_LEN)
