"""A host that speaks TCP-ENO and tcpcrypt, in either role, as RFC 8547 and RFC 8548 say: one Peer on each Tcp.

A Plan says what it offers and where it departs from the rules; what the other end does against them is kept in `tcp.violations`.
"""
import dataclasses
import os
import struct
import typing

import eno
import keys
from frames import Channel
from keys import AEADS, CURVE25519, SCHEMES, Session, TrafficKeys
from wire import ACK, PSH, RST, SYN


@dataclasses.dataclass
class Plan:
    teps: tuple = (CURVE25519,)
    # Offered by host A in this order; of host A's the first one that occurs here is taken by host B.
    aeads: tuple = tuple(AEADS)
    # The global suboption; an active opener sends none unless it is set.
    flags: typing.Optional[int] = None
    # SYN-form ENO options as they are (none, several, ill-formed), in place of what the rest says; a function is given the other end's Option.
    option: typing.Union[bytes, typing.Callable, None] = None
    # What non-SYN segments carry for as long as they have to.
    acknowledgement: bytes = eno.ACKNOWLEDGEMENT
    # Resumption: what an active opener proposes; what a passive one knows, and whether it agrees.
    session: typing.Optional[Session] = None
    index: int = 1
    nonce: typing.Optional[bytes] = None
    cache: tuple = ()
    # Whether Init1 travels on the third segment of the handshake, what follows its known fields, and how it is spoilt or cut.
    eager: bool = False
    init_extra: bytes = b""
    init: typing.Callable = staticmethod(lambda message: message)
    init_cuts: typing.Callable = staticmethod(lambda message: ())
    push: bool = True
    # What is sent at once when there are keys; with `eager`, and a session resumed, on the third segment of the handshake.
    early: bytes = b""
    # Chooses the private key: (TEP, host A's Init1 or None).
    private: typing.Callable = staticmethod(lambda tep, other: SCHEMES[tep].generate())


