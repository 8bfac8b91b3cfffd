import ControlProtocol
import FlowEngine

extension ConnectionReport {
    /// The reports of several workers as one: the subflows of an MPTCP connection may be at any of them.
    static func merged(_ parts: [[ConnectionReport]]) -> [ConnectionReport] {
        guard parts.count > 1 else { return parts.first ?? [] }
        var all: [ConnectionReport] = []
        var places: [Tokens: Int] = [:]
        for report in parts.joined() {
            guard let tokens = Tokens(report) else {
                all.append(report)
                continue
            }
            if let place = places[tokens] {
                all[place].subflows += report.subflows
            } else {
                places[tokens] = all.count
                all.append(report)
            }
        }
        for index in all.indices { all[index].sortSubflows() }
        return all.map { (key: $0.subflows.first?.order ?? "", report: $0) }.sorted { $0.key < $1.key }.map(\.report)
    }

    /// What names an MPTCP connection at every worker.
    private struct Tokens: Hashable {
        var local: UInt32
        var remote: UInt32?

        init?(_ report: ConnectionReport) {
            guard report.isMPTCP, let local = report.localToken else { return nil }
            self.local = local
            remote = report.remoteToken
        }
    }

    /// The first subflow before its joins, as the engine has them.
    private mutating func sortSubflows() {
        guard subflows.count > 1 else { return }
        subflows.sort { ($0.origin == .join ? 1 : 0, $0.order) < ($1.origin == .join ? 1 : 0, $1.order) }
    }
}

extension SubflowReport {
    fileprivate var order: String { "\(local)-\(remote)" }
}

extension CountersMessage {
    /// The counts of several workers by name, in the order of the first.
    static func sum(of parts: [CountersMessage]) -> CountersMessage {
        guard var sum = parts.first else { return CountersMessage([]) }
        for part in parts.dropFirst() {
            for index in sum.counters.indices {
                sum.counters[index].value &+= part[sum.counters[index].name]
            }
        }
        return sum
    }
}
