import CNetfilterQueue
import Glibc
import SystemPackage

/// Sends whole IP packets with the route, mark and device of the flow they belong to.
///
/// The sockets are opened under group ids of their own, so that `-m owner --gid-owner` recognises what they send
/// (xt_owner compares the file's fsgid at the time it was opened): one for the network, the next one for the local stack, by which the rules
/// see that the latter never leaves the host.
public struct PacketInjector: ~Copyable, Sendable {
    private struct Sockets: ~Copyable, Sendable {
        let ipv4: Descriptor
        /// Absent where the kernel has no IPv6.
        let ipv6: Descriptor?

        init(groupID: UInt32) throws(SystemCallError) {
            // Of this thread only, as setegid would not be; the call cannot fail, only be ineffective.
            let previous = UInt32(bitPattern: setfsgid(gid_t(groupID)))
            defer { setfsgid(gid_t(previous)) }
            guard UInt32(bitPattern: setfsgid(gid_t(groupID))) == groupID else {
                throw SystemCallError("setfsgid", .notPermitted)
            }
            ipv4 = try PacketInjector.open(
                AF_INET, Int32(IPPROTO_IP), SocketOption.ipHeaderIncluded, SocketOption.ipMTUDiscovery)
            ipv6 = try? PacketInjector.open(
                AF_INET6, Int32(IPPROTO_IPV6), SocketOption.ipv6HeaderIncluded, SocketOption.ipv6MTUDiscovery)
        }

        /// Negative where the kernel has no IPv6.
        func descriptor(isIPv6: Bool) -> Int32 {
            guard isIPv6 else { return ipv4.rawValue }
            return switch ipv6 {
            case .some(let descriptor): descriptor.rawValue
            case .none: -1
            }
        }
    }

    private let network: Sockets
    private let local: Sockets

    /// - Parameter groupID: that of what goes to the network; the next one is that of what goes to the local stack.
    public init(groupID: UInt32) throws(SystemCallError) {
        let network = try Sockets(groupID: groupID)
        let local = try Sockets(groupID: groupID &+ 1)
        self.network = network
        self.local = local
    }

    private static func open(
        _ family: Int32, _ level: Int32, _ headerIncluded: Int32, _ discovery: Int32
    ) throws(SystemCallError) -> Descriptor {
        let type = Int32(SOCK_RAW.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = try Descriptor.socket(family, type, Int32(IPPROTO_RAW), "raw socket")
        try descriptor.set(level: level, option: headerIncluded, to: 1, "header included")
        // The kernel's route says less than the path takes, for the sake of its own packets (PathMTUs). Not fragmented for that.
        try descriptor.set(level: level, option: discovery, to: SocketOption.discoveryProbe, "path MTU discovery")
        try descriptor.set(level: SOL_SOCKET, option: SocketOption.sendBufferForce, to: 8 << 20, "SO_SNDBUFFORCE")
        // A raw socket of protocol IPPROTO_RAW receives nothing, so there is no receive queue to drain.
        return descriptor
    }
}

extension PacketInjector {
    /// Sends `packet`, a whole IP packet with valid checksums and no longer than the device's MTU, to its destination.
    ///
    /// - Parameters:
    ///   - mark: the packet mark while routing and in the rules.
    ///   - interface: index of the device to leave by; 0 lets the route decide. A link-local destination needs it.
    /// - Throws: EMSGSIZE when too long, EPERM when a rule dropped it, EINVAL when it is no IP packet.
    public func send(_ packet: Span<UInt8>, mark: UInt32, interface: UInt32) throws(SystemCallError) {
        try Self.send(network, packet, mark: mark, interface: interface, fromItsSource: interface != 0)
    }

    /// - Parameter fromItsSource: the route is chosen by the packet's source address too, which must be one of this host.
    ///   The kernel does not look for it in the header: a rule `from ADDRESS` would not match, and the device have no gateway.
    private static func send(
        _ sockets: borrowing Sockets, _ packet: Span<UInt8>, mark: UInt32, interface: UInt32, fromItsSource: Bool
    ) throws(SystemCallError) {
        guard let target = Target(packet) else { throw SystemCallError("inject", .invalidArgument) }
        let descriptor = sockets.descriptor(isIPv6: target.isIPv6)
        if descriptor < 0 { throw SystemCallError("inject", .addressFamilyNotSupported) }
        let control = control(
            isIPv6: target.isIPv6, mark: mark, interface: interface, source: fromItsSource ? target.source : nil)
        let address = target.socketAddress(interface: interface)
        guard send(descriptor, packet, address, control) >= 0 else { throw SystemCallError("inject") }
    }

