import FlowEngine
import PacketWire
import PathDevices

/// A loss at a chosen place: the same in every run, whatever the packets carry.
public enum PlannedLoss: Sendable {
    /// What touches a stretch of the stream, in wire offsets from the byte after the SYN: each packet so many times.
    case data(Range<Int>, times: Int)
    /// Everything, from the first data beyond an offset on, for so many nanoseconds.
    case silence(at: Int, for: Int64)
    /// Everything, from the first acknowledgement beyond an offset of the other direction on, for so many nanoseconds.
    case deafness(at: Int, for: Int64)
    /// The SYN, or the SYN-ACK.
    case syn(times: Int)
    /// What follows the SYN first, and its repetitions: the third ACK with Init1, or Init2.
    case first(times: Int)
    case fin(times: Int)
}

/// Loses what was planned.
public final class PlannedLosses: NetworkDevice {
    private let plan: [PlannedLoss]
    private let next: any NetworkDevice
    public private(set) var count = 0
    private var origin: SequenceOrigin?
    private var peerOrigin: SequenceOrigin?
    private var sentEnd = 0
    private var acknowledged = 0
    private var silentSince: [Int: Int64] = [:]
    private var hasPassedFirst = false
    private var synsLost = 0
    private var firstLost = 0
    private var finsLost = 0
    /// What is to be lost again, and how often.
    private var stretches: [(w: Range<Int>, left: Int)] = []

    public init(_ plan: [PlannedLoss], next: any NetworkDevice) {
        self.plan = plan
        self.next = next
    }

    public func transmit(_ packet: WirePacket, on network: EventQueue) {
        guard let parsed = packet.parsed, isLost(parsed, network.time) else {
            return next.transmit(packet, on: network)
        }
        count += 1
        network.trace.note(network.time, "lost \(Trace.describe(packet))")
    }

    private func isLost(_ packet: TCPPacket, _ now: Int64) -> Bool {
        if packet.flags.contains(.syn) {
            origin = SequenceOrigin(initial: packet.sequence)
            peerOrigin = nil
        }
        guard let origin else { return false }
        if peerOrigin == nil, packet.flags.contains(.ack) {
            peerOrigin = SequenceOrigin(initial: packet.acknowledgment + -1)
        }
        let start = origin.offset(of: packet.sequence, near: sentEnd)
        let w = start..<start + packet.payload.count
        let isNew = !w.isEmpty && w.upperBound > sentEnd
        sentEnd = max(sentEnd, w.upperBound)
        acknowledged = peerOrigin?.offset(of: packet.acknowledgment, near: acknowledged) ?? 0
        var isLost = false
        for index in plan.indices where loses(packet, w, isNew: isNew, now, by: index) { isLost = true }
        return isLost
    }

    private func loses(_ packet: TCPPacket, _ w: Range<Int>, isNew: Bool, _ now: Int64, by index: Int) -> Bool {
        switch plan[index] {
        case .silence(let offset, let length):
            return isSilent(index, w.upperBound > offset && !w.isEmpty, now, length)
        case .deafness(let offset, let length):
            return isSilent(index, acknowledged > offset, now, length)
        case .data(let range, let times):
            if isNew, w.overlaps(range) { stretches.append((w, times)) }
            guard let index = stretches.firstIndex(where: { $0.w.overlaps(w) && $0.left > 0 }) else { return false }
            stretches[index].left -= 1
            return true
        case .syn(let times):
            guard packet.flags.contains(.syn), synsLost < times else { return false }
            synsLost += 1
            return true
        case .first(let times):
            guard !packet.flags.contains(.syn), w.lowerBound == 0, !hasPassedFirst else { return false }
            firstLost += 1
            hasPassedFirst = firstLost > times
            return !hasPassedFirst
        case .fin(let times):
            guard packet.flags.contains(.fin), finsLost < times else { return false }
            finsLost += 1
            return true
        }
    }

    private func isSilent(_ index: Int, _ begins: Bool, _ now: Int64, _ length: Int64) -> Bool {
        if silentSince[index] == nil, begins { silentSince[index] = now }
        return silentSince[index].map { now < $0 + length } ?? false
    }
}
