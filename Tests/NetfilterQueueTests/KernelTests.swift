import Glibc
import PacketWire
import SystemPackage
import Testing

@testable import NetfilterQueue

/// The real kernel, in a namespace of each test's own. Needs root and TCPCRYPT_ROOT_TESTS=1.
@Suite(.enabled(if: ScratchNamespace.isEnabled)) struct KernelTests {
    @Test func aQueueHasOneOwner() async throws {
        try await ScratchNamespace.run {
            let first = try QueueSocket(queue: 7, overload: .drop)
            #expect(throws: QueueError.taken(queue: 7)) { _ = try QueueSocket(queue: 7, overload: .drop) }
            #expect(first.queue == 7)
        }
    }

    /// The injected packet carries its group, mark and bytes; its replacement and its mark come out of the verdict.
    @Test(arguments: [false, true]) func injectsQueuesAndReplaces(isIPv6: Bool) async throws {
        try await ScratchNamespace.run {
            let tool = isIPv6 ? "ip6tables" : "iptables"
            let match = "-p tcp --dport 9 -m owner --gid-owner 31856 -m mark --mark 0x2a"
            try ScratchNamespace.shell("\(tool) -t mangle -A OUTPUT \(match) -j NFQUEUE --queue-num 7")
            try ScratchNamespace.shell("\(tool) -t mangle -A INPUT -p tcp --dport 9 -j NFQUEUE --queue-num 8")
            var out = try QueueSocket(queue: 7, overload: .drop)
            var into = try QueueSocket(queue: 8, overload: .drop)
            var buffer = PacketBuffer()
            let packet = Self.segment(isIPv6: isIPv6)
            let injector = try PacketInjector(groupID: 31_856)
            try injector.send(packet.span, mark: 0x2a, interface: 0)

            #expect(Self.receive(&out, &buffer))
            let sent = try #require(buffer.packets.first)
            #expect(sent.hook == .localOut && sent.mark == 0x2a && sent.payload.count == packet.count)
            var changed = packet
            changed[packet.count - 1] = 0x77
            try out.accept(sent.number, mark: 0x1000_002a, replacement: changed.span)
            try out.flush()

            #expect(Self.receive(&into, &buffer))
            let arrived = try #require(buffer.packets.first)
            #expect(arrived.hook == .localIn && arrived.mark == 0x1000_002a && arrived.inputInterface == 1)
            let last = buffer.payload(of: arrived)[arrived.payload.count - 1]
            #expect(last == 0x77)
            try into.drop(arrived.number)
            try into.flush()
        }
    }

    /// What is meant for the local stack has a group of its own: rules keep it from leaving, should the address have gone.
    @Test(arguments: [false, true]) func whatIsForTheLocalStackStaysHere(isIPv6: Bool) async throws {
        try await ScratchNamespace.run {
            let (tool, via) =
                isIPv6
                ? ("ip6tables", "-6 route add default via fe80::1") : ("iptables", "route add default via 192.0.2.9")
            let match = "-p tcp --dport 9 -m owner --gid-owner 31857"
            try ScratchNamespace.shell(
                """
                ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up
                ip address add 192.0.2.1/24 dev v0 && ip \(via) dev v0
                \(tool) -A OUTPUT ! -o lo \(match) -j DROP && \(tool) -A OUTPUT -o lo \(match) -j NFQUEUE --queue-num 7
                """)
            var queue = try QueueSocket(queue: 7, overload: .drop)
            var buffer = PacketBuffer()
            let injector = try PacketInjector(groupID: 31_856)
            var packet = Self.segment(isIPv6: isIPv6)
            try injector.sendLocally(packet.span)
            #expect(Self.receive(&queue, &buffer))
            // The last byte of the destination.
            packet[isIPv6 ? 39 : 19] = 7
            packet[isIPv6 ? 24 : 16] = isIPv6 ? 0x20 : 198
            #expect(throws: SystemCallError("inject", .notPermitted)) { try injector.sendLocally(packet.span) }
        }
    }

    @Test func severalPacketsComeAtOnce() async throws {
        try await ScratchNamespace.run {
            try ScratchNamespace.shell("iptables -t mangle -A OUTPUT -p tcp --dport 9 -j NFQUEUE --queue-num 7")
            try ScratchNamespace.shell("ip link set lo mtu 65535")
            var queue = try QueueSocket(queue: 7, overload: .drop)
            var buffer = PacketBuffer()
            let injector = try PacketInjector(groupID: 31_856)
            let payloads = (0..<11).map { $0 % 3 == 0 ? 60_000 + $0 : 4 + $0 }
            for count in payloads {
                try injector.send(Self.segment(isIPv6: false, payload: count).span, mark: 0, interface: 0)
            }
            var found: [Int] = []
            for (limit, isMore) in [(8, true), (2, true), (8, false), (8, false)] {
                let mayBeMore = try queue.receive(into: &buffer, atMost: limit)
                #expect(mayBeMore == isMore)
                for packet in buffer.packets {
                    let bytes = buffer.payload(of: packet)
                    #expect(bytes[0] == 0x45 && bytes[packet.payload.count - 1] == 1)
                    found.append(packet.payload.count - 40)
                    try queue.drop(packet.number)
                }
            }
            try queue.flush()
            #expect(found == payloads)
        }
    }

    /// The second path of a multi-homed host is known to a rule `from ADDRESS` alone.
    @Test(arguments: [false, true]) func injectedPacketsTakeTheRouteOfTheirSource(_ isIPv6: Bool) async throws {
        try await ScratchNamespace.run {
            let (own, gateway, prefix) = isIPv6 ? ("2001:db8::1", "2001:db8::fe", 64) : ("192.0.2.1", "192.0.2.254", 24)
            let version = isIPv6 ? "-6" : "-4"
            try ScratchNamespace.shell(
                """
                ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && \
                ip \(version) address add \(own)/\(prefix) dev v0 \(isIPv6 ? "nodad" : "") && \
                ip \(version) route add default via \(gateway) dev v0 table 7 && ip \(version) rule add from \(own) lookup 7
                """)
            let far = isIPv6 ? "2001:db8:ffff::1" : "198.51.100.1"
            let source = try #require(IPAddress(own))
            let destination = try #require(IPAddress(far))
            let packet = HeaderTemplate.bytes(
                from: Endpoint(address: source, port: 1234), to: Endpoint(address: destination, port: 9))
            let index = unsafe if_nametoindex("v0")
            // Sent without the source the kernel would take the far address for a neighbour.
            try PacketInjector(groupID: 31_856).send(packet.span, mark: 0, interface: index)
            usleep(200_000)
            try ScratchNamespace.shell("ip \(version) neighbour show dev v0 | grep -q '^\(gateway) '")
            try ScratchNamespace.shell("! ip \(version) neighbour show dev v0 | grep -q '^\(far) '")
        }
    }

    @Test func longReplacementsGoWhole() async throws {
        try await ScratchNamespace.run {
            try ScratchNamespace.shell("ip link set lo mtu 65535")
            try ScratchNamespace.shell("iptables -t mangle -A OUTPUT -p tcp --dport 9 -j NFQUEUE --queue-num 7")
            try ScratchNamespace.shell("iptables -t mangle -A INPUT -p tcp --dport 9 -j NFQUEUE --queue-num 8")
            var out = try QueueSocket(queue: 7, overload: .drop)
            var into = try QueueSocket(queue: 8, overload: .drop)
            var buffer = PacketBuffer()
            try PacketInjector(groupID: 31_856).send(Self.segment(isIPv6: false).span, mark: 0, interface: 1)
            #expect(Self.receive(&out, &buffer))
            let sent = try #require(buffer.packets.first)
            let long = Self.segment(isIPv6: false, payload: 65_531 - 40)
            try out.accept(sent.number, mark: 0, replacement: long.span)
            #expect(Self.receive(&into, &buffer))
            let arrived = try #require(buffer.packets.first)
            #expect(arrived.payload.count == 65_531 && arrived.truncatedFrom == nil)
            try into.drop(arrived.number)
            try into.flush()
        }
    }

    @Test func listsAndDestroysSockets() async throws {
        try await ScratchNamespace.run {
            let pair = try #require(LoopbackPair())
            let diagnostics = try SocketDiagnostics()
            let found = try diagnostics.list().filter { $0.remote == pair.server && $0.local == pair.client }
            #expect(found.count == 1 && found.first?.state == 1 && found.first?.tokens == nil)
            let destroyed = try diagnostics.destroy(local: pair.client, remote: pair.server)
            #expect(destroyed)
            var byte: UInt8 = 0
            let count = unsafe recv(pair.descriptor, &byte, 1, 0)
            #expect(count == -1 && errno == ECONNABORTED)
            let again = try diagnostics.destroy(local: pair.client, remote: pair.server)
            #expect(!again)
        }
    }

    /// As the kernel has them: the two ends agree, but for the token that an initiator's first subflow does not tell.
    @Test func tellsTheTokensOfSubflows() async throws {
        try await ScratchNamespace.run {
            let pair = try #require(LoopbackPair(protocol: 262))
            let diagnostics = try SocketDiagnostics()
            let listed = try diagnostics.list(withTokens: true).filter { $0.local == pair.client }
            #expect(listed.count == 1)
            let tokens = try #require(listed.first?.tokens)
            #expect(tokens.local != 0)
            let asked = try diagnostics.tokens(local: pair.client, remote: pair.server, interface: 0)
            #expect(asked == tokens)
            let nobody = Endpoint(address: pair.client.address, port: pair.client.port ^ 1)
            let none = try diagnostics.tokens(local: pair.server, remote: nobody, interface: 0)
            #expect(none == nil)
        }
    }

    /// The kernel's lookup of a connection that is gone finds the listener of its port.
    @Test func sparesListeners() async throws {
        try await ScratchNamespace.run {
            let pair = try #require(LoopbackPair())
            let nobody = Endpoint(address: pair.client.address, port: pair.client.port ^ 1)
            let destroyed = try SocketDiagnostics().destroy(local: pair.server, remote: nobody)
            #expect(!destroyed && pair.listens)
        }
    }

    @Test func knowsTheMTU() async throws {
        try await ScratchNamespace.run {
            var table = try InterfaceTable()
            #expect(table.mtu(1, now: 0) == 65_536)
            try ScratchNamespace.shell("ip link set lo mtu 9000")
            #expect(table.mtu(1, now: 1) == 65_536)
            #expect(table.mtu(1, now: InterfaceTable.lifetime) == 9000)
            #expect(table.mtu(77, now: 0) == 0)
        }
    }

    @Test func knowsTheMTUOfRoutes() async throws {
        try await ScratchNamespace.run {
            try ScratchNamespace.shell(
                """
                ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && \
                ip address add 192.0.2.1/24 dev v0 && ip address add 2001:db8::1/64 dev v0 nodad && \
                ip route add 198.51.100.0/24 via 192.0.2.2 mtu 1300 && ip route add 2001:db8:1::/48 via 2001:db8::2 mtu 1400 && \
                ip route add 203.0.113.0/24 via 192.0.2.3 table 7 mtu 1200 && ip rule add fwmark 7 lookup 7
                """)
            let index = unsafe if_nametoindex("v0")
            var table = try RouteTable()
            let mtu = { (table: inout RouteTable, text: String, mark: UInt32) in
                IPAddress(text).map {
                    let source = IPAddress($0.isIPv6 ? "2001:db8::1" : "192.0.2.1") ?? $0
                    return table.mtu(from: source, to: $0, interface: index, mark: mark, now: 0)
                }
            }
            #expect(mtu(&table, "198.51.100.9", 0) == 1300)
            #expect(mtu(&table, "2001:db8:1::9", 0) == 1400)
            #expect(mtu(&table, "192.0.2.2", 0) == 0)
            #expect(mtu(&table, "203.0.113.9", 0) == 0)
            #expect(mtu(&table, "203.0.113.9", 7) == 1200)
        }
    }

    /// An address that goes is lost, until it comes back; one that never was there, as transparent proxies have, is not.
    @Test(arguments: [false, true]) func knowsWhichAddressesAreLost(isIPv6: Bool) async throws {
        try await ScratchNamespace.run {
            let (text, prefix) = isIPv6 ? ("2001:db8::1", 64) : ("192.0.2.1", 24)
            let change = { (verb: String) in
                let flag = isIPv6 && verb == "add" ? "nodad" : ""
                try ScratchNamespace.shell("ip address \(verb) \(text)/\(prefix) dev v0 \(flag)")
            }
            try ScratchNamespace.shell(
                "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up")
            try change("add")
            let own = try #require(IPAddress(text))
            let foreign = try #require(IPAddress(isIPv6 ? "2001:db8::2" : "192.0.2.2"))
            var addresses = try OwnAddresses()
            let isLost = { (addresses: inout OwnAddresses, address: IPAddress, time: Int64) in
                addresses.isLost(address, now: time)
            }
            #expect(!isLost(&addresses, own, 0) && !isLost(&addresses, foreign, 0))
            try change("delete")
            #expect(!isLost(&addresses, own, OwnAddresses.lifetime - 1))
            #expect(isLost(&addresses, own, OwnAddresses.lifetime))
            #expect(!isLost(&addresses, foreign, OwnAddresses.lifetime))
            try change("add")
            #expect(!isLost(&addresses, own, OwnAddresses.lifetime))
        }
    }

    private static func receive(_ queue: inout QueueSocket, _ buffer: inout PacketBuffer) -> Bool {
        for _ in 0..<200 {
            _ = try? queue.receive(into: &buffer)
            if !buffer.packets.isEmpty { return true }
            usleep(5000)
        }
        return false
    }

    /// A segment to port 9 of the loopback; nobody looks at its TCP checksum.
    private static func segment(isIPv6: Bool, payload: Int = 4) -> [UInt8] {
        let address = isIPv6 ? IPAddress(ipv6High: 0, low: 1) : IPAddress(ipv4: 0x7f00_0001)
        let bytes = HeaderTemplate.bytes(
            from: Endpoint(address: address, port: 1234), to: Endpoint(address: address, port: 9))
        var packet = bytes + [UInt8](repeating: 1, count: payload)
        let length = isIPv6 ? 20 + payload : packet.count
        let offset = isIPv6 ? 4 : 2
        packet[offset] = UInt8(truncatingIfNeeded: length >> 8)
        packet[offset + 1] = UInt8(truncatingIfNeeded: length)
        if !isIPv6 {
            var sum = Checksum()
            sum.add(packet.span.extracting(0..<20))
            packet[10] = UInt8(truncatingIfNeeded: sum.value >> 8)
            packet[11] = UInt8(truncatingIfNeeded: sum.value)
        }
        return packet
    }
}

