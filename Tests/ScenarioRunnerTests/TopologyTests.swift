import Foundation
import Testing

@testable import ScenarioRunner

/// Networks: addresses, routes that follow from them, what makes them, and their pictures.
@Suite struct TopologyTests {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Scenarios")

    static func preset(_ name: String) -> String? {
        try? String(contentsOf: folder.appendingPathComponent("topologies/\(name).yaml"), encoding: .utf8)
    }

    static func topology(_ yaml: String) throws -> Topology {
        try TopologyParser(preset: preset).parse(Place.root(of: yaml, file: "t.yaml"))
    }

    // MARK: addresses

    @Test(
        arguments: [
            ("10.71.1.1/24", "10.71.1.0/24", 4), ("10.71.1.130/25", "10.71.1.128/25", 4), ("1.2.3.4", "1.2.3.4/32", 4),
            ("fd71:1::1/64", "fd71:1::/64", 6), ("::1/0", "::/0", 6),
            ("fd71:1:2:3:4:5:6:7", "fd71:1:2:3:4:5:6:7/128", 6),
            ("fd71:1:2:ff00::1/56", "fd71:1:2:ff00::/56", 6), ("fd71:1:2:ff80::1/57", "fd71:1:2:ff80::/57", 6),
        ])
    func `an address has its network`(text: String, network: String, version: Int) {
        let address = Address(text)
        #expect(address?.network == network && address?.version == version)
    }

