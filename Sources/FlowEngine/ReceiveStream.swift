import DequeModule
import PacketWire
import Tcpcrypt

/// Ends of file that the peer did not sign (RFC 8548 section 3.7).
///
/// Anybody on the path can forge some. A peer that means it goes on repeating them, and authenticates nothing more.
struct UnsignedFINs: Sendable {
    private var count = 0
    private var since: Instant?
    private var askedAt: Instant?

    static let most = 3
    static let patience: Int64 = 3_000
    static let betweenQuestions: Int64 = 1_000

    /// Notes one; true where the peer has been given time enough to prove that it lives.
    mutating func note(_ now: Instant) -> Bool {
        count += 1
        let first = since ?? now
        since = first
        return count >= Self.most && now.milliseconds(since: first) >= Self.patience
    }

    /// Whether the peer shall be asked for something authentic now.
    mutating func shouldAsk(_ now: Instant) -> Bool {
        if let askedAt, now.milliseconds(since: askedAt) < Self.betweenQuestions { return false }
        askedAt = now
        return true
    }

    /// A frame authenticated.
    mutating func clear() {
        count = 0
        since = nil
    }
}

/// Frames in a row that did not authenticate (RFC 8548 section 3.6).
///
/// A few may be forged, and the genuine bytes come again at once. What a sender goes on repeating is what it has.
struct Failures: Sendable {
    private var count = 0
    private var since: Instant?

    private static let most = 8
    private static let mostSlow = 3
    private static let patience: Int64 = 3_000

    /// Notes one; true where there have been too many, or a few over seconds.
    mutating func note(_ now: Instant) -> Bool {
        count += 1
        let first = since ?? now
        since = first
        return count >= Self.most || (count >= Self.mostSlow && now.milliseconds(since: first) >= Self.patience)
    }

    /// A frame authenticated.
    mutating func clear() { self = Failures() }
}

/// Data of one MPTCP mapping, or of none.
struct DataMapping: Sendable {
    /// In K.
    var k: Range<Int>
    /// A DSS or MP_CAPABLE with a mapping; empty where the peer's kernel sent none.
    let option: TCPOptions
}

/// One direction into this host: what the wire carried (W), what of it authenticated and which K bytes it became.
struct ReceiveStream: Sendable {
    var map = SequenceMap()
    /// Plaintext the local kernel has not acknowledged: it may have dropped what was delivered.
    private(set) var plaintext = ByteRing()
    private(set) var held = HeldPackets()
    /// W offset up to which data has arrived without a hole.
    private(set) var contiguousW = 0
    /// Acknowledged by the local kernel, in K.
    private(set) var acknowledgedK = 0
    /// Handed to the local kernel, in K.
    var deliveredK = 0
    /// When that grew last.
    var deliveredAt: Instant?
    /// The same for what had been held, which the kernel gets at one stroke.
    var releasedK = 0
    /// The engine has acknowledged this much on its own account, in W.
    var promisedW = 0
    /// Packets that were delivered after the peer had been told that they arrived, until the kernel acknowledges
    /// them: nobody else would send them again.
    private(set) var promisedPackets: Deque<HeldPacket> = []
    /// W offset behind the frame that carried FINp.
    var signedEndW: Int?
    /// K offset of the FIN, once the peer's has come.
    private(set) var finK: Int?
    /// The local kernel was given one with the frame that carried FINp: an end of file needs no FIN of the peer's (RFC 8548 section 3.7).
    var endsEarly = false
    var unsignedFINs = UnsignedFINs()
    var failures = Failures()
    /// K offset behind the last urgent byte (RFC 8548 section 3.7).
    var urgentEndK = 0
    /// W offset the local kernel's window ended at when it was widest.
    private(set) var rightEdge = 0
    /// What the frames say of data that the local kernel has not acknowledged, where they do (see the article ProtectedSignalling).
    private var mappings: Deque<DataMapping> = []

    /// W offset of the next frame.
    var nextW: Int { map.wEnd }
    /// K offset of the next plaintext byte.
    var nextK: Int { map.kEnd }
    /// A piece of a frame has arrived, but not all of it. Behind the last frame there are none.
    var hasPartialFrame: Bool { contiguousW > nextW && signedEndW == nil }
    var isFinished: Bool { finK.map { acknowledgedK > $0 } ?? false }

    /// Appends the plaintext that `open` makes of a frame of `wCount` bytes; nil where it makes none.
    mutating func append(
        wCount: Int, spare: inout [UInt8], _ open: (inout MutableSpan<UInt8>) -> OpenedFrame?
    ) -> OpenedFrame? {
        var opened: OpenedFrame?
        plaintext.append(room: max(0, wCount - Frame.overhead), spare: &spare) { target in
            opened = open(&target)
            return opened?.dataLength
        }
        guard let opened else { return nil }
        map.append(kCount: opened.dataLength, wCount: wCount, lead: opened.lead)
        advanceContiguous()
        return opened
    }