/// A TCP connection of the loopback with itself.
private final class LoopbackPair {
    let descriptor: Int32
    let client: Endpoint
    let server: Endpoint
    private let listener: Int32

    /// - Parameter number: 262 for MPTCP.
    init?(protocol number: Int32 = 0) {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), number)
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), number)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        guard unsafe Self.call(listener, &address, bind), listen(listener, 1) == 0,
            Self.name(listener, &address), unsafe Self.call(descriptor, &address, connect)
        else { return nil }
        let local = IPAddress(ipv4: 0x7f00_0001)
        server = Endpoint(address: local, port: UInt16(bigEndian: address.sin_port))
        guard Self.name(descriptor, &address) else { return nil }
        client = Endpoint(address: local, port: UInt16(bigEndian: address.sin_port))
    }

    var listens: Bool {
        var value: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        return unsafe getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value == 1
    }

    deinit {
        close(descriptor)
        close(listener)
    }

    private static func call(
        _ descriptor: Int32, _ address: inout sockaddr_in,
        _ function: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Bool {
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe function(descriptor, $0, size) == 0 }
        }
    }

    private static func name(_ descriptor: Int32, _ address: inout sockaddr_in) -> Bool {
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return unsafe withUnsafeMutablePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe getsockname(descriptor, $0, &size) == 0
            }
        }
    }
}
