import ControlProtocol
import Glibc
import SystemPackage

/// One connection to the control socket, with blocking calls. All unsafe code of this module is in this file.
struct ControlConnection: ~Copyable {
    private let path: String
    private let socket: Int32

    init(path: String, patience: Duration) throws(TcpcryptClientError) {
        let address = try Self.address(path)
        let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw .system(step: "socket", code: errno) }
        // From here on deinit closes the socket.
        self.path = path
        self.socket = socket
        setPatience(patience)
        guard Self.connect(socket, address) == 0 else { throw Self.connectError(errno, path) }
    }

    deinit { _ = close(socket) }

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
                return unsafe Glibc.send(socket, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
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
            let count = unsafe recv(socket, &chunk, chunk.count, 0)
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

    private borrowing func setPatience(_ patience: Duration) {
        let (seconds, attoseconds) = patience.components
        var time = timeval(
            tv_sec: max(0, Int(clamping: seconds)), tv_usec: max(0, Int(attoseconds / 1_000_000_000_000)))
        let size = socklen_t(MemoryLayout<timeval>.size)
        _ = unsafe setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, size)
        _ = unsafe setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &time, size)
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

// MARK: - A thread to block

/// Runs `body` on a thread of its own, so that waiting blocks nobody else.
func onThread<Value: Sendable>(
    _ body: @escaping @Sendable () throws(TcpcryptClientError) -> Value
) async throws(TcpcryptClientError) -> Value {
    typealias Outcome = Result<Value, TcpcryptClientError>
    return try await withCheckedContinuation { (continuation: CheckedContinuation<Outcome, Never>) in
        let code = startThread {
            do throws(TcpcryptClientError) {
                continuation.resume(returning: .success(try body()))
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        if code != 0 { continuation.resume(returning: .failure(.system(step: "thread", code: code))) }
    }.get()
}

/// What a new thread shall do.
private final class Work: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// - Returns: 0, or the error number where no thread could be made.
private func startThread(_ body: @escaping @Sendable () -> Void) -> Int32 {
    let work = unsafe Unmanaged.passRetained(Work(body))
    var thread = pthread_t()
    let code = unsafe pthread_create(
        &thread, nil,
        { argument in
            guard let argument = unsafe argument else { return nil }
            unsafe Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, work.toOpaque())
    if code == 0 { pthread_detach(thread) } else { unsafe work.release() }
    return code
}
