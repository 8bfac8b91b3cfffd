import DequeModule
import PacketWire

/// A packet from the wire whose verdict waits for a frame to be complete, or for a hole to close.
struct HeldPacket: Sendable {
    var id: PacketID
    var bytes: [UInt8]
    var packet: TCPPacket
    /// W offsets of its data.
    var w: Range<Int>
    var isFIN: Bool { packet.flags.contains(.fin) }
}

/// Ends of file that the peer did not sign (RFC 8548 section 3.7).
///
/// Anybody on the path can forge some. A peer that means it goes on repeating them, and authenticates nothing more.
struct UnsignedFINs: Sendable {
    private var count = 0
    private var since: Instant?
    private var askedAt: Instant?

    static let most = 3
    static let patience: Int64 = 10_000
    static let betweenQuestions: Int64 = 5_000

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

/// One direction into this host: what the wire carried (W), what of it authenticated and which K bytes it became.
struct ReceiveStream: Sendable {
    var map = SequenceMap()
    /// Plaintext the local kernel has not acknowledged: it may have dropped what was delivered.
    private(set) var plaintext = ByteRing()
    /// Sorted by first W offset.
    private(set) var held: Deque<HeldPacket> = []
    /// W offset up to which data has arrived without a hole.
    private(set) var contiguousW = 0
    /// Acknowledged by the local kernel, in K.
    private(set) var acknowledgedK = 0
    /// Handed to the local kernel, in K.
    var deliveredK = 0
    /// The engine has acknowledged this much on its own account, in W.
    var promisedW = 0
    /// Packets that were delivered after the peer had been told that they arrived, until the kernel acknowledges
    /// them: nobody else would send them again.
    private(set) var promisedPackets: Deque<HeldPacket> = []
    /// W offset behind the frame that carried FINp.
    var signedEndW: Int?
    /// K offset of the FIN, once delivered.
    private(set) var finK: Int?
    var unsignedFINs = UnsignedFINs()
    var consecutiveFailures = 0
    /// K offset behind the last urgent byte (RFC 8548 section 3.7).
    var urgentEndK = 0
    /// W offset the local kernel's window ended at when it was widest.
    private(set) var rightEdge = 0

    /// W offset of the next frame.
    var nextW: Int { map.wEnd }
    /// K offset of the next plaintext byte.
    var nextK: Int { map.kEnd }
    /// A piece of a frame has arrived, but not all of it.
    var hasPartialFrame: Bool { contiguousW > nextW }
    var isFinished: Bool { finK.map { acknowledgedK > $0 } ?? false }

    /// Appends the plaintext of an authenticated frame, or the engine-owned stretch of a message.
    mutating func append(_ data: Span<UInt8>, wCount: Int, lead: Int) {
        plaintext.append(data)
        map.append(kCount: data.count, wCount: wCount, lead: lead)
        contiguousW = max(contiguousW, nextW)
    }

    /// A message of the key exchange: it owns W but no K.
    mutating func appendEngineOwned(_ wCount: Int) {
        map.append(kCount: 0, wCount: wCount, lead: wCount)
        contiguousW = max(contiguousW, nextW)
    }

    mutating func appendFIN() {
        finK = nextK
        map.append(kCount: 1, wCount: 1, lead: 0)
        contiguousW = max(contiguousW, nextW)
    }

    mutating func acknowledge(_ k: Int) {
        guard k > acknowledgedK, k <= nextK else { return }
        acknowledgedK = k
        deliveredK = max(deliveredK, k)
        plaintext.discard(before: k)
        map.discard(k: k, w: nextW)
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

    func copyPlaintext(_ range: Range<Int>, into target: inout MutableSpan<UInt8>, at index: Int) {
        plaintext.copy(range, into: &target, at: index)
    }

    // MARK: Held packets

    /// Whether `range` adds nothing to what is held already.
    func holdsAll(of range: Range<Int>) -> Bool {
        if range.upperBound <= contiguousW { return true }
        var reached = range.lowerBound
        for packet in held {
            if packet.w.lowerBound > reached { return false }
            reached = max(reached, packet.w.upperBound)
            if reached >= range.upperBound { return true }
        }
        return false
    }

    /// Whether a FIN at `w` is held.
    func holdsFIN(at w: Int) -> Bool { held.contains { $0.isFIN && $0.w.upperBound == w } }

    mutating func hold(_ packet: HeldPacket) {
        var index = held.count
        while index > 0, held[index - 1].w.lowerBound > packet.w.lowerBound { index -= 1 }
        held.insert(packet, at: index)
        if packet.w.lowerBound <= contiguousW { advanceContiguous() }
    }

    private mutating func advanceContiguous() {
        for packet in held where packet.w.upperBound > contiguousW {
            if packet.w.lowerBound > contiguousW { return }
            contiguousW = packet.w.upperBound
        }
    }

    /// Takes out the first held packet if all of it lies below ``nextW``.
    mutating func popComplete() -> HeldPacket? {
        guard let first = held.first, first.w.upperBound <= nextW else { return nil }
        return held.removeFirst()
    }

    /// Takes out every held packet that touches `range`, and forgets that its bytes arrived.
    mutating func removeHeld(touching range: Range<Int>) -> [HeldPacket] {
        let removed = held.filter { $0.w.overlaps(range) || ($0.w.isEmpty && range.contains($0.w.lowerBound)) }
        held.removeAll { $0.w.overlaps(range) || ($0.w.isEmpty && range.contains($0.w.lowerBound)) }
        contiguousW = nextW
        advanceContiguous()
        return Array(removed)
    }

    mutating func removeAllHeld() -> [HeldPacket] {
        defer {
            held = []
            contiguousW = nextW
        }
        return Array(held)
    }

    /// Copies W bytes from held packets; false where not all of them are here.
    func gather(_ range: Range<Int>, into scratch: inout [UInt8]) -> Bool {
        var position = range.lowerBound
        for packet in held {
            if position >= range.upperBound { break }
            guard packet.w.upperBound > position else { continue }
            guard packet.w.lowerBound <= position else { return false }
            let end = min(packet.w.upperBound, range.upperBound)
            let from = packet.packet.payload.lowerBound + (position - packet.w.lowerBound)
            var target = scratch.mutableSpan
            target.copy(
                packet.bytes.span.extracting(from..<from + (end - position)), at: position - range.lowerBound)
            position = end
        }
        return position >= range.upperBound
    }

    /// SACK blocks (W) for what is held: the block of `latest` first, then from the left.
    ///
    /// The first held piece of an incomplete frame is left out: it cannot be acknowledged before the frame
    /// authenticates, and a block that starts at the acknowledgement would say nothing.
    func sackBlocks(above acknowledged: Int, latest: Int?, limit: Int) -> [Range<Int>] {
        var blocks: [Range<Int>] = []
        for packet in held where !packet.w.isEmpty {
            if let last = blocks.last, packet.w.lowerBound <= last.upperBound {
                blocks[blocks.count - 1] = last.lowerBound..<max(last.upperBound, packet.w.upperBound)
            } else {
                blocks.append(packet.w)
            }
        }
        if let first = blocks.first, first.lowerBound <= acknowledged, let piece = held.first {
            let start = max(piece.w.upperBound, acknowledged + 1)
            blocks.removeFirst()
            if start < first.upperBound { blocks.insert(start..<first.upperBound, at: 0) }
        }
        if let latest, let index = blocks.firstIndex(where: { $0.contains(latest) }), index > 0 {
            blocks.insert(blocks.remove(at: index), at: 0)
        }
        return Array(blocks.prefix(limit))
    }
}