    @Test(
        arguments: [
            "", "10.71.1", "10.71.1.256", "10.71.1.1/33", "10.71.1.1/", "1.2.3.4/2/3", "a.b.c.d", "fd71::1::2",
            "fd71:1", "1:2:3:4:5:6:7:8:9",
            "fd71::12345", "1:2:3:4:5:6:7::8", "::1/129", "+1.2.3.4",
        ])
    func `what is no address`(text: String) { #expect(Address(text) == nil) }

    // MARK: routes

    private static func routes(_ topology: Topology, _ name: String) throws -> [String] {
        try Routing(topology).routes(of: #require(topology.node(name))).map(\.command)
    }

    @Test func `two paths: a has a table for each address, b the shortest ways, routers the rest`() throws {
        let topology = try Self.topology("two-paths")
        let a = try Self.routes(topology, "a").filter { !$0.contains("fd") }
        #expect(
            a == [
                "route replace 10.72.1.0/24 via 10.71.1.254 dev p1 metric 100",
                "route replace 10.72.1.0/24 via 10.71.2.254 dev p2 metric 101",
                "route replace 10.72.2.0/24 via 10.71.2.254 dev p2 metric 100",
                "route replace 10.72.2.0/24 via 10.71.1.254 dev p1 metric 101",
                "route replace 10.72.1.0/24 via 10.71.1.254 dev p1 metric 100 table 101",
                "route replace 10.72.2.0/24 via 10.71.1.254 dev p1 metric 100 table 101",
                "route replace 10.72.2.0/24 via 10.71.2.254 dev p2 metric 100 table 102",
                "route replace 10.72.1.0/24 via 10.71.2.254 dev p2 metric 100 table 102",
            ])
        #expect(
            try Self.routes(topology, "b") == [
                "route replace 10.71.1.0/24 via 10.72.1.254 dev p1 metric 100",
                "route replace 10.71.2.0/24 via 10.72.2.254 dev p2 metric 100",
                "route replace fd71:1::/64 via fd72:1::fe dev p1 metric 100",
                "route replace fd71:2::/64 via fd72:2::fe dev p2 metric 100",
            ])
        // Other addresses of a and b are reached behind themselves.
        #expect(
            try Self.routes(topology, "r1").prefix(2) == [
                "route replace 10.71.2.0/24 via 10.71.1.1 dev toa metric 100",
                "route replace 10.72.2.0/24 via 10.72.1.1 dev tob metric 100",
            ])
        #expect(
            try Routing(topology).rules(of: #require(topology.node("a"))).map(\.command) == [
                "rule add from 10.71.1.0/24 lookup 101", "rule add from fd71:1::/64 lookup 101",
                "rule add from 10.71.2.0/24 lookup 102", "rule add from fd71:2::/64 lookup 102",
            ])
    }

    @Test func `routers in a row lead on`() throws {
        let topology = try Self.topology("router")
        #expect(
            try Self.routes(topology, "a").prefix(2) == [
                "route replace 10.73.1.0/24 via 10.71.1.254 dev p1 metric 100",
                "route replace 10.72.1.0/24 via 10.71.1.254 dev p1 metric 100",
            ])
        #expect(try Self.routes(topology, "r2").first == "route replace 10.71.1.0/24 via 10.73.1.1 dev toa metric 100")
    }

    @Test func `nothing is led into a NAT from outside`() throws {
        let topology = try Self.topology("nat")
        #expect(try Self.routes(topology, "b").isEmpty)
        #expect(try Self.routes(topology, "a").contains("route replace 10.72.1.0/24 via 192.168.1.1 dev p1 metric 100"))
        #expect(
            TopologyScript(topology: topology, prefix: "tc1").text.contains(
                "iptables -t nat -A POSTROUTING -o tob -j MASQUERADE"))
    }

    @Test func `a bridge is one network, and an eavesdropper there hears everything`() throws {
        let topology = try Self.topology("bridge")
        #expect(topology.segments().map { $0.map(\.name).sorted() } == [["a.p1", "b.p1", "e.p1"]])
        #expect(try Self.routes(topology, "a").isEmpty)
        let script = TopologyScript(topology: topology, prefix: "tc1").text
        #expect(script.contains("link add br0 type bridge ageing_time 0"))
        #expect(script.contains("ip -n tc1-s link set toe master br0"))
        let deaf = try Self.topology("{nodes: {a: host, s: bridge}, links: {l: [a.p1 10.0.0.1/24, s.t]}}")
        #expect(!TopologyScript(topology: deaf, prefix: "tc1").text.contains("ageing_time"))
    }

    @Test func `links have their rates, MTUs and wires`() throws {
        let script = TopologyScript(
            topology: try Self.topology("{preset: asymmetric, links: {near1: {mtu: 1400}}}"), prefix: "tc1"
        ).text
        #expect(script.contains("tc1-r1 tc qdisc replace dev tob root tbf rate 10mbit "))
        #expect(script.contains("tc1-b tc qdisc replace dev p1 root tbf rate 50mbit "))
        #expect(script.contains("ip netns add tc1-w-near1") && script.contains("ip -n tc1-a link set p1 mtu 1400"))
        #expect(script.contains("ip -n tc1-a mptcp endpoint add 10.71.2.1 dev p2 subflow"))
    }

    // MARK: pictures

    @Test func `each way is a line`() throws {
        #expect(
            Drawing(
                try Self.topology("{preset: two-paths, links: {far2: {rate: 5mbit, mtu: 1400}}, endpoints: {a: []}}")
            ).lines == [
                "┌ a ──────────────┐                           ┌ b ──────────────┐",
                "│ p1 10.71.1.1/24 ├── r1 ─────────────────────┤ p1 10.72.1.1/24 │",
                "│    fd71:1::1/64 │                           │    fd72:1::1/64 │",
                "│ p2 10.71.2.1/24 ├── r2 ── 5mbit, MTU 1400 ──┤ p2 10.72.2.1/24 │",
                "│    fd71:2::1/64 │                           │    fd72:2::1/64 │",
                "└─────────────────┘                           └─────────────────┘",
            ])
    }

    @Test func `what is on no way is below`() throws {
        #expect(
            Drawing(try Self.topology("nat")).lines.last
                == "  c (host) p1 192.168.2.10/24 fd75:1::1/64 ── n (nat) toc 192.168.2.1/24 fd75:1::fe/64")
        #expect(Drawing(try Self.topology("bridge")).lines.last == "  s (bridge) toe ── e (eavesdropper) p1")
    }

    @Test func `subflows go their ways, with their states`() throws {
        let connections = try Value(
            json: """
                [{"kind": "mptcp", "local_token": "0000002a", "remote_token": "beefbeef", "subflows": [
                  {"local": "10.71.1.1:5", "remote": "10.72.1.1:80", "state": "encrypted", "origin": "fresh",
                   "aead": "AEAD_AES_128_GCM", "reason": null, "plain_bytes_in": 1234567, "plain_bytes_out": 12},
                  {"local": "10.71.2.31:6", "remote": "10.72.1.1:80", "state": "handshake", "origin": "join",
                   "aead": null, "reason": null, "plain_bytes_in": 0, "plain_bytes_out": 2500}]},
                 {"kind": "tcp", "local_token": null, "remote_token": null, "subflows": [
                  {"local": "[fd71:1::1]:7", "remote": "[fd72:1::1]:22", "state": "plain", "origin": null, "aead": null,
                   "reason": "port excluded by configuration", "plain_bytes_in": 0, "plain_bytes_out": 0}]}]
                """)
        #expect(
            SubflowDrawing(connections, of: "a", in: try Self.topology("two-paths")).lines == [
                "mptcp  tokens 0000002a beefbeef",
                "  10.71.1.1:5 ══ r1 ══ 10.72.1.1:80   encrypted, fresh, AEAD_AES_128_GCM; out 12 bytes, in 1.2 MB",
                "  10.71.2.31:6 ╌╌ r2 ╌╌ 10.72.1.1:80   handshake, join; out 2.5 kB, in 0 bytes",
                "tcp",
                "  [fd71:1::1]:7 ── r1 ── [fd72:1::1]:22   plain: port excluded by configuration; out 0 bytes, in 0 bytes",
            ])
        #expect(
            SubflowDrawing(
                try Value(
                    json: """
                        [{"kind": "tcp", "subflows": [{"local": "10.71.1.1:5", "remote": "10.71.1.2:9", "state": "encrypted",
                          "plain_bytes_in": 1, "plain_bytes_out": 1}]}]
                        """), of: "a", in: try Self.topology("bridge")
            ).lines.last == "  10.71.1.1:5 ══ s ══ 10.71.1.2:9   encrypted; out 1 bytes, in 1 bytes")
    }

    // MARK: what programs say

    @Test func `sockets lose devices and mapped addresses`() {
        let text = """
            0 0 10.71.1.1:5000 10.72.1.1:80
            0 0 [::ffff:10.72.1.1%p1]:80 [::ffff:10.71.1.1]:5000
            0 0 [fd71::1%p1]:1 [fd72::1]:2
            """
        func socket(_ local: String, _ remote: String) -> Value {
            .object(["local": .text(local), "remote": .text(remote)])
        }
        #expect(
            Observed.sockets(text)
                == .list([
                    socket("10.71.1.1:5000", "10.72.1.1:80"), socket("10.72.1.1:80", "10.71.1.1:5000"),
                    socket("[fd71::1]:1", "[fd72::1]:2"),
                ]))
    }
}
