import Glibc
public import SystemPackage

/// A system call that failed: what was tried and why.
public struct SystemCallError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call or the purpose, for a log line.
    public let operation: String
    public let errno: Errno

    public init(_ operation: String, _ errno: Errno) {
        self.operation = operation
        self.errno = errno
    }

    /// The failure of the call made just before on this thread.
    init(_ operation: String) {
        self.init(operation, Errno(rawValue: Glibc.errno))
    }

    public var description: String { "\(operation): \(errno)" }
}

/// A file descriptor with one owner, closed with it.
public struct Descriptor: ~Copyable, Sendable {
    /// For poll; never close it.
    public let rawValue: Int32

    /// Takes the ownership of `rawValue`; a negative one is the error of the `operation` just made.
    public init(owning rawValue: Int32, _ operation: String) throws(SystemCallError) {
        guard rawValue >= 0 else { throw SystemCallError(operation) }
        self.rawValue = rawValue
    }

    deinit { close(rawValue) }
}

/// The kernel's socket-option constants that Swift does not see as integers, or not under every libc.
enum SocketOption {
    static let mark: Int32 = 36
    static let sendBufferForce: Int32 = 32
    static let receiveBufferForce: Int32 = 33
    static let ipHeaderIncluded: Int32 = 3
    static let ipPacketInfo: Int32 = 8
    static let ipMTUDiscovery: Int32 = 10
    static let ipv6MTUDiscovery: Int32 = 23
    /// IP_PMTUDISC_PROBE and IPV6_PMTUDISC_PROBE: only the device's MTU counts.
    static let discoveryProbe: Int32 = 3
    static let ipv6HeaderIncluded: Int32 = 36
    static let ipv6PacketInfo: Int32 = 50
    static let netlinkLevel: Int32 = 270
    static let netlinkNoENOBUFS: Int32 = 5
    static let netlinkCapAck: Int32 = 10
}

extension Descriptor {
    /// Sets an integer socket option.
    borrowing func set(level: Int32, option: Int32, to value: Int32, _ what: String) throws(SystemCallError) {
        try Self.set(rawValue, level: level, option: option, to: value, what)
    }

    /// The same for a descriptor that has another owner.
    static func set(
        _ descriptor: Int32, level: Int32, option: Int32, to value: Int32, _ what: String
    ) throws(SystemCallError) {
        var value = value
        let result = unsafe setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
        guard result == 0 else { throw SystemCallError(what) }
    }

    /// A socket with close-on-exec; `flags` may add SOCK_NONBLOCK.
    static func socket(
        _ domain: Int32, _ type: Int32, _ proto: Int32, _ what: String
    ) throws(SystemCallError) -> Descriptor {
        try Descriptor(owning: Glibc.socket(domain, type | Int32(SOCK_CLOEXEC.rawValue), proto), what)
    }
}
