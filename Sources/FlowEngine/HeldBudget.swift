import Tcpcrypt

/// How many packets may wait for their verdicts at once, all flows together.
///
/// No flow may hold more than it leaves free, so that however many take what they can get, one that holds little
/// finds room.
struct HeldBudget: Sendable {
    let limit: Int
    private(set) var count = 0

    init(limit: Int) { self.limit = limit }

    /// Counts one more packet of a flow that holds `own`; false where it may not have another.
    mutating func admit(own: Int, atMost most: Int) -> Bool {
        guard own < min(most, limit - count) else { return false }
        count += 1
        return true
    }

    mutating func release(_ packets: Int) { count -= packets }
    /// Takes over packets that another budget admitted.
    mutating func adopt(_ packets: Int) { count += packets }
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

    init(limit: Int) {
        let eighth = max(1, limit / 8)
        proven = HeldBudget(limit: max(1, limit - 2 * eighth))
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
    func admitHeld(_ segment: Segment) -> Bool {
        let own = receive.held.count
        let isAdmitted =
            isProven
            ? host.pending.proven.admit(own: own, atMost: host.configuration.maximumHeldPacketsPerFlow)
            : segment.w.lowerBound - receive.nextW <= Init1.maximumLength
                && host.pending.unproven.admit(
                    own: own, atMost: segment.isPure ? Self.mostUnproven / 2 : Self.mostUnproven)
        if isAdmitted { host.counters.packetsHeld += 1 }
        return isAdmitted
    }

    func admitHeldOutbound() -> Bool {
        guard host.pending.outbound.admit(own: heldOutbound.count, atMost: Self.mostOutbound) else { return false }
        host.counters.packetsHeld += 1
        return true
    }

    /// Notes that packets held of the peer have got their verdicts.
    func releaseHeld(_ packets: Int) {
        if isProven { host.pending.proven.release(packets) } else { host.pending.unproven.release(packets) }
    }

    func armProofTimer(_ now: Instant) {
        proofDeadline = proofDeadline ?? now.adding(milliseconds: FlowTime.proof)
    }

    /// The peer has keys, and where it joins has shown so.
    func becomeProven() {
        guard !isProven, opener != nil, unprovenJoin == nil else { return }
        let pending = receive.held.packets.count { $0.id != nil }
        releaseHeld(pending)
        isProven = true
        host.pending.proven.adopt(pending)
        proofDeadline = nil
    }
}
