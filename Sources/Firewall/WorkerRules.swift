/// What a packet is queued for.
enum QueueUse: String, CaseIterable {
    case main = "TCPCRYPT-TO-MAIN"
    case strangers = "TCPCRYPT-TO-STRANGERS"
    case syn = "TCPCRYPT-TO-SYN"
    case errorMain = "TCPCRYPT-ERROR-TO-MAIN"
    case errorStrangers = "TCPCRYPT-ERROR-TO-STRANGERS"

    /// The chain that chooses the worker.
    var chain: String { rawValue }

    var subject: WorkerFilter.Subject { self == .errorMain || self == .errorStrangers ? .quotedPacket : .packet }

    /// Whether the packet passes where no daemon listens.
    var mayPass: Bool { self != .main && self != .strangers }
}

/// How packets come to the worker of their connection: by a rule for each worker but the first, which gets the rest.
extension IptablesRules {
    /// One worker needs no chains.
    var workerChains: [String] { configuration.workers == 1 ? [] : QueueUse.allCases.map(\.chain) }

    var workerRules: [String] {
        guard configuration.workers > 1 else { return [] }
        return QueueUse.allCases.flatMap { use in
            rules(
                use.chain,
                (1..<configuration.workers).map { "\(belongs(to: $0, use)) \(queue(use, worker: $0))" }
                    + [queue(use, worker: 0)])
        }
    }

    func target(_ use: QueueUse) -> String {
        configuration.workers == 1 ? queue(use, worker: 0) : "-g \(use.chain)"
    }

    private func belongs(to worker: Int, _ use: QueueUse) -> String {
        let program = WorkerFilter.program(family, use.subject, worker: worker, of: configuration.workers)
        return "-m bpf --bytecode \"\(JoinFilter.bytecode(program))\""
    }

    private func queue(_ use: QueueUse, worker: Int) -> String {
        let first =
            switch use {
            case .main, .errorMain: configuration.mainQueue
            case .strangers, .errorStrangers: configuration.strangerQueue
            case .syn: configuration.synQueue
            }
        let number = FirewallConfiguration.queue(first, ofWorker: worker)
        return "-j NFQUEUE --queue-num \(number)" + (use.mayPass ? " --queue-bypass" : "")
    }
}