    /// Hands `packet`, addressed to this host, to the local stack by way of the loopback device.
    ///
    /// TCP sees the device that owns the destination address as its input device, so device-bound sockets match.
    /// - Parameter interface: needed for link-local addresses only.
    /// - Throws: EPERM where it would have left the host, whose address it was (the rules); and as ``send(_:mark:interface:)``.
    public func sendLocally(_ packet: Span<UInt8>, interface: UInt32 = 0) throws(SystemCallError) {
        try Self.send(
            local, packet, mark: 0, interface: Target(packet)?.isLinkLocal == true ? interface : 0, fromItsSource: false
        )
    }

    /// Where a packet goes, read from its header.
    private struct Target {
        var isIPv6: Bool
        var address: [UInt8]
        var source: [UInt8]

        init?(_ packet: Span<UInt8>) {
            guard !packet.isEmpty else { return nil }
            isIPv6 = packet[0] >> 4 == 6
            let range = isIPv6 ? 24..<40 : 16..<20
            guard isIPv6 || packet[0] >> 4 == 4, packet.count >= (isIPv6 ? 40 : 20) else { return nil }
            address = range.map { packet[$0] }
            source = range.map { packet[$0 - range.count] }
        }

        var isLinkLocal: Bool { isIPv6 && address[0] == 0xfe && address[1] & 0xc0 == 0x80 }

        /// `sockaddr_in` or `sockaddr_in6`; the port stays zero.
        func socketAddress(interface: UInt32) -> [UInt8] {
            var builder = NativeBytes()
            builder.append(UInt16(isIPv6 ? AF_INET6 : AF_INET))
            builder.append([0, 0])
            if isIPv6 { builder.append([0, 0, 0, 0]) }
            builder.append(address)
            if isIPv6 {
                builder.append(isLinkLocal ? interface : 0)
            } else {
                builder.append([UInt8](repeating: 0, count: 8))
            }
            return builder.bytes
        }
    }

    /// SO_MARK and, with an interface, IP_PKTINFO or IPV6_PKTINFO, as `cmsghdr`s of a 64-bit host: 16 bytes each, aligned to 8.
    ///
    /// - Parameter source: the address in network order that routing shall know; nil for none.
    static func control(isIPv6: Bool, mark: UInt32, interface: UInt32, source: [UInt8]? = nil) -> [UInt8] {
        var builder = NativeBytes()
        header(length: 20, level: UInt32(SOL_SOCKET), type: UInt32(SocketOption.mark), into: &builder)
        builder.append(mark)
        builder.append(UInt32(0))
        guard interface != 0 else { return builder.bytes }
        if isIPv6 {
            header(length: 36, level: UInt32(IPPROTO_IPV6), type: UInt32(SocketOption.ipv6PacketInfo), into: &builder)
            builder.append(source ?? [UInt8](repeating: 0, count: 16))
            builder.append(interface)
        } else {
            header(length: 28, level: UInt32(IPPROTO_IP), type: UInt32(SocketOption.ipPacketInfo), into: &builder)
            builder.append(interface)
            builder.append(source ?? [0, 0, 0, 0])
            builder.append([0, 0, 0, 0])
        }
        builder.append(UInt32(0))
        return builder.bytes
    }

    private static func header(length: UInt32, level: UInt32, type: UInt32, into builder: inout NativeBytes) {
        #if _endian(little)
            builder.append(length)
            builder.append(UInt32(0))
        #else
            builder.append(UInt32(0))
            builder.append(length)
        #endif
        builder.append(level)
        builder.append(type)
    }

    private static func send(_ descriptor: Int32, _ packet: Span<UInt8>, _ address: [UInt8], _ control: [UInt8]) -> Int
    {
        unsafe packet.withUnsafeBytes { packet in
            unsafe address.withUnsafeBytes { address in
                unsafe control.withUnsafeBytes { control in
                    var part = unsafe iovec(
                        iov_base: UnsafeMutableRawPointer(mutating: packet.baseAddress), iov_len: packet.count)
                    return unsafe withUnsafeMutablePointer(to: &part) { part in
                        var message = unsafe msghdr()
                        unsafe message.msg_name = UnsafeMutableRawPointer(mutating: address.baseAddress)
                        unsafe message.msg_namelen = socklen_t(address.count)
                        unsafe message.msg_iov = part
                        unsafe message.msg_iovlen = 1
                        unsafe message.msg_control = UnsafeMutableRawPointer(mutating: control.baseAddress)
                        unsafe message.msg_controllen = control.count
                        while true {
                            let sent = unsafe sendmsg(descriptor, &message, 0)
                            if sent >= 0 || errno != EINTR { return sent }
                        }
                    }
                }
            }
        }
    }
}
