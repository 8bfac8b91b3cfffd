import Glibc
import SystemPackage

/// The system calls of the control socket. All unsafe code of this module is here.
enum SystemCalls {
    /// What reading or sending without waiting came to.
    enum Transfer {
        case bytes(Int)
        case wouldBlock
        /// End of the stream, or an error after which the descriptor is useless.
        case closed
    }

    static func streamSocket() -> FileDescriptor? {
        descriptor(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0))
    }

    /// Two connected sockets, to wake a thread that waits.
    static func socketPair() -> (FileDescriptor, FileDescriptor)? {
        var pair: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        guard unsafe socketpair(AF_UNIX, type, 0, &pair) == 0 else { return nil }
        return (FileDescriptor(rawValue: pair[0]), FileDescriptor(rawValue: pair[1]))
    }

    enum Arrival {
        case client(FileDescriptor)
        case nobody
        /// Out of descriptors or memory: pointless to ask again at once.
        case exhausted
    }

    /// The next client that waits, without waiting for one.
    static func accept(_ listener: FileDescriptor) -> Arrival {
        let number = Glibc.accept(listener.rawValue, nil, nil)
        guard number >= 0 else {
            let code = errno
            return [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(code) ? .exhausted : .nobody
        }
        _ = fcntl(number, F_SETFD, FD_CLOEXEC)
        return .client(FileDescriptor(rawValue: number))
    }

    /// Opens a directory to hold a lock on it.
    static func openDirectory(_ path: String) -> FileDescriptor? {
        unsafe descriptor(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
    }

    static func close(_ descriptor: FileDescriptor) { _ = Glibc.close(descriptor.rawValue) }

    private static func descriptor(_ number: Int32) -> FileDescriptor? {
        number < 0 ? nil : FileDescriptor(rawValue: number)
    }

    // MARK: - Bytes

    /// Appends at most `limit` bytes that are there to `buffer`.
    static func read(_ descriptor: FileDescriptor, into buffer: inout [UInt8], limit: Int) -> Transfer {
        var chunk = [UInt8](repeating: 0, count: limit)
        let count = unsafe recv(descriptor.rawValue, &chunk, limit, Int32(MSG_DONTWAIT))
        if count > 0 {
            buffer.append(contentsOf: chunk.prefix(count))
            return .bytes(count)
        }
        return count < 0 && isTransient(errno) ? .wouldBlock : .closed
    }

    /// Sends what fits of `bytes[start...]`, never raising SIGPIPE.
    static func send(_ descriptor: FileDescriptor, _ bytes: [UInt8], from start: Int) -> Transfer {
        let count = unsafe bytes.withUnsafeBytes { buffer in
            let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[start...])
            return unsafe Glibc.send(
                descriptor.rawValue, rest.baseAddress, rest.count,
                Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
        }
        if count >= 0 { return .bytes(count) }
        return isTransient(errno) ? .wouldBlock : .closed
    }

    private static func isTransient(_ code: Int32) -> Bool { code == EAGAIN || code == EINTR }

    // MARK: - Waiting

    /// One descriptor of interest; `ready` is filled in.
    struct Interest {
        var descriptor: FileDescriptor
        var readable = false
        var writable = false
        /// Something happened: data, room, or a hang-up.
        var ready = false
        /// Both ends of the connection are closed, or it failed.
        var hungUp = false
    }

    /// Waits until something is ready, at most `milliseconds` (for ever where negative).
    static func poll(_ interests: inout [Interest], milliseconds: Int32) {
        var list = interests.map { interest in
            let events = (interest.readable ? POLLIN : 0) | (interest.writable ? POLLOUT : 0)
            return pollfd(fd: interest.descriptor.rawValue, events: Int16(events), revents: 0)
        }
        let count = unsafe Glibc.poll(&list, nfds_t(list.count), milliseconds)
        for index in interests.indices {
            let events = count > 0 ? Int32(list[index].revents) : 0
            interests[index].ready = events != 0
            interests[index].hungUp = events & (POLLHUP | POLLERR | POLLNVAL) != 0
        }
    }

    // MARK: - Threads

    /// Runs `body` on a thread of its own.
    /// - Returns: the error number where no thread could be made.
    static func startThread(_ body: @escaping @Sendable () -> Void) -> Int32 {
        final class Box: Sendable {
            let body: @Sendable () -> Void
            init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }
        let box = unsafe Unmanaged.passRetained(Box(body))
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
                return nil
            }, box.toOpaque())
        guard code == 0 else {
            unsafe box.release()
            return code
        }
        pthread_detach(thread)
        return 0
    }
}
