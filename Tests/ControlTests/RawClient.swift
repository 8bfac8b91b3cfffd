import Foundation

/// A client without manners: sends any bytes and reads what comes.
final class RawClient: Sendable {
    private let descriptor: Int32

    /// Connects, or records that it could not.
    init(_ path: String) {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
        _ = unsafe withUnsafePointer(to: address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        var patience = timeval(tv_sec: 300, tv_usec: 0)
        _ = unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { _ = close(descriptor) }

    func send(_ bytes: [UInt8]) {
        _ = unsafe Foundation.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// No more will be sent.
    func finishSending() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    /// Everything until the server closes; "TIMEOUT" where it does not within five minutes.
    func readToEnd() async -> String {
        await onThread {
            var text: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = unsafe recv(self.descriptor, &chunk, chunk.count, 0)
                if count < 0, errno == EAGAIN { return "TIMEOUT" }
                guard count > 0 else { return String(decoding: text, as: UTF8.self) }
                text += chunk.prefix(count)
            }
        }
    }

    /// One line without its line feed.
    func readLine() async -> String {
        await onThread {
            var text: [UInt8] = []
            var byte: UInt8 = 0
            while unsafe recv(self.descriptor, &byte, 1, 0) == 1, byte != 0x0A { text.append(byte) }
            return String(decoding: text, as: UTF8.self)
        }
    }

    /// Waits, without reading, until the server has closed its end; false where it does not within five minutes.
    func waitUntilDropped() async -> Bool {
        await onThread {
            // Without events asked for, poll tells only of a hang-up.
            var wanted = pollfd(fd: self.descriptor, events: 0, revents: 0)
            return unsafe poll(&wanted, 1, 300_000) == 1
        }
    }

    /// Tasks and the dispatch queues share their threads, and other tests keep those busy for seconds.
    private func onThread<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread { continuation.resume(returning: body()) }
        }
    }
}
