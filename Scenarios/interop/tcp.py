"""Enough of TCP (RFC 793) in user space for a peer of tcpcryptd: openings of both kinds, windows, retransmission, closing.

A Host is one address of the TUN device, driven by one thread: nothing happens but in `pump` and `until`. Offsets count bytes of a
datastream from 0; the whole of both datastreams is kept, and what the other end repeats is compared with what it sent before.
"""
import bisect
import random
import select
import struct
import time

from wire import ACK, FIN, PSH, RST, SYN, URG, Mailbox, datagram, packed, parse

IN_FLIGHT = 100_000


class Failure(Exception):
    """What should have happened did not."""


class Host:
    def __init__(self, tun, *addresses):
        self.tun, self.mailbox = tun, Mailbox()
        self.addresses = {len(packed(address)): address for address in addresses}
        for address in addresses:
            tun.hosts[packed(address)] = self.mailbox
        self.connections, self.listeners, self.applications = {}, {}, []
        self.ports = random.Random(addresses[0])

    def listen(self, port, make):
        """`make(segment)` gives the Tcp that answers a SYN to this port, or None to stay silent."""
        self.listeners[port] = make

    def port(self):
        return self.ports.randrange(20000, 60000)

    def pump(self, timeout):
        """Waits for something to happen, at most so long, and lets it happen."""
        now = time.monotonic()
        timers = [tcp.timer - now for tcp in self.connections.values() if tcp.timer is not None]
        poll = select.poll()
        poll.register(self.mailbox.event, select.POLLIN)
        for application in self.applications:
            application.register(poll)
        poll.poll(max(0, min([timeout, *timers])) * 1000)
        for packet in self.mailbox.take():
            segment = parse(packet)
            if segment is not None:
                self.dispatch(segment)
        now = time.monotonic()
        for tcp in list(self.connections.values()):
            if tcp.timer is not None and tcp.timer <= now:
                tcp.time_out()
            tcp.settle()
        for application in self.applications:
            application.poll()

    def dispatch(self, segment):
        key = segment.port, segment.source, segment.source_port
        tcp = self.connections.get(key)
        if tcp is None and segment.flags & (SYN | ACK) == SYN and segment.port in self.listeners:
            tcp = self.listeners[segment.port](segment)
        if tcp is not None:
            tcp.receive(segment)

    def until(self, condition, what, seconds=40):
        """Pumps until the condition holds and returns its value; raises Failure when it never does."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                raise Failure(f"not within {seconds} s: {what}")
            self.pump(min(0.1, end - time.monotonic() + 0.001))
        return value

    def leave(self):
        """Resets what is left and gives the address back."""
        for tcp in self.connections.values():
            if not tcp.reset:
                tcp.abort()
        for application in self.applications:
            application.close()
        for address in self.addresses.values():
            self.tun.hosts.pop(packed(address), None)


class Tcp:
    """One connection. Made by `Tcp(...).connect()` or by a listener; `layer` (may be None) hears of segments and data."""

    def __init__(self, host, remote, remote_port, port=None, mss=None, scale=7, timestamps=False, window=1 << 18, iss=None, bare=False, sack=0):
        self.remote_address = remote
        self.host, self.remote, self.remote_port, self.port_here = host, packed(remote), remote_port, port or host.port()
        self.local = packed(host.addresses[len(self.remote)])
        self.mss, self.scale, self.timestamps, self.window = mss or 1500 - 20 - (20 if len(self.local) == 4 else 40), scale, timestamps, window
        # Without any option but ENO, and so with segments of 536 bytes towards us.
        self.bare = bare
        # How many blocks of what waits behind gaps a segment may name (RFC 2018).
        self.sack = sack
        # Payload of a segment: there is room for timestamps and for ENO options.
        self.size = self.mss - 40 if sack else self.mss - 24
        self.iss = random.getrandbits(32) if iss is None else iss
        self.irs = None
        self.state, self.layer, self.reset, self.ended = "closed", None, False, False
        # What we send: bytes, where segments must end, where they push; offsets of the first unacknowledged and the next byte.
        self.tx, self.cuts, self.pushes, self.una, self.next, self.fin, self.most = bytearray(), [], set(), 0, 0, False, 0
        self.peer_scale = self.peer_window = 0
        # What arrived in order, what waits behind a gap, what should not have been.
        self.edge = 0
        self.rx, self.waiting, self.fin_at, self.violations, self.log = bytearray(), {}, None, [], []
        # `mute`: nothing is sent, `quiet`: nothing but SYNs, `hold_ack`: no acknowledgement without data.
        self.ack_due = self.mute = self.quiet = self.hold_ack = False
        self.timer, self.wait, self.echo = None, 1.0, 0
        self.deaf = lambda segment: False
        host.connections[self.port_here, self.remote, remote_port] = self

    # MARK: openings

    def connect(self):
        self.state = "syn-sent"
        self.send_syn()
        return self

    def accept(self, segment):
        """Answers a SYN, as a listener does."""
        self.state = "listen"
        return self

    def send_syn(self):
        self.transmit(SYN if self.irs is None else SYN | ACK, -1)
        self.arm()

    def syn_options(self):
        if self.bare:
            return b""
        options = b"\x02\x04" + struct.pack("!H", self.mss) + (b"\x04\x02" if self.sack else b"")
        # Offered by an active opener, answered where it was offered.
        if self.scale is not None and (self.irs is None or self.peer_scale is not None):
            options += b"\x03\x03" + bytes([self.scale])
        return options

    def establish(self):
        self.state, self.timer, self.wait = "established", None, 1.0
        if self.peer_scale is None or self.scale is None:
            self.peer_scale = self.scale = 0

    # MARK: arrival

    def receive(self, segment):
        if self.deaf(segment):
            return
        self.log.append(segment)
        if not segment.sound:
            self.violations.append(f"a segment with a wrong checksum or ill-formed options: {segment}")
            return
        for raw in segment.raw_options(8):
            self.echo = struct.unpack_from("!I", raw, 2)[0]
        if self.layer is not None:
            self.layer.segment(segment)
        if segment.has(RST):
            if self.state == "syn-sent" or self.off(segment.seq) in range(-1, self.window):
                self.reset, self.timer = True, None
        elif segment.has(SYN):
            self.receive_syn(segment)
        elif self.state == "syn-received" and segment.has(ACK) and segment.ack == (self.iss + 1) & 0xFFFFFFFF:
            self.establish()
            self.take(segment)
        elif self.state == "established":
            self.take(segment)

    def receive_syn(self, segment):
        first = self.irs is None
        if first:
            self.irs = segment.seq
            scale = segment.raw_options(3)
            self.peer_scale = scale[0][2] if scale else None
            if not segment.raw_options(8):
                self.timestamps = False
            if not segment.raw_options(4):
                self.sack = 0
        if segment.has(ACK) and segment.ack != (self.iss + 1) & 0xFFFFFFFF:
            return
        if self.state in ("syn-sent", "syn-received") and segment.has(ACK):
            self.peer_window = segment.window
            self.establish()
            self.ack_due = True
            if not self.hold_ack and not self.quiet:
                self.transmit(ACK, 0)
        elif self.state in ("listen", "syn-sent", "syn-received"):
            self.peer_window, self.state = segment.window, "syn-received"
            if not self.mute:
                self.send_syn()
        else:
            self.ack_due = True

    def off(self, seq):
        """How far that sequence number is from the next byte we expect."""
        return ((seq - self.irs - 1 - len(self.rx) + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)

    def take(self, segment):
        acknowledged = self.una + (((segment.ack - self.iss - 1 - self.una + (1 << 31)) & 0xFFFFFFFF) - (1 << 31))
        if acknowledged > self.most:
            self.violations.append(f"acknowledges what was never sent: {segment}")
        elif acknowledged >= self.una:
            self.peer_window = segment.window << self.peer_scale
            if acknowledged > self.una:
                self.una, self.next, self.wait = acknowledged, max(self.next, acknowledged), 1.0
                self.arm()
        at = len(self.rx) + self.off(segment.seq)
        if segment.payload:
            self.ack_due = True
            self.store(at, segment.payload)
        if segment.has(FIN):
            self.ack_due = True
            end = at + len(segment.payload)
            if self.fin_at not in (None, end):
                self.violations.append(f"a FIN at {end} after one at {self.fin_at}")
            self.fin_at = end
        if at < len(self.rx) and not segment.payload and not segment.has(RST):
            # A keep-alive, or a window probe.
            self.ack_due = True
        self.ended = self.fin_at is not None and self.fin_at == len(self.rx)

    def store(self, at, payload):
        known = min(len(self.rx) - at, len(payload))
        # A frame that rekeying obliges to send at once need not wait for room: 20 bytes.
        if at < -1 or at + len(payload) > self.edge + 20:
            self.violations.append(f"{len(payload)} bytes at {at}, the window ends at {self.edge}")
        elif known > 0 and at >= 0 and self.rx[at:at + known] != payload[:known]:
            self.violations.append(f"other bytes than before at offset {at} (RFC 8548, 3.6)")
        if len(payload) > known:
            self.waiting[at] = payload if len(payload) > len(self.waiting.get(at, b"")) else self.waiting[at]
        for start in sorted(self.waiting):
            if start <= len(self.rx):
                self.rx += self.waiting.pop(start)[len(self.rx) - start:]

    def blocks(self):
        """What waits behind gaps, as pairs of sequence numbers."""
        found = []
        for start in sorted(self.waiting):
            end = start + len(self.waiting[start])
            if found and start <= found[-1][1]:
                found[-1][1] = max(end, found[-1][1])
            else:
                found.append([start, end])
        return [tuple((self.irs + 1 + at) & 0xFFFFFFFF for at in block) for block in found]

    # MARK: sending

    def write(self, data, cuts=(), push=True):
        """Appends to the datastream and sends what may be sent. `cuts` are positions in `data` where a segment must end."""
        for cut in cuts:
            bisect.insort(self.cuts, len(self.tx) + cut)
        self.tx += data
        if push:
            self.pushes.add(len(self.tx))
        self.flush()

    def shut(self, data=b""):
        """The last data, if any, and the FIN on the segment with its last byte."""
        self.tx += data
        self.fin = True
        self.flush()

    def flush(self):
        while self.state == "established" and not self.reset and not self.quiet:
            index = bisect.bisect_right(self.cuts, self.next)
            end = min(len(self.tx), self.next + self.size, self.una + min(self.peer_window, IN_FLIGHT),
                      self.cuts[index] if index < len(self.cuts) else len(self.tx))
            closing = self.fin and end == len(self.tx) and self.next <= end
            if end <= self.next and not closing:
                break
            flags = ACK | (PSH if end in self.pushes or closing else 0) | (FIN if closing else 0)
            payload = bytes(self.tx[self.next:end])
            self.transmit(flags, self.next, payload)
            self.next = end + closing
        if self.next > self.una and self.timer is None:
            self.arm()

    def arm(self):
        unfinished = self.state != "established" or self.una < len(self.tx) + self.fin
        self.timer = time.monotonic() + self.wait if unfinished and not (self.mute or self.quiet and self.state == "established") else None

    def time_out(self):
        self.wait = min(self.wait * 2, 4.0)
        if self.state != "established":
            self.send_syn()
            return
        self.next = self.una
        if self.peer_window == 0 and self.una < len(self.tx):
            self.transmit(ACK, self.una, bytes(self.tx[self.una:self.una + 1]))
        self.flush()
        self.arm()

    def settle(self):
        """After arrivals: lets the layer work, sends what became possible, acknowledges."""
        if self.layer is not None and not self.reset and not self.quiet:
            self.layer.work()
        if self.state == "established":
            self.flush()
        if self.ack_due and not self.hold_ack and not self.quiet and not self.reset:
            self.transmit(ACK, self.next)

    def transmit(self, flags, offset, payload=b"", urgent=0, options=None):
        """One segment as it is told; only the options are chosen here, unless given."""
        if options is None:
            options = self.syn_options() if flags & SYN else b""
            if self.timestamps:
                options += b"\x08\x0a" + struct.pack("!II", int(time.monotonic() * 1000) & 0xFFFFFFFF, self.echo)
            options += self.layer.options(flags) if self.layer is not None else b""
            if not flags & SYN and (blocks := self.blocks()[:self.sack]):
                options += bytes([5, 2 + 8 * len(blocks)]) + b"".join(struct.pack("!II", *block) for block in blocks)
        self.most = max(self.most, offset + len(payload) + bool(flags & FIN))
        if flags & ACK:
            self.ack_due = False
        ack = 0 if not flags & ACK else self.irs + 1 + len(self.rx) + self.ended
        shift = 0 if flags & SYN or not self.scale else self.scale
        self.edge = max(self.edge, len(self.rx) + (min(self.window >> shift, 65535) << shift))
        self.host.tun.send(datagram(self.local, self.remote, (self.port_here, self.remote_port), self.iss + 1 + offset, ack,
                                    flags | (URG if urgent else 0), min(self.window >> shift, 65535), options, payload, urgent))

    def speak(self):
        """The end of `quiet`."""
        self.quiet = False
        self.settle()
        if self.next > self.una:
            self.arm()

    def abort(self):
        self.transmit(RST | ACK if self.irs is not None else RST, self.next if self.state == "established" else 0, options=b"")
        self.reset, self.timer = True, None