class Peer:
    # The daemon's nonces of all connections.
    nonces = set()

    def __init__(self, tcp, active, plan=None, **more):
        self.tcp, self.active, self.plan = tcp, active, plan or Plan(**more)
        tcp.layer = self
        self.syn_eno, self.mine, self.theirs = None, None, None
        # Undecided (None), or whether the connection is encrypted.
        self.enabled, self.tep, self.resumed, self.role = None, None, None, None
        self.heard_non_syn = self.spoke_non_syn = self.sent_init = False
        self.sent, self.heard, self.session, self.keys, self.channel = b"", b"", None, None, None
        self.private = self.key_error = None
        if active:
            self.syn_eno = self.offer()
        tcp.hold_ack = active and self.plan.eager

    # MARK: negotiation

    def option(self, raw):
        """Our own option as an Option, where it is one."""
        try:
            return eno.Option(raw) if raw and raw[0] == eno.KIND and raw[1] == len(raw) else None
        except eno.IllFormed:
            return None

    def offer(self):
        plan = self.plan
        if plan.option is not None:
            return plan.option
        parts = [plan.flags] if plan.flags is not None else []
        parts += [tep for tep in plan.teps if plan.session is None or tep != plan.session.tep]
        if plan.session is not None:
            plan.nonce = os.urandom(8) if plan.nonce is None else plan.nonce
            parts.append(eno.to_the_end(plan.session.tep, plan.session.mine(plan.index) + plan.nonce))
        return eno.option(*parts)

    def answer(self):
        """What a passive opener puts into its SYN-ACK: one TEP and b = 1, or nothing."""
        plan = self.plan
        if plan.option is not None:
            return plan.option if isinstance(plan.option, bytes) else plan.option(self.theirs)
        if self.theirs is None or self.theirs.passive:
            return b""
        flags = eno.PASSIVE if plan.flags is None else plan.flags
        for tep, variable, data in self.theirs.suboptions:
            for session in plan.cache if variable else ():
                index = next((i for i in range(1, 20) if session.theirs(i) == data[:9]), None)
                if index is not None and session.tep == tep and len(data) <= 17:
                    plan.session, plan.index = session, index
                    plan.nonce = os.urandom(8) if plan.nonce is None else plan.nonce
                    return eno.option(flags, eno.to_the_end(tep, session.mine(index) + plan.nonce))
        common = [tep for tep in plan.teps if self.theirs.teps.count(tep) == 1]
        return eno.option(flags, common[0]) if common else b""

    def hear_syn(self, segment):
        try:
            self.theirs = eno.of_segment(segment)
        except eno.IllFormed as reason:
            self.wrong(f"an ill-formed ENO option: {reason}")
        raw = segment.raw_options(eno.KIND)
        if len(raw) > 1:
            self.wrong("several ENO options in a SYN segment (RFC 8547, 4.1)")
        if self.theirs is not None:
            self.check_syn(segment)
        if self.syn_eno is None:
            self.syn_eno = self.answer()
        elif not raw and not self.active:
            self.syn_eno = b""
        self.mine = self.option(self.syn_eno)
        self.negotiate()
        if segment.has(ACK):
            self.enabled = self.tep is not None

    def check_syn(self, segment):
        option = self.theirs
        if len(option.globals) > 1 or any(flags & eno.RESERVED for flags in option.globals):
            self.wrong(f"global suboptions {option.globals} (RFC 8547, 4.2)")
        if segment.has(ACK) and self.active and not option.passive and not self.simultaneous():
            self.wrong("a passive opener with b = 0 (RFC 8547, 4.2)")
        if not segment.has(ACK) and option.passive:
            self.wrong("an active opener with b = 1, which nobody asked for (RFC 8547, 4.2)")
        if segment.has(ACK) and not self.simultaneous() and len(option.suboptions) != 1:
            self.wrong(f"a SYN-ACK with {len(option.suboptions)} TEPs (RFC 8548, 3.2)")
        if len([1 for _, variable, _ in option.suboptions if variable]) > 1 or len(set(option.teps)) < len(option.teps):
            self.wrong("several resumption suboptions, or a TEP twice (RFC 8548, 3.5)")

    def simultaneous(self):
        return any(segment.flags & (SYN | ACK) == SYN for segment in self.tcp.log) and self.active

    def negotiate(self):
        """The last valid TEP of host B's (RFC 8547, 4.5), and whether it resumes (RFC 8548, 3.2 and 3.5)."""
        self.tep = self.resumed = None
        if self.mine is None or self.theirs is None or self.mine.passive == self.theirs.passive:
            return
        self.role = "B" if self.mine.passive else "A"
        host_a, host_b = (self.theirs, self.mine) if self.role == "B" else (self.mine, self.theirs)
        for tep in reversed(host_b.teps):
            _, variable, data = host_b.find(tep)
            if tep not in host_a.teps or tep not in SCHEMES or max(host_a.teps.count(tep), host_b.teps.count(tep)) > 1:
                continue
            if not variable:
                self.tep, self.resumed = tep, False
                return
            _, _, offered = self.theirs.find(tep)
            if self.plan.session is not None and offered[:9] == self.plan.session.theirs(self.plan.index) and 9 <= len(offered) <= 17:
                self.tep, self.resumed = tep, True
                return

    # MARK: segments

    def options(self, flags):
        if flags & RST:
            return b""
        if flags & SYN:
            return self.syn_eno if self.syn_eno is not None else b""
        self.spoke_non_syn = True
        wanted = self.active and self.enabled is not False and self.tep is not None and not self.heard_non_syn
        return self.plan.acknowledgement if wanted else b""

    def segment(self, segment):
        if segment.has(RST):
            return
        if segment.has(SYN):
            before = self.theirs
            if before is None or not self.spoke_non_syn:
                self.hear_syn(segment)
            if before is not None and self.theirs is not None and before.raw != self.theirs.raw:
                self.wrong("a SYN-form ENO option that changed in a retransmission (RFC 8547, 4.6)")
            return
        options = segment.raw_options(eno.KIND)
        if any(len(raw) > 2 for raw in options):
            self.wrong("a non-SYN-form ENO option with contents (RFC 8547, 4.1)")
        if self.tep is not None and self.mine is not None and not self.spoke_non_syn and self.enabled is not False and not options:
            if self.enabled:
                self.wrong("no ENO option although it cannot have heard a non-SYN segment (RFC 8547, 4.6)")
        if self.enabled is None and segment.has(ACK):
            self.enabled = bool(options) and self.tep is not None
        self.heard_non_syn = True

    # MARK: key exchange

    def work(self):
        if self.tcp.state != "established" or not self.enabled:
            self.tcp.hold_ack = self.tcp.hold_ack and self.enabled is not False
            return
        if self.channel is not None:
            self.channel.work()
        elif self.resumed:
            session_nonce = self.plan.session.session_nonce(self.plan.nonce, self.theirs.find(self.tep)[2][9:])
            self.begin(self.plan.session, self.plan.index, session_nonce, 0)
        elif self.role == "A":
            if not self.sent_init:
                self.send_init1()
            self.read_init2()
        else:
            self.read_init1()

    def send(self, message):
        message = self.plan.init(message)
        self.sent_init, self.sent, self.tcp.hold_ack = True, message, False
        self.tcp.write(message, cuts=self.plan.init_cuts(message), push=self.plan.push)

    def send_init1(self):
        self.private = self.plan.private(self.tep, None)
        self.nonce = keys.fresh_nonce()
        self.send(keys.init1(self.plan.aeads, self.nonce, SCHEMES[self.tep].encode(self.private), self.plan.init_extra))

    def message(self, magic, least):
        """The whole key exchange message at the start of the datastream, or None as long as it is not there."""
        rx = self.tcp.rx
        if len(rx) < 8:
            return None
        found, length = struct.unpack_from("!II", rx)
        if found != magic or not least <= length < 10000:
            self.wrong(f"a key exchange message that begins with {bytes(rx[:8]).hex()} (RFC 8548, 4.1)")
            self.enabled = False
            return None
        if len(rx) < length:
            return None
        self.check_push(length)
        return bytes(rx[:length])

    def check_push(self, length):
        for segment in self.tcp.log:
            begin = (segment.seq - self.tcp.irs - 1) & 0xFFFFFFFF
            if not segment.has(SYN) and begin < length <= begin + len(segment.payload) and not segment.has(PSH):
                self.wrong("the last byte of an Init message without PSH (RFC 8548, 3.3)")

    def read_init1(self):
        message = self.message(keys.INIT1_MAGIC, 9)
        if message is None:
            return
        count = message[8]
        ciphers = struct.unpack_from(f"!{count}H", message, 9)
        at = 9 + 2 * count
        nonce_a, public = message[at:at + 32], SCHEMES[self.tep].take(message, at + 32)
        if at + 32 + len(public) != len(message):
            self.wrong("Init1 with ignored bytes (RFC 8548, 4.1)")
        self.heard, self.offered = message, ciphers
        self.check_nonce(nonce_a)
        cipher = next((cipher for cipher in self.plan.aeads if cipher in ciphers), None)
        if cipher is None:
            self.wrong(f"no cipher in common: {ciphers}")
            self.enabled = False
            return
        self.private = self.plan.private(self.tep, public)
        self.send(keys.init2(cipher, keys.fresh_nonce(), SCHEMES[self.tep].encode(self.private), self.plan.init_extra))
        self.agree(cipher, nonce_a, public, self.heard + self.sent)

    def read_init2(self):
        message = self.message(keys.INIT2_MAGIC, 10)
        if message is None:
            return
        cipher = struct.unpack_from("!H", message, 8)[0]
        public = SCHEMES[self.tep].take(message, 42)
        if 42 + len(public) != len(message):
            self.wrong("Init2 with ignored bytes (RFC 8548, 4.1)")
        if cipher not in self.plan.aeads:
            self.wrong(f"Init2 chooses {cipher}, which was not offered (RFC 8548, 3.3)")
        self.heard = message
        self.check_nonce(message[10:42])
        self.agree(cipher, self.nonce, public, self.sent + self.heard)

    def check_nonce(self, nonce):
        if nonce in self.nonces:
            self.wrong("a nonce of another connection (RFC 8548, 3.3)")
        self.nonces.add(nonce)

    def agree(self, cipher, nonce_a, public, messages):
        try:
            secret = SCHEMES[self.tep].agree(self.private, public)
        except ValueError as reason:
            # Expected of a peer that sent a bad key itself.
            self.key_error, self.enabled = reason, False
            return
        host_a, host_b = (self.mine, self.theirs) if self.role == "A" else (self.theirs, self.mine)
        prk = keys.extract(nonce_a, host_a.raw + host_b.raw + messages + secret)
        self.begin(Session(prk, self.tep, cipher, self.role), 0, b"", len(self.heard))

    def begin(self, session, index, session_nonce, begin_in):
        host_b = self.mine if self.role == "B" else self.theirs
        tep_byte = self.tep | (0x80 if host_b.find(self.tep)[1] else 0)
        self.session = session
        self.keys = TrafficKeys(session, index, session_nonce, tep_byte)
        self.channel = Channel(self.tcp, self.keys, begin_in)
        if self.plan.early:
            self.channel.send(self.plan.early)
        self.tcp.hold_ack = False
        self.channel.work()

    @property
    def session_id(self):
        return self.keys.session_id.hex()

    def wrong(self, what):
        if what not in self.tcp.violations:
            self.tcp.violations.append(what)
