import ControlProtocol
import Glibc
import SystemPackage

/// One connection to the control socket, with blocking calls.
struct ControlConnection: ~Copyable {
    private let path: String
    private let socket: Socket

    init(path: String, patience: Duration) throws(TcpcryptClientError) {
        let address = try Self.address(path)
        let socket = try Socket()
        socket.setPatience(patience)
        guard Self.connect(socket.number, address) == 0 else { throw Self.connectError(errno, path) }
        self.path = path
        self.socket = socket
    }

    /// Sends a line and returns the line that answers it, without its line feed.
    borrowing func exchange(_ line: [UInt8]) throws(TcpcryptClientError) -> [UInt8] {
        try send(line)
        return try receiveLine()
    }

    private borrowing func send(_ line: [UInt8]) throws(TcpcryptClientError) {
        var sent = 0
        while sent < line.count {
            let count = unsafe line.withUnsafeBytes { buffer in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[sent...])
                return unsafe Glibc.send(socket.number, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            }
            if count > 0 { sent += count }
            if count < 0, errno != EINTR {
                // A daemon that closed may have said why before: the answer tells.
                if errno == EPIPE || errno == ECONNRESET { return }
                throw failure("send")
            }
        }
    }

    private borrowing func receiveLine() throws(TcpcryptClientError) -> [UInt8] {
        var line: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe recv(socket.number, &chunk, chunk.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("recv") }
            guard count > 0 else { throw .disconnected(path: path) }
            let end = chunk[..<count].firstIndex(of: 0x0A)
            line.append(contentsOf: chunk[..<(end ?? count)])
            if end != nil { return line }
            guard line.count <= ControlProtocol.maximumResponseBytes else {
                throw .malformed(path: path, reason: "the answer does not end")
            }
        }
    }

    /// The error of a call that failed just now.
    private borrowing func failure(_ step: String) -> TcpcryptClientError {
        switch errno {
        case EAGAIN: .timeout(path: path)
        case ECONNRESET: .disconnected(path: path)
        case let code: .system(step: step, code: code)
        }
    }

    // MARK: - Connecting

    private static func connectError(_ code: Int32, _ path: String) -> TcpcryptClientError {
        switch code {
        case ENOENT, ECONNREFUSED, ENOTDIR: .notRunning(path: path)
        case EACCES, EPERM: .notPermitted(path: path)
        case EAGAIN: .timeout(path: path)
        default: .system(step: "connect to \(path)", code: code)
        }
    }

    private static func address(_ path: String) throws(TcpcryptClientError) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path), !bytes.contains(0) else {
            throw .badPath(path)
        }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        return address
    }

    private static func connect(_ socket: Int32, _ address: sockaddr_un) -> Int32 {
        unsafe withUnsafePointer(to: address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}

/// The one owner of a stream socket's descriptor.
private struct Socket: ~Copyable {
    let number: Int32

    init() throws(TcpcryptClientError) {
        number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw .system(step: "socket", code: errno) }
    }

    deinit { if number >= 0 { _ = close(number) } }

    /// Bounds every later wait on this socket.
    borrowing func setPatience(_ patience: Duration) {
        let (seconds, attoseconds) = patience.components
        var time = timeval(
            tv_sec: max(0, Int(clamping: seconds)), tv_usec: max(0, Int(attoseconds / 1_000_000_000_000)))
        // The kernel takes zero for "wait for ever".
        if time.tv_sec == 0, time.tv_usec == 0 { time.tv_usec = 1 }
        let size = socklen_t(MemoryLayout<timeval>.size)
        _ = unsafe setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &time, size)
        _ = unsafe setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &time, size)
    }
}