    /// A message of the key exchange: it owns W but no K.
    mutating func appendEngineOwned(_ wCount: Int) {
        map.append(kCount: 0, wCount: wCount, lead: wCount)
        advanceContiguous()
    }

    mutating func appendFIN() {
        finK = nextK
        map.append(kCount: 1, wCount: 1, lead: 0)
        advanceContiguous()
    }

    mutating func acknowledge(_ k: Int) {
        guard k > acknowledgedK, k <= nextK + (endsEarly && finK == nil ? 1 : 0) else { return }
        acknowledgedK = k
        deliveredK = max(deliveredK, k)
        plaintext.discard(before: min(k, nextK))
        map.discard(k: min(k, nextK), w: nextW)
        while let first = mappings.first, first.k.upperBound <= k { mappings.removeFirst() }
        while let first = promisedPackets.first, map.k(standingBelow: first.w.upperBound) <= k {
            promisedPackets.removeFirst()
        }
    }

    /// Keeps a packet whose data was acknowledged before the kernel had it.
    mutating func keepPromised(_ packet: HeldPacket) {
        if packet.w.lowerBound < promisedW { promisedPackets.append(packet) }
    }

    /// Notes the window that goes out with an acknowledgement.
    mutating func advertise(_ window: Int) { rightEdge = max(rightEdge, acknowledgedW(acknowledgedK) + window) }

    /// What to acknowledge to the peer when the kernel acknowledges `k`.
    func acknowledgedW(_ k: Int) -> Int { max(promisedW, map.w(acknowledging: min(k, nextK))) }

    /// Notes which MPTCP option says where in the connection the data at `k`, the latest, belongs.
    mutating func append(mapping option: TCPOptions, of k: Range<Int>) {
        if let last = mappings.last, last.k.upperBound == k.lowerBound, last.option == option {
            mappings[mappings.count - 1].k = last.k.lowerBound..<k.upperBound
        } else {
            mappings.append(DataMapping(k: k, option: option))
        }
    }

    /// The mapping of the data at `k`.
    func mapping(at k: Int) -> DataMapping? {
        let index = mappings.firstIndexSorted { $0.k.upperBound > k }
        return index < mappings.count && mappings[index].k.lowerBound <= k ? mappings[index] : nil
    }

    func copyPlaintext(_ range: Range<Int>, into target: inout MutableSpan<UInt8>, at index: Int) {
        plaintext.copy(range, into: &target, at: index)
    }

    var holdsMemory: Bool { plaintext.isLarge }

    mutating func giveBack(all: Bool) { plaintext.giveBack(all: all) }

    // MARK: Held packets

    private mutating func advanceContiguous() {
        if held.isEmpty {
            contiguousW = nextW
        } else {
            held.uncover(below: nextW)
            contiguousW = held.end(covering: nextW)
        }
    }

    /// Whether `range` adds nothing to what is held already.
    func holdsAll(of range: Range<Int>) -> Bool { range.upperBound <= contiguousW || held.covers(range) }

    /// Whether a FIN at `w` is held.
    func holdsFIN(at w: Int) -> Bool { held.containsFIN(at: w) }

    /// Holds a packet; returns those that are no longer needed for it.
    mutating func hold(_ packet: HeldPacket) -> [HeldPacket] {
        let dropped = held.insert(packet)
        if packet.w.lowerBound <= contiguousW { advanceContiguous() }
        return dropped
    }

    /// Takes out the first held packet if all of it lies below ``nextW``.
    mutating func popComplete() -> HeldPacket? { held.popFirst(endingBy: nextW) }

    /// Takes out the last held packet if it begins above `w`.
    mutating func popLastHeld(above w: Int) -> HeldPacket? {
        defer { advanceContiguous() }
        return held.popLast(beginningAbove: w)
    }

    /// Takes out every held packet that touches `range`, and forgets that its bytes arrived.
    mutating func removeHeld(touching range: Range<Int>) -> [HeldPacket] {
        defer { advanceContiguous() }
        return held.remove(touching: range)
    }

    /// Takes out every packet that reaches beyond `w`.
    mutating func removeHeld(endingAbove w: Int) -> [HeldPacket] {
        if held.isEmpty { return [] }
        defer { advanceContiguous() }
        return held.remove(endingAbove: w)
    }

    /// Gives the verdicts of all held packets away; their bytes stay.
    mutating func takeHeldVerdicts() -> [PacketID] { held.takeVerdicts() }

    mutating func removeAllHeld() -> [HeldPacket] {
        defer { advanceContiguous() }
        return held.removeAll()
    }

    /// Copies W bytes from held packets; false where not all of them are here.
    mutating func gather(_ range: Range<Int>, into scratch: inout [UInt8]) -> Bool {
        held.gather(range, into: &scratch)
    }
}
