import DequeModule
import PacketWire

/// Data of the local kernel that the peer's window has no room for yet: plaintext, with the headers it came in.
struct BacklogPacket: Sendable {
    /// K offset of the first byte of `data` not sealed yet.
    var k: Int
    var data: ArraySlice<UInt8>
    var isFIN: Bool
    /// K offset of the last urgent byte.
    var urgentK: Int?
    var template: [UInt8]
    var packet: TCPPacket
}

/// One direction out of this host: what the kernel sent (K), what the wire carries (W), and the ciphertext that
/// the peer has not acknowledged.
///
/// Retransmissions are answered from `ciphertext`, so the same W offsets always carry the same bytes (RFC 8548
/// section 3.6).
struct SendStream: Sendable {
    var map = SequenceMap()
    private(set) var ciphertext = ByteRing()
    /// Everything below was acknowledged, in W.
    private(set) var acknowledgedW = 0
    /// Everything below has left this host at least once.
    var sentW = 0
    /// W offset the peer's window ends at.
    private(set) var rightEdge = 0
    /// The largest window the peer has had.
    private(set) var largestWindow = 0
    /// The K offset of the FIN, once it was sealed.
    private(set) var finK: Int?
    var backlog: Deque<BacklogPacket> = []
    /// Messages and frames without K that the peer has not acknowledged: the kernel knows nothing of them, so the engine
    /// alone sends them again.
    private(set) var engineOwned: Deque<Range<Int>> = []

    /// W offset of the next byte to make.
    var nextW: Int { map.wEnd }
    /// K offset of the next byte to seal.
    var nextK: Int { map.kEnd }
    /// K offset of the next byte the kernel has not handed over yet.
    var queuedK: Int {
        guard let last = backlog.last else { return nextK }
        return last.k + last.data.count + (last.isFIN ? 1 : 0)
    }
    var acknowledgedK: Int { map.k(acknowledgedBy: acknowledgedW) }
    var isFinished: Bool { finK != nil && acknowledgedW >= nextW }
    /// Room in the peer's window for new W bytes.
    var room: Int { max(0, rightEdge - nextW) }
    var retainedBytes: Int { ciphertext.count + backlog.reduce(0) { $0 + $1.data.count } }

    mutating func dropFirstOfBacklog() {
        backlog.removeFirst()
        if backlog.isEmpty { backlog = [] }
    }

    /// Appends a whole frame or message.
    mutating func append(_ bytes: Span<UInt8>, kCount: Int, lead: Int) {
        ciphertext.append(bytes)
        let w = map.append(kCount: kCount, wCount: bytes.count, lead: lead)
        if kCount == 0 { engineOwned.append(w) }
    }

    /// Appends a frame of `count` bytes where `seal` makes one.
    mutating func append(
        count: Int, kCount: Int, lead: Int, spare: inout [UInt8], _ seal: (inout MutableSpan<UInt8>) -> Bool
    ) {
        let before = ciphertext.end
        ciphertext.append(room: count, spare: &spare) { target in seal(&target) ? count : nil }
        guard ciphertext.end > before else { return }
        let w = map.append(kCount: kCount, wCount: count, lead: lead)
        if kCount == 0 { engineOwned.append(w) }
    }

    /// Appends the FIN: one K and one W byte that carry no data. `frame`, if any, is the empty frame with FINp in
    /// front of it, which belongs to the FIN's K byte so that the kernel's retransmissions bring it along.
    mutating func appendFIN(frame: Span<UInt8>) {
        finK = nextK
        ciphertext.append(frame)
        map.append(kCount: 1, wCount: frame.count + 1, lead: frame.count)
    }

    func copyCiphertext(_ range: Range<Int>, into target: inout MutableSpan<UInt8>, at index: Int) {
        ciphertext.copy(range, into: &target, at: index)
    }

    var holdsMemory: Bool { ciphertext.isLarge }

    mutating func giveBack(all: Bool) { ciphertext.giveBack(all: all) }

    /// The oldest W offset that can still be sent.
    var retransmittableW: Int { ciphertext.start }
    /// W offset behind the last byte that is not the FIN.
    var dataEndW: Int { ciphertext.end }

    /// Whether somebody who knows the connection may acknowledge just this (RFC 5961 section 5.2).
    func mayBeAcknowledged(_ w: Int) -> Bool { w <= sentW && w >= acknowledgedW - max(largestWindow, 65_535) }

    /// Notes an acknowledgement and window that arrived.
    mutating func acknowledge(_ w: Int, window: Int) {
        if w >= acknowledgedW { rightEdge = max(rightEdge, w + window) }
        largestWindow = max(largestWindow, window)
        guard w > acknowledgedW else { return }
        acknowledgedW = w
        ciphertext.discard(before: w)
        map.discard(k: acknowledgedK, w: w)
        while let first = engineOwned.first, first.upperBound <= w { engineOwned.removeFirst() }
    }
}
