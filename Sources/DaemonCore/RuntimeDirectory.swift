import Glibc
import NetfilterQueue
import SystemPackage

/// Why this daemon cannot have its directory.
public enum RuntimeDirectoryError: Error, Sendable, CustomStringConvertible {
    /// Another daemon runs in this network namespace.
    case locked(path: String)
    case system(SystemCallError)

    public var description: String {
        switch self {
        case .locked(let path):
            "another tcpcryptd already runs in this network namespace (it holds \(path)); stop it first"
        case .system(let error): error.description
        }
    }
}

/// The daemon's own directory, one per network namespace, and the lock that keeps a second daemon out.
struct RuntimeDirectory: ~Copyable {
    let path: String
    private let lock: Descriptor

    var journalPath: String { path + "/journal" }
    private var lockPath: String { path + "/lock" }

    /// Makes `base`/net-`namespace`, mode 0700, and locks it. The lock ends with the process, however that ends.
    init(base: String, namespace: UInt64) throws(RuntimeDirectoryError) {
        let path = "\(base)/net-\(namespace)"
        do {
            try Self.make(base, mode: 0o755)
            try Self.make(path, mode: 0o700)
            let name = path + "/lock"
            let flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW
            let file = try Descriptor(owning: unsafe open(name, flags, 0o600), "open \(name)")
            guard flock(file.rawValue, LOCK_EX | LOCK_NB) == 0 else {
                let code = errno
                if code == EWOULDBLOCK { throw RuntimeDirectoryError.locked(path: name) }
                throw SystemCallError("lock \(name)", Errno(rawValue: code))
            }
            self.path = path
            lock = file
        } catch let error as SystemCallError {
            throw .system(error)
        } catch let error as RuntimeDirectoryError {
            throw error
        } catch {
            throw .system(SystemCallError("runtime directory", .ioError))
        }
    }

    /// Removes the lock file and, where nothing else is in them, the directories.
    consuming func removeIfEmpty() {
        unsafe _ = unlink(lockPath)
        unsafe _ = rmdir(path)
    }

    private static func make(_ path: String, mode: mode_t) throws(SystemCallError) {
        if unsafe mkdir(path, mode) == 0 || errno == EEXIST { return }
        throw SystemCallError("make directory \(path)", Errno(rawValue: errno))
    }
}
