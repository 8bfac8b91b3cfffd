import Glibc
public import PacketWire
import SystemPackage

/// A TCP socket of this network namespace, as sock_diag lists it.
public struct TCPSocket: Hashable, Sendable {
    /// The tokens of the MPTCP connection that a subflow belongs to (RFC 8684 section 3.2), in host order.
    public struct Tokens: Hashable, Sendable {
        public var local: UInt32
        /// 0 where the kernel does not tell: on the initiator's first subflow.
        public var remote: UInt32

        public init(local: UInt32, remote: UInt32) {
            self.local = local
            self.remote = remote
        }
    }

    public var local: Endpoint
    public var remote: Endpoint
    /// The device it is bound to, 0 for none.
    public var interface: UInt32
    /// The kernel's TCP state number (1 is ESTABLISHED).
    public var state: UInt8
    /// Set for MPTCP subflows.
    public var tokens: Tokens?

    var cookie: [UInt8] = SocketDiagnostics.noCookie

    public init(local: Endpoint, remote: Endpoint, interface: UInt32, state: UInt8, tokens: Tokens? = nil) {
        self.local = local
        self.remote = remote
        self.interface = interface
        self.state = state
        self.tokens = tokens
    }
}

/// Lists and destroys TCP sockets (linux/sock_diag.h, linux/inet_diag.h).
public struct SocketDiagnostics: ~Copyable, Sendable {
    private let socket: NetlinkSocket

    static let noCookie = [UInt8](repeating: 0xff, count: 8)
    private static let byFamily: UInt16 = 20
    private static let destroy: UInt16 = 21
    /// The bit of INET_DIAG_INFO: the kernel tells the tokens beside that only (measured on 6.18).
    private static let information: UInt8 = 2

    public init() throws(SystemCallError) {
        socket = try NetlinkSocket(.sockDiag)
    }

    /// All TCP sockets of both families but listeners: those in SYN_RECV and TIME_WAIT too.
    ///
    /// - Parameter withTokens: whether those of MPTCP subflows are wanted: the kernel then says four times as much.
    public func list(withTokens: Bool = false) throws(SystemCallError) -> [TCPSocket] {
        var sockets: [TCPSocket] = []
        // Bits are 1 << state: all but LISTEN (10).
        let states: UInt32 = 0xfff & ~(1 << 10)
        for family in [AF_INET, AF_INET6] {
            let request = Self.request(
                type: Self.byFamily, flags: NetlinkSocket.request | NetlinkSocket.dump, family: UInt8(family),
                states: states, identity: [UInt8](repeating: 0, count: 48),
                extensions: withTokens ? Self.information : 0)
            try socket.dump(request, "list sockets") { span, header in
                if let socket = span.tcpSocket(header) { sockets.append(socket) }
            }
        }
        return sockets
    }

    /// Destroys the socket of a connection: the peer is sent a reset, the application sees ECONNABORTED.
    ///
    /// A subflow is destroyed alone: its MPTCP connection lives on, silent, until net.mptcp.close_timeout.
    /// - Returns: false when there is no such socket, or it is bound to a device: then list and destroy that.
    public func destroy(local: Endpoint, remote: Endpoint) throws(SystemCallError) -> Bool {
        guard let found = try find(TCPSocket(local: local, remote: remote, interface: 0, state: 0)) else {
            return false
        }
        return try destroy(found)
    }

    /// The same for a socket found by ``list()``: that one, named by its cookie, and never another.
    public func destroy(_ target: TCPSocket) throws(SystemCallError) -> Bool {
        try ask(Self.request(type: Self.destroy, socket: target)) { _, _ in }
    }

    /// The tokens of the MPTCP connection that a subflow belongs to; nil where there is no such socket, or it is none of MPTCP.
    ///
    /// - Parameter interface: index of the device to which the socket is bound, if it is bound to one.
    public func tokens(
        local: Endpoint, remote: Endpoint, interface: UInt32
    ) throws(SystemCallError) -> TCPSocket.Tokens? {
        let target = TCPSocket(local: local, remote: remote, interface: interface, state: 0)
        return try find(target, extensions: Self.information)?.tokens
    }

