import CNetfilterQueue
import Glibc
import SystemPackage

/// One AF_NETLINK socket that talks to the kernel only; a libmnl socket with one owner.
@safe struct NetlinkSocket: ~Copyable, @unchecked Sendable {
    /// The protocols used here (linux/netlink.h).
    enum Family: Int32 {
        case route = 0
        case sockDiag = 4
        case netfilter = 12
    }

    static let request: UInt16 = 1
    static let acknowledge: UInt16 = 4
    static let dump: UInt16 = 0x300

    private let socket: OpaquePointer

    var fileDescriptor: Int32 { unsafe mnl_socket_get_fd(socket) }

    init(_ family: Family) throws(SystemCallError) {
        let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        guard let socket = unsafe mnl_socket_open2(family.rawValue, flags) else {
            throw SystemCallError("netlink socket")
        }
        guard unsafe mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 else {
            let error = SystemCallError("netlink bind")
            unsafe mnl_socket_close(socket)
            throw error
        }
        unsafe self.socket = unsafe socket
    }

    deinit { unsafe mnl_socket_close(socket) }

    /// Sets an integer option of the netlink level.
    borrowing func set(netlink option: Int32, to value: Int32, _ what: String) throws(SystemCallError) {
        var value = value
        let size = socklen_t(MemoryLayout<Int32>.size)
        guard unsafe mnl_socket_setsockopt(socket, option, &value, size) == 0 else { throw SystemCallError(what) }
    }

    /// Sends the finished messages of `builder`, then `payload` and its padding, as one datagram; the kernel has
    /// processed it on return.
    borrowing func send(_ builder: borrowing NetlinkMessageBuilder, payload: Span<UInt8>) throws(SystemCallError) {
        let sent = unsafe builder.withBytes { head in
            unsafe payload.withUnsafeBytes { body in unsafe Self.send(fileDescriptor, head, body) }
        }
        guard sent >= 0 else { throw SystemCallError("netlink send") }
    }

    borrowing func send(_ builder: borrowing NetlinkMessageBuilder) throws(SystemCallError) {
        let sent = unsafe builder.withBytes { head in unsafe mnl_socket_sendto(socket, head.baseAddress, head.count) }
        guard sent >= 0 else { throw SystemCallError("netlink send") }
    }

    /// Receives one datagram into `buffer`.
    /// - Returns: its length, or nil when none waits. Losses the kernel reports (ENOBUFS) are not errors here.
    borrowing func receive(into buffer: inout [UInt8]) throws(SystemCallError) -> Int? {
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes { memory in
                unsafe mnl_socket_recvfrom(socket, memory.baseAddress, memory.count)
            }
            if count >= 0 { return count }
            switch errno {
            case EINTR, ENOBUFS: continue
            case EAGAIN: return nil
            default: throw SystemCallError("netlink receive")
            }
        }
    }

    /// Receives up to `limit` datagrams that wait, one behind the other in `buffer` at distances of `slot` bytes.
    /// - Returns: how many; `lengths` has theirs. Losses the kernel reports (ENOBUFS) are not errors here.
    borrowing func receive(
        into buffer: inout [UInt8], slot: Int, atMost limit: Int, lengths: inout [Int]
    ) throws(SystemCallError) -> Int {
        let limit = min(limit, buffer.count / slot, lengths.count)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes { memory in
                unsafe Self.receive(fileDescriptor, memory, slot: slot, count: limit, lengths: &lengths)
            }
            if count >= 0 { return count }
            switch errno {
            case EINTR, ENOBUFS: continue
            case EAGAIN: return 0
            default: throw SystemCallError("netlink receive")
            }
        }
    }

    private static func receive(
        _ descriptor: Int32, _ memory: UnsafeMutableRawBufferPointer, slot: Int, count: Int, lengths: inout [Int]
    ) -> Int {
        unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: count) { parts in
            unsafe withUnsafeTemporaryAllocation(of: mmsghdr.self, capacity: count) { messages in
                for index in 0..<count {
                    let start = unsafe memory.baseAddress.map { unsafe $0 + index * slot }
                    unsafe parts.initializeElement(at: index, to: iovec(iov_base: start, iov_len: slot))
                    var message = unsafe mmsghdr()
                    unsafe message.msg_hdr.msg_iov = parts.baseAddress.map { unsafe $0 + index }
                    unsafe message.msg_hdr.msg_iovlen = 1
                    unsafe messages.initializeElement(at: index, to: message)
                }
                let received = unsafe recvmmsg(descriptor, messages.baseAddress, UInt32(count), 0, nil)
                for index in 0..<max(0, Int(received)) { unsafe lengths[index] = Int(messages[index].msg_len) }
                return Int(received)
            }
        }
    }

    /// Header, payload and padding from three places: libmnl sends from one place only.
    private static func send(
        _ descriptor: Int32, _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer
    ) -> Int {
        var zeros: UInt32 = 0
        return unsafe withUnsafeMutableBytes(of: &zeros) { padding in
            var parts = unsafe (
                iovec(iov_base: UnsafeMutableRawPointer(mutating: head.baseAddress), iov_len: head.count),
                iovec(iov_base: UnsafeMutableRawPointer(mutating: body.baseAddress), iov_len: body.count),
                iovec(iov_base: padding.baseAddress, iov_len: (4 - body.count & 3) & 3)
            )
            return unsafe withUnsafeMutableBytes(of: &parts) { raw in
                var header = unsafe msghdr()
                unsafe header.msg_iov = raw.baseAddress?.assumingMemoryBound(to: iovec.self)
                unsafe header.msg_iovlen = 3
                while true {
                    let sent = unsafe sendmsg(descriptor, &header, 0)
                    if sent >= 0 || errno != EINTR { return sent }
                }
            }
        }
    }
}

extension NetlinkSocket {
    /// Waits up to `milliseconds` for a datagram; false on timeout.
    borrowing func wait(milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: fileDescriptor, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, milliseconds) > 0
    }

    /// Sends a request and hands every message of the answer to `body`, until the kernel ends it.
    borrowing func dump(
        _ request: borrowing NetlinkMessageBuilder, _ what: String, _ body: (Span<UInt8>, NetlinkHeader) -> Void
    ) throws(SystemCallError) {
        try send(request)
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            guard wait(milliseconds: 2000) else { throw SystemCallError(what, .timedOut) }
            guard let count = try receive(into: &buffer) else { continue }
            let span = buffer.span.extracting(first: min(count, buffer.count))
            var cursor = 0
            while let header = span.nextMessage(&cursor) {
                if header.type == NetlinkHeader.done { return }
                if let code = span.errorNumber(header) {
                    if code == 0 { return }
                    throw SystemCallError(what, Errno(rawValue: code))
                }
                body(span, header)
            }
        }
    }
}
