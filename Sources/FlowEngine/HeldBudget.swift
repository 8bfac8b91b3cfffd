import Tcpcrypt

/// Packets, and what they weigh.
struct HeldLoad: Sendable, Equatable {
    var packets = 0
    var bytes = 0

    static func + (a: HeldLoad, b: HeldLoad) -> HeldLoad {
        HeldLoad(packets: a.packets + b.packets, bytes: a.bytes + b.bytes)
    }
    static func - (a: HeldLoad, b: HeldLoad) -> HeldLoad {
        HeldLoad(packets: a.packets - b.packets, bytes: a.bytes - b.bytes)
    }
}

/// How many packets may wait for their verdicts at once, and how many bytes, all flows together.
///
/// No flow may hold more than it leaves free, so that however many take what they can get, one that holds little
/// finds room.
struct HeldBudget: Sendable {
    let limit: HeldLoad
    private(set) var load = HeldLoad()

    init(limit: HeldLoad) { self.limit = limit }

    /// Counts one more packet of a flow that holds `own`; false where it may not have another.
    mutating func admit(bytes: Int, own: HeldLoad, atMost most: Int) -> Bool {
        let free = limit - load
        guard own.packets < min(most, free.packets), bytes <= free.bytes - own.bytes else { return false }
        adopt(HeldLoad(packets: 1, bytes: bytes))
        return true
    }

    mutating func release(_ part: HeldLoad) { load = load - part }
    /// Takes over packets that another budget admitted.
    mutating func adopt(_ part: HeldLoad) { load = load + part }
}

/// The pending verdicts of one host. Those of strangers, who have proved nothing yet, are counted apart: whatever they
/// do, they take nothing from those who have.
struct PendingVerdicts: Sendable {
    /// Arrived, from peers that have keys.
    var proven: HeldBudget
    /// Arrived, from anybody.
    var unproven: HeldBudget
    /// Data of the local kernel before keys exist.
    var outbound: HeldBudget

    init(limit: Int, bytes: Int) {
        let eighth = HeldLoad(packets: max(1, limit / 8), bytes: max(1 << 17, bytes / 8))
        let rest = HeldLoad(packets: max(1, limit - 2 * eighth.packets), bytes: max(1 << 17, bytes - 2 * eighth.bytes))
        proven = HeldBudget(limit: rest)
        unproven = HeldBudget(limit: eighth)
        outbound = HeldBudget(limit: eighth)
    }
}

extension Flow {
    /// Packets held of a peer that has proved nothing: what follows Init2 in an initial window, and a few more.
    static let mostUnproven = 16
    /// Data of the local kernel held before keys exist.
    static let mostOutbound = 256

    /// Whether one more packet may be held. Acknowledgements without data, which nothing displaces, get half of the room.
    ///
    /// - Parameter bytes: the packet's length.
    func admitHeld(_ segment: Segment, bytes: Int) -> Bool {
        let own = receive.held.load
        let isAdmitted =
            isProven
            ? host.pending.proven.admit(
                bytes: bytes, own: own, atMost: host.configuration.maximumHeldPacketsPerFlow)
            : segment.w.lowerBound - receive.nextW <= Init1.maximumLength
                && host.pending.unproven.admit(
                    bytes: bytes, own: own, atMost: segment.isPure ? Self.mostUnproven / 2 : Self.mostUnproven)
        if isAdmitted { host.counters.packetsHeld += 1 }
        return isAdmitted
    }

    func admitHeldOutbound(bytes: Int) -> Bool {
        let own = heldOutbound.reduce(into: HeldLoad()) { $0 = $0 + HeldLoad(packets: 1, bytes: $1.bytes.count) }
        guard host.pending.outbound.admit(bytes: bytes, own: own, atMost: Self.mostOutbound) else { return false }
        host.counters.packetsHeld += 1
        return true
    }

    /// Notes that a packet of the peer is held no longer.
    func releaseHeld(_ packet: HeldPacket) { releaseHeld(packet.load) }

    func releaseHeld(_ load: HeldLoad) {
        if isProven { host.pending.proven.release(load) } else { host.pending.unproven.release(load) }
    }

    func armProofTimer(_ now: Instant) {
        proofDeadline = proofDeadline ?? now.adding(milliseconds: FlowTime.proof)
    }

    /// The peer has keys, and where it joins has shown so.
    func becomeProven() {
        guard !isProven, opener != nil, proofOwed == nil else { return }
        let load = receive.held.load
        releaseHeld(load)
        isProven = true
        host.pending.proven.adopt(load)
        proofDeadline = nil
    }
}