    /// The kernel looks connections up as it does for a segment: where one is gone, it finds the listener of its port,
    /// which to destroy would end the whole service.
    private func find(_ target: TCPSocket, extensions: UInt8 = 0) throws(SystemCallError) -> TCPSocket? {
        var found: TCPSocket?
        _ = try ask(Self.request(type: Self.byFamily, socket: target, extensions: extensions)) { span, header in
            found = span.tcpSocket(header) ?? found
        }
        guard let found, found.remote == target.remote, found.cookie != Self.noCookie else { return nil }
        return found
    }

    /// Asks about one socket.
    /// - Returns: false where there is none, or the one at these addresses is another by now.
    private func ask(
        _ request: borrowing NetlinkMessageBuilder, _ body: (Span<UInt8>, NetlinkHeader) -> Void
    ) throws(SystemCallError) -> Bool {
        do {
            try socket.dump(request, "destroy socket", body)
            return true
        } catch  where error.errno == .noSuchFileOrDirectory || error.errno == .staleNFSFileHandle {
            return false
        }
    }

    private static func request(type: UInt16, socket: TCPSocket, extensions: UInt8 = 0) -> NetlinkMessageBuilder {
        var identity = NativeBytes()
        identity.append(big: socket.local.port)
        identity.append(big: socket.remote.port)
        for address in [socket.local.address.bytes, socket.remote.address.bytes] {
            identity.append(address + [UInt8](repeating: 0, count: 16 - address.count))
        }
        identity.append(socket.interface)
        identity.append(socket.cookie)
        return request(
            type: type, flags: NetlinkSocket.request | NetlinkSocket.acknowledge,
            family: UInt8(socket.local.address.isIPv6 ? AF_INET6 : AF_INET), states: .max, identity: identity.bytes,
            extensions: extensions)
    }

    /// An `inet_diag_req_v2`.
    private static func request(
        type: UInt16, flags: UInt16, family: UInt8, states: UInt32, identity: [UInt8], extensions: UInt8 = 0
    ) -> NetlinkMessageBuilder {
        var body = NativeBytes()
        body.append([family, UInt8(IPPROTO_TCP), extensions, 0])
        body.append(states)
        body.append(identity)
        var builder = NetlinkMessageBuilder(capacity: 512)
        builder.begin(type: type, flags: flags, extra: body.bytes)
        return builder
    }
}

extension Span<UInt8> {
    /// Reads an `inet_diag_msg`.
    func tcpSocket(_ header: NetlinkHeader) -> TCPSocket? {
        let start = header.payload.lowerBound
        guard header.type == 20, header.payload.count >= 72 else { return nil }
        let isIPv6 = self[start] == UInt8(AF_INET6)
        let local = Endpoint(address: diagAddress(start + 8, isIPv6), port: big16(start + 4))
        let remote = Endpoint(address: diagAddress(start + 24, isIPv6), port: big16(start + 6))
        var socket = TCPSocket(
            local: local, remote: remote, interface: native32(start + 40), state: self[start + 1])
        socket.cookie = (start + 44..<start + 52).map { self[$0] }
        var rest = start + 72..<header.payload.upperBound
        while let (type, value) = nextAttribute(&rest) {
            if type == 19 { socket.tokens = tokens(value) }
        }
        return socket
    }

    /// The address of a socket; one mapped from IPv4 (RFC 4291 section 2.5.5.2) is that IPv4 address.
    private func diagAddress(_ offset: Int, _ isIPv6: Bool) -> IPAddress {
        guard isIPv6 else { return IPAddress(ipv4: big32(offset)) }
        let high = UInt64(big32(offset)) << 32 | UInt64(big32(offset + 4))
        let low = UInt64(big32(offset + 8)) << 32 | UInt64(big32(offset + 12))
        if high == 0, low >> 32 == 0xffff { return IPAddress(ipv4: UInt32(truncatingIfNeeded: low)) }
        return IPAddress(ipv6High: high, low: low)
    }

    /// INET_DIAG_ULP_INFO: the name, then INET_ULP_INFO_MPTCP (3) with the tokens.
    private func tokens(_ ulp: Range<Int>) -> TCPSocket.Tokens? {
        var rest = ulp
        while let (type, value) = nextAttribute(&rest) {
            guard type == 3 else { continue }
            var inner = value
            var tokens = TCPSocket.Tokens(local: 0, remote: 0)
            while let (type, value) = nextAttribute(&inner) {
                guard value.count >= 4 else { continue }
                if type == 1 { tokens.remote = native32(value.lowerBound) }
                if type == 2 { tokens.local = native32(value.lowerBound) }
            }
            return tokens
        }
        return nil
    }
}
