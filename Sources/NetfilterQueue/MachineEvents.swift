import CNetfilterQueue
import Glibc

/// The kernel's news of devices (NETLINK_KOBJECT_UEVENT), of which one matters: that the hypervisor gave this machine another generation
/// ID, as it does where a snapshot of it is restored.
public struct MachineEvents: ~Copyable {
    private let socket: Descriptor
    public var fileDescriptor: Int32 { socket.rawValue }

    private static let objectUevent: Int32 = 15
    private static let kernelGroup: UInt32 = 1

    public init() throws(SystemCallError) {
        let what = "socket for device events"
        let opened = try Descriptor.socket(
            AF_NETLINK, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), Self.objectUevent, what)
        try Self.passChangesOnly(opened.rawValue, what)
        // Enough for those of a whole machine at once, as `udevadm trigger` causes them. Without the right to it the usual has to do.
        try? opened.set(level: SOL_SOCKET, option: SocketOption.receiveBufferForce, to: 8 << 20, what)
        var address = sockaddr_nl()
        address.nl_family = sa_family_t(AF_NETLINK)
        address.nl_groups = Self.kernelGroup
        let size = socklen_t(MemoryLayout<sockaddr_nl>.size)
        let result = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(opened.rawValue, $0, size) }
        }
        guard result == 0 else { throw SystemCallError(what) }
        socket = opened
    }

    /// Devices that come and go are of no interest, and on a host of containers there are very many: of messages only those pass that
    /// begin with `change@`, by their letters 0 and 6.
    private static func passChangesOnly(_ descriptor: Int32, _ what: String) throws(SystemCallError) {
        let (loadByte, jumpIfEqual, give) = (UInt16(0x30), UInt16(0x15), UInt16(0x06))
        var program = [
            sock_filter(code: loadByte, jt: 0, jf: 0, k: 0),
            sock_filter(code: jumpIfEqual, jt: 0, jf: 3, k: UInt32(UInt8(ascii: "c"))),
            sock_filter(code: loadByte, jt: 0, jf: 0, k: 6),
            sock_filter(code: jumpIfEqual, jt: 0, jf: 1, k: UInt32(UInt8(ascii: "@"))),
            sock_filter(code: give, jt: 0, jf: 0, k: .max),
            sock_filter(code: give, jt: 0, jf: 0, k: 0),
        ]
        let result = unsafe program.withUnsafeMutableBufferPointer { rules in
            var filter = unsafe sock_fprog(len: UInt16(rules.count), filter: rules.baseAddress)
            return unsafe setsockopt(
                descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &filter, socklen_t(MemoryLayout<sock_fprog>.size))
        }
        guard result == 0 else { throw SystemCallError(what) }
    }

    /// Takes what has come; whether the machine has another generation now. Where news were lost it may have.
    public borrowing func isNewGeneration() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 8_192)
        var isNew = false
        while true {
            var sender = sockaddr_nl()
            var size = socklen_t(MemoryLayout<sockaddr_nl>.size)
            let count = unsafe withUnsafeMutablePointer(to: &sender) { sender in
                unsafe sender.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe recvfrom(socket.rawValue, &buffer, buffer.count, 0, $0, &size)
                }
            }
            guard count >= 0 else { return isNew || errno == ENOBUFS }
            // Other processes may send such messages too.
            if sender.nl_pid == 0, Self.announcesGeneration(buffer.span.extracting(0..<count)) { isNew = true }
        }
    }

    /// Whether one of the strings of a message, each with a zero at its end, is the kernel's word for it (drivers/virt/vmgenid.c).
    static func announcesGeneration(_ message: Span<UInt8>) -> Bool {
        let word = Array("NEW_VMGENID=1".utf8)
        var start = 0
        for index in message.indices where message[index] == 0 {
            if index - start == word.count, word.indices.allSatisfy({ message[start + $0] == word[$0] }) { return true }
            start = index + 1
        }
        return false
    }
}

/// What a hypervisor tells in a page of memory (linux/vmclock-abi.h), as far as it matters: a number that changes whenever the machine
/// was stopped and went on elsewhere or from a snapshot.
@safe public struct MachineClock: ~Copyable {
    private let page: UnsafeRawPointer?
    private static let pageSize = 4_096
    private static let magic: UInt32 = 0x4B4C_4356
    private static let markerOffset = 16

    /// - Parameter path: of the device; where it is none, the number is always 0.
    public init(path: String) { unsafe page = Self.map(path) }

    private static func map(_ path: String) -> UnsafeRawPointer? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        // What lies behind the end of a file must not be touched.
        guard unsafe fstat(descriptor, &status) == 0,
            status.st_mode & S_IFMT == S_IFCHR || status.st_size >= pageSize,
            let mapped = unsafe mmap(nil, pageSize, PROT_READ, MAP_SHARED, descriptor, 0), unsafe mapped != MAP_FAILED
        else { return nil }
        if unsafe UInt32(littleEndian: mapped.load(as: UInt32.self)) == magic { return UnsafeRawPointer(mapped) }
        unsafe munmap(mapped, pageSize)
        return nil
    }

    deinit {
        if let page = unsafe page { unsafe munmap(UnsafeMutableRawPointer(mutating: page), Self.pageSize) }
    }

    public var isThere: Bool { unsafe page != nil }

    public var disruptionMarker: UInt64 {
        guard let page = unsafe page else { return 0 }
        return unsafe page.load(fromByteOffset: Self.markerOffset, as: UInt64.self)
    }
}
