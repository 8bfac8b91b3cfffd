/// What programs say, as values for expressions.
enum Observed {
    /// `tcpcryptctl connections --json`: the subflows of all connections, each with its connection's kind and tokens.
    static func subflows(_ connections: Value) -> Value {
        guard case .list(let connections) = connections else { return .list([]) }
        return .list(
            connections.flatMap { connection -> [Value] in
                guard case .object(let members) = connection, case .list(let subflows)? = members["subflows"] else {
                    return []
                }
                return subflows.map { subflow in
                    guard case .object(var all) = subflow else { return subflow }
                    for name in ["kind", "local_token", "remote_token"] { all[name] = members[name] ?? .null }
                    return .object(all)
                }
            })
    }

    /// `ss -tHn state established`: objects of `local` and `remote`, addresses with ports.
    static func sockets(_ text: String) -> Value {
        .list(
            text.split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ").map(String.init)
                guard words.count >= 4 else { return nil }
                return .object(["local": .text(address(words[2])), "remote": .text(address(words[3]))])
            })
    }

    /// Without the device, and an IPv4 address as such also where the socket is an IPv6 one.
    private static func address(_ text: String) -> String {
        guard let colon = text.lastIndex(of: ":") else { return text }
        let port = text[colon...]
        var host = text[..<colon].filter { $0 != "[" && $0 != "]" }
        if let percent = host.firstIndex(of: "%") { host = String(host[..<percent]) }
        if host.hasPrefix("::ffff:"), host.contains(".") { host = String(host.dropFirst(7)) }
        return (host.contains(":") ? "[\(host)]" : host) + port
    }

    /// `ip -s -j link`: by device, how many bytes it has sent and received.
    static func bytes(json: String) throws -> Value {
        guard case .list(let devices) = try Value(json: json) else { return .object([:]) }
        var bytes: [String: Value] = [:]
        for case .object(let device) in devices {
            guard case .text(let name)? = device["ifname"], case .object(let statistics)? = device["stats64"] else {
                continue
            }
            let counts = ["rx", "tx"].compactMap { direction -> Double? in
                guard case .object(let members)? = statistics[direction], case .number(let count)? = members["bytes"]
                else { return nil }
                return count
            }
            bytes[name] = .number(counts.reduce(0, +))
        }
        return .object(bytes)
    }
}
