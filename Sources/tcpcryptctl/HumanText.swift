import ControlProtocol

/// Answers as text for people. Programs should read `--json`.
struct HumanText {
    let style: Style

    func text(of response: ControlResponse) -> String {
        switch response {
        case .status(let status): text(of: status)
        case .connections(let connections): text(of: connections)
        case .sessions(let sessions): text(of: sessions)
        case .flushed(let count): "\(count) \(count == 1 ? "session" : "sessions") forgotten"
        case .rekeying(let count): "\(count) \(count == 1 ? "connection gets" : "connections get") new keys"
        case .counters(let message): lines(of: message, indent: "").joined(separator: "\n")
        case .error(let text): text
        }
    }

    // MARK: - Status

    private func text(of status: StatusMessage) -> String {
        let flows = status.flows
        let facts = [
            ("version", status.version),
            ("uptime", Quantities.duration(milliseconds: status.uptimeMilliseconds)),
            ("key exchange", list(status.teps)),
            ("encryption", list(status.aeads)),
            ("resumption", status.resumption ? "on" : "off"),
            ("excluded ports", list(status.excludedPorts.map { "\($0)" })),
            ("policies", "\(status.policies)"),
            ("randomness", status.randomnessSeeded ? "seeded" : "not seeded yet: nothing is encrypted"),
            ("workers", "\(status.workers)"),
            ("queues", list(status.queues.map { "\($0)" })),
            ("flows", "\(flows.encrypted) encrypted, \(flows.handshake) in handshake, \(flows.plain) plain"),
            ("cached sessions", "\(status.sessions)"),
            ("key log", text(of: status.keyLog)),
        ]
        var lines = [style.paint("tcpcryptd", .heading)]
        lines += facts.map { "  \(style.paint($0.0, .heading)): \($0.1)" }
        lines.append("  \(style.paint("counters", .heading)):")
        lines += self.lines(of: status.counters, indent: "    ")
        return lines.joined(separator: "\n")
    }

    private func text(of keyLog: StatusMessage.KeyLog?) -> String {
        guard let keyLog else { return "off" }
        let missing = keyLog.failures == 0 ? "" : ", of \(keyLog.failures) it could not be written"
        return style.paint("\(keyLog.path): whoever reads it reads the traffic", .bad)
            + " (keys of \(keyLog.lines) connections\(missing))"
    }

    private func list(_ items: [String]) -> String { items.isEmpty ? "none" : items.joined(separator: ", ") }

    private func lines(of message: CountersMessage, indent: String) -> [String] {
        let width = message.counters.map(\.name.count).max() ?? 0
        return message.counters.map { counter in
            let space = String(repeating: " ", count: max(0, width - counter.name.count))
            return "\(indent)\(counter.name)\(space)  \(counter.value)"
        }
    }

    // MARK: - Tables

    private func text(of connections: [ConnectionMessage]) -> String {
        guard !connections.isEmpty else { return "no connections" }
        var table = Table([
            .init(title: "KIND"), .init(title: "LOCAL-TOKEN"), .init(title: "REMOTE-TOKEN"), .init(title: "STATE"),
            .init(title: "ORIGIN"), .init(title: "LOCAL"), .init(title: "REMOTE"), .init(title: "TEP"),
            .init(title: "AEAD"), .init(title: "ROLE"), .init(title: "SESSION-ID"),
            .init(title: "SECRET", alignment: .right), .init(title: "IN", alignment: .right),
            .init(title: "OUT", alignment: .right), .init(title: "REMARK"),
        ])
        for connection in connections {
            for (index, subflow) in connection.subflows.enumerated() {
                table.append(head(of: connection, first: index == 0) + cells(of: subflow))
            }
        }
        return table.text(style)
    }

    /// Kind and tokens, named once for each connection.
    private func head(of connection: ConnectionMessage, first: Bool) -> [Table.Cell] {
        guard first else { return [Table.Cell(""), Table.Cell(""), Table.Cell("")] }
        return [
            Table.Cell(connection.kind.rawValue),
            Table.Cell(connection.localToken.map(ConnectionMessage.hexadecimal)),
            Table.Cell(connection.remoteToken.map(ConnectionMessage.hexadecimal)),
        ]
    }

    private func cells(of subflow: SubflowMessage) -> [Table.Cell] {
        [
            Table.Cell(subflow.state.rawValue, tone(of: subflow.state)),
            Table.Cell(subflow.origin?.rawValue), Table.Cell(subflow.local), Table.Cell(subflow.remote),
            Table.Cell(subflow.tep), Table.Cell(subflow.aead), Table.Cell(subflow.role?.rawValue),
            Table.Cell(Quantities.shortened(subflow.sessionID)), Table.Cell(subflow.secretIndex.map { "\($0)" }),
            Table.Cell(Quantities.bytes(subflow.plainBytesIn)), Table.Cell(Quantities.bytes(subflow.plainBytesOut)),
            remark(on: subflow),
        ]
    }

    private func tone(of state: SubflowMessage.State) -> Style.Tone {
        switch state {
        case .encrypted: .good
        case .plain: .notice
        case .handshake: .heading
        }
    }

    private func remark(on subflow: SubflowMessage) -> Table.Cell {
        guard subflow.authFailures == 0 else {
            let frames = subflow.authFailures == 1 ? "frame" : "frames"
            return Table.Cell("\(subflow.authFailures) \(frames) failed authentication", .bad)
        }
        if subflow.state == .encrypted, subflow.peerApplicationAware == true {
            return Table.Cell("application-aware peer", .good)
        }
        return Table.Cell(subflow.reason ?? "", .notice)
    }

    private func text(of sessions: [SessionMessage]) -> String {
        guard !sessions.isEmpty else { return "no cached sessions" }
        var table = Table([
            .init(title: "TEP"), .init(title: "AEAD"), .init(title: "ROLE"),
            .init(title: "NEXT", alignment: .right), .init(title: "AGE", alignment: .right), .init(title: "PEERS"),
        ])
        for session in sessions {
            table.append([
                Table.Cell(session.tep), Table.Cell(session.aead), Table.Cell(session.role.rawValue),
                Table.Cell("\(session.nextIndex)"),
                Table.Cell(Quantities.duration(milliseconds: session.ageMilliseconds)),
                Table.Cell(session.peers.joined(separator: ", ")),
            ])
        }
        return table.text(style)
    }
}
