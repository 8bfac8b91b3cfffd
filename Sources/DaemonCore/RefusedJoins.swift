import FlowEngine
import PacketWire

/// What the log says of refused joins, which anybody can cause in any number: the first of a cause with all there is to say, the others
/// summed up, a line for each cause and period. However many there are, the memory is bounded.
struct RefusedJoins {
    /// The token counts where it is that of a connection of ours; all made-up ones are one cause.
    private struct Cause: Hashable {
        var reason: JoinRefusal
        var token: UInt32?
    }

    private struct Tally {
        var since: Instant
        var count = 0
        var addresses: Set<IPAddress> = []
    }

    private var tallies: [Cause: Tally] = [:]

    static let periodMilliseconds: Int64 = 60_000
    /// With tokens of their own; those of further connections are summed up for each reason.
    static let mostCauses = 64
    /// Told apart for each cause.
    static let mostAddresses = 256

    /// - Returns: what is to be written.
    mutating func note(_ tuple: FlowTuple, _ reason: JoinRefusal, token: UInt32?, now: Instant) -> [String] {
        var cause = Cause(reason: reason, token: reason.isOfKnownConnection ? token : nil)
        if tallies[cause] == nil, tallies.count >= Self.mostCauses { cause.token = nil }
        guard var tally = tallies.removeValue(forKey: cause) else {
            tallies[cause] = Tally(since: now)
            let named = token.map { "token \(Self.text($0)): " } ?? ""
            return ["MPTCP join refused: \(tuple.local) - \(tuple.remote): \(named)\(reason.rawValue)"]
        }
        let line = Self.summary(of: cause, &tally, now)
        tally.count += 1
        if tally.addresses.count < Self.mostAddresses { tally.addresses.insert(tuple.remote.address) }
        tallies[cause] = tally
        return line.map { [$0] } ?? []
    }

    /// Sums up what the period of which is over.
    ///
    /// - Parameter isLast: whether everything is to be summed up.
    /// - Returns: what is to be written.
    mutating func sumUp(now: Instant, isLast: Bool = false) -> [String] {
        var lines: [String] = []
        for (cause, var tally) in tallies {
            let line = Self.summary(of: cause, &tally, now, isLast: isLast)
            // The next one of a cause that has become rare is told as the first was.
            let isOver = line == nil && now.milliseconds(since: tally.since) >= Self.periodMilliseconds
            tallies[cause] = isOver || isLast ? nil : tally
            if let line { lines.append(line) }
        }
        return lines.sorted()
    }

    var causes: Int { tallies.count }

    /// Begins a new period where the old one is over and there is something to tell of it.
    private static func summary(
        of cause: Cause, _ tally: inout Tally, _ now: Instant, isLast: Bool = false
    ) -> String? {
        let milliseconds = now.milliseconds(since: tally.since)
        guard tally.count > 0, isLast || milliseconds >= periodMilliseconds else { return nil }
        let joins = tally.count == 1 ? "1 more MPTCP join" : "\(tally.count) more MPTCP joins"
        let isMore = tally.addresses.count == mostAddresses
        let addresses =
            tally.addresses.count == 1 ? "1 address" : "\(tally.addresses.count)\(isMore ? " or more" : "") addresses"
        let named = cause.token.map { "token \(text($0)): " } ?? ""
        tally = Tally(since: now)
        return "\(joins) from \(addresses) refused within \(milliseconds / 1_000) s: \(named)\(cause.reason.rawValue)"
    }

    /// As `ss -Mi` and tcpcryptctl(8) show it.
    private static func text(_ token: UInt32) -> String {
        let digits = String(token, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
