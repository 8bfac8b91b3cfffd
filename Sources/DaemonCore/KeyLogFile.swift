import ControlProtocol
import Glibc
public import Logging
import NetfilterQueue
import Synchronization
import SystemPackage
public import Tcpcrypt

/// Why a path cannot be the key log. The text says what to do.
public enum KeyLogError: Error, Sendable, CustomStringConvertible {
    /// Something other than a file, or a symbolic link, is there.
    case noRegularFile(path: String)
    case foreignOwner(path: String, owner: UInt32)
    /// Others may read or write it, or the mode says more than that.
    case wideMode(path: String, mode: UInt32)
    case system(SystemCallError)

    public var description: String {
        switch self {
        case .noRegularFile(let path):
            "key_log: \(path) is not a regular file; name another path"
        case .foreignOwner(let path, let owner):
            "key_log: \(path) belongs to user \(owner); name another path, or remove that file"
        case .wideMode(let path, let mode):
            "key_log: \(path) has mode \(octal(mode)), but may at most have 0600; change it, or remove that file"
        case .system(let error):
            "key_log: \(error)"
        }
    }

    private func octal(_ mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}

/// The key log as a file that only this user may read. What cannot be written is missing there, and stops nothing.
///
/// Lines are written where the connections get their keys: they are there before the first frame leaves.
public final class KeyLogFile: KeyLog {
    private struct State {
        var lines: UInt64 = 0
        var failures: UInt64 = 0
        /// Only a part of the last line is there.
        var isTorn = false
    }

    public let path: String
    private let file: Descriptor
    private let logger: Logger
    private let state = Mutex(State())

    /// Opens the file, or makes it; what it holds stays.
    /// - Parameter path: absolute.
    public convenience init(path: String, logger: Logger) throws(KeyLogError) {
        self.init(path: path, file: try Self.open(path), logger: logger)
    }

    init(path: String, file: consuming Descriptor, logger: Logger) {
        self.path = path
        self.file = file
        self.logger = logger
    }

    private static func open(_ path: String) throws(KeyLogError) -> Descriptor {
        // Without O_NONBLOCK a FIFO would keep us waiting for its reader.
        let flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        let number = unsafe Glibc.open(path, flags, 0o600)
        let code = Errno(rawValue: errno)
        if number < 0, [.tooManySymbolicLinkLevels, .noSuchAddressOrDevice, .isDirectory].contains(code) {
            throw .noRegularFile(path: path)
        }
        do {
            let file = try Descriptor(owning: number, "open \(path)")
            try check(file.rawValue, path)
            return file
        } catch let error as KeyLogError {
            throw error
        } catch {
            throw .system(SystemCallError("open \(path)", code))
        }
    }

    private static func check(_ file: Int32, _ path: String) throws(KeyLogError) {
        var status = stat()
        guard unsafe fstat(file, &status) == 0 else { throw .system(SystemCallError("stat \(path)", .ioError)) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .noRegularFile(path: path) }
        guard status.st_uid == geteuid() else { throw .foreignOwner(path: path, owner: status.st_uid) }
        let mode = status.st_mode & 0o7777
        guard mode & ~0o600 == 0 else { throw .wideMode(path: path, mode: mode) }
    }

    public func append(_ line: Span<UInt8>) {
        let failure = state.withLock { state in
            if state.isTorn, write([UInt8(ascii: "\n")].span).count == 1 { state.isTorn = false }
            let written = write(line)
            guard let code = written.failure else {
                state.lines += 1
                return nil as Errno?
            }
            state.isTorn = state.isTorn || written.count > 0
            state.failures += 1
            return state.failures == 1 ? code : nil
        }
        if let failure {
            logger.error("cannot write to the key log \(path): \(failure); keys are missing there from now on")
        }
    }

    /// - Returns: how many bytes are in the file, and why not all.
    private func write(_ bytes: Span<UInt8>) -> (count: Int, failure: Errno?) {
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.extracting(done..<bytes.count).withUnsafeBytes { rest in
                unsafe Glibc.write(file.rawValue, rest.baseAddress, rest.count)
            }
            if count > 0 {
                done += count
            } else if count == 0 || errno != EINTR {
                return (done, count == 0 ? .noSpace : Errno(rawValue: errno))
            }
        }
        return (done, nil)
    }

    /// For `tcpcryptctl status`.
    var message: StatusMessage.KeyLog {
        state.withLock { .init(path: path, lines: $0.lines, failures: $0.failures) }
    }
}
