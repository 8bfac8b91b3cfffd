public import ControlProtocol
import FlowEngine
import NetfilterQueue
import PacketWire
import Tcpcrypt

extension Daemon {
    /// Answers one request of the control socket.
    public func answer(_ request: ControlRequest, version: String) async -> ControlResponse {
        do {
            switch request {
            case .status: return .status(try await status(version: version))
            case .connections:
                let reports = try await askInPieces { engine, _, place in engine.connections(from: &place) }
                return .connections(ConnectionReport.merged(Array(reports.joined())).map(ConnectionMessage.init))
            case .sessions:
                // All have the same cache.
                let reports = try await askInPieces(ofAll: false) { engine, now, place in
                    engine.sessions(now: now, from: &place)
                }
                return .sessions(SessionReport.merged(Array(reports.joined())).map(SessionMessage.init))
            case .flushSessions(nil): return .flushed(try await askOne { loop in loop.flushSessions() })
            case .flushSessions(let peer?):
                guard let prefix = IPPrefix(peer) else {
                    return .error("\"\(peer)\" is no address and no prefix such as 192.0.2.0/24 or 2001:db8::/32")
                }
                let counts = try await askInPieces(ofAll: false) { engine, _, place in
                    engine.flushSessions(peersIn: prefix, from: &place)
                }
                return .flushed(counts.reduce(0, +))
            case .rekey:
                let counts = try await askInPieces { engine, now, place in engine.rekey(now: now, from: &place) }
                return .rekeying(counts.reduce(0, +))
            case .counters: return .counters(.sum(of: try await askAll { loop in loop.counters }))
            }
        } catch {
            return .error("the daemon is stopping")
        }
    }

    private func status(version: String) async throws -> StatusMessage {
        let parts = try await askAll { loop in
            (sessions: loop.engine.sessionCount, isSeeded: loop.engine.isRandomnessSeeded, counters: loop.counters)
        }
        let counts = try await askInPieces { engine, _, place in
            var counts: [SubflowState: Int] = [:]
            engine.countFlows(from: &place, into: &counts)
            return counts
        }
        let flows = { (state: SubflowState) in counts.reduce(0) { $0 + ($1[state] ?? 0) } }
        let uptime = (MonotonicClock.nanoseconds() - started) / 1_000_000
        var message = StatusMessage(
            version: version, uptimeMilliseconds: Int(uptime), teps: configuration.engine.teps.map(\.name),
            aeads: configuration.engine.aeads.map(\.name), resumption: configuration.engine.resumption,
            excludedPorts: configuration.engine.excludedPorts.sorted().map { Int($0) },
            workers: parts.count, queues: queueNumbers,
            flows: .init(handshake: flows(.handshake), encrypted: flows(.encrypted), plain: flows(.plain)),
            // All have the same cache.
            sessions: parts.first?.sessions ?? 0, keyLog: keyLog?.message, counters: .sum(of: parts.map(\.counters)))
        message.policies = configuration.engine.policies.count
        message.randomnessSeeded = parts.allSatisfy(\.isSeeded)
        return message
    }

    private var queueNumbers: [Int] {
        (0..<configuration.workers).flatMap { worker in
            let queues = configuration.queues(ofWorker: worker)
            return [queues.main, queues.syn, queues.strangers].map { Int($0) }
        }
    }
}

extension PacketLoop {
    /// - Returns: how many sessions there were.
    mutating func flushSessions() -> Int {
        let count = engine.sessionCount
        engine.flushSessions()
        return count
    }

    /// The engine's counts, then those of the loop.
    var counters: CountersMessage {
        var message = CountersMessage(reflecting: engine.counters)
        let queues = QueueStatistics.read().filter { executor.kernel.queues.contains($0.queue) }
        message.counters += [
            CountersMessage.Counter("packets_truncated", truncated),
            CountersMessage.Counter("packets_missteered", missteered),
            CountersMessage.Counter("kernel_refusals", executor.kernel.failures),
            CountersMessage.Counter("stray_verdicts", executor.strayVerdicts),
            CountersMessage.Counter("queue_overflows", queues.reduce(0) { $0 &+ $1.overflows }),
            CountersMessage.Counter("queue_socket_overflows", queues.reduce(0) { $0 &+ $1.socketOverflows }),
        ]
        return message
    }
}

// MARK: - Reports as messages

extension ConnectionMessage {
    init(_ report: ConnectionReport) {
        self.init(
            kind: report.isMPTCP ? .mptcp : .tcp, localToken: report.localToken, remoteToken: report.remoteToken,
            subflows: report.subflows.map(SubflowMessage.init))
    }
}

extension SubflowMessage {
    init(_ report: SubflowReport) {
        self.init(
            local: report.local.description, remote: report.remote.description, state: State(report.state))
        origin = report.origin.map(Origin.init)
        tep = report.tep?.name
        aead = report.aead?.name
        role = report.role.map(Role.init)
        peerApplicationAware = report.peerApplicationAware
        sessionID = Self.hexadecimal(report.sessionID)
        secretIndex = report.secretIndex
        localGeneration = report.localGeneration
        remoteGeneration = report.remoteGeneration
        plainBytesIn = report.plainBytesIn
        plainBytesOut = report.plainBytesOut
        wireBytesIn = report.wireBytesIn
        wireBytesOut = report.wireBytesOut
        authFailures = report.authFailures
        reason = report.reason?.rawValue
    }
}

extension SubflowMessage.State {
    init(_ state: SubflowState) {
        switch state {
        case .handshake: self = .handshake
        case .encrypted: self = .encrypted
        case .plain: self = .plain
        }
    }
}

extension SubflowMessage.Origin {
    init(_ origin: FlowEngine.Origin) {
        switch origin {
        case .fresh: self = .fresh
        case .resumed: self = .resumed
        case .join: self = .join
        }
    }
}

extension SubflowMessage.Role {
    init(_ role: Tcpcrypt.Role) { self = role == .a ? .a : .b }
}

extension SessionMessage {
    init(_ report: SessionReport) {
        self.init(
            tep: report.tep.name, aead: report.aead.name, role: SubflowMessage.Role(report.originalRole),
            nextIndex: report.nextIndex, peers: report.peers.map(\.description),
            ageMilliseconds: Int(report.ageMilliseconds))
    }
}
