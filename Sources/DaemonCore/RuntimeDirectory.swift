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

    /// Makes `path`, mode 0700, and its parent, and locks it. The lock ends with the process, however that ends.
    init(path: String) throws(RuntimeDirectoryError) {
        self.path = path
        lock = try Self.lock(path)
    }

    private static func lock(_ path: String) throws(RuntimeDirectoryError) -> Descriptor {
        let name = path + "/lock"
        do {
            if let parent = path.lastIndex(of: "/") { try make(String(path[..<parent]), mode: 0o755) }
            try make(path, mode: 0o700)
            while true {
                let flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW
                let file = try Descriptor(owning: unsafe open(name, flags, 0o600), "open \(name)")
                if flock(file.rawValue, LOCK_EX | LOCK_NB) == 0 {
                    // A daemon that stopped meanwhile may have removed this very file: then it locks nothing.
                    if isFile(file.rawValue, at: name) { return file }
                    continue
                }
                let code = errno
                if code == EWOULDBLOCK { throw RuntimeDirectoryError.locked(path: name) }
                if code != EINTR { throw SystemCallError("lock \(name)", Errno(rawValue: code)) }
            }
        } catch let error as SystemCallError {
            throw .system(error)
        } catch {
            throw .locked(path: name)
        }
    }

    private static func isFile(_ descriptor: Int32, at path: String) -> Bool {
        var open = stat()
        var named = stat()
        guard unsafe fstat(descriptor, &open) == 0, unsafe stat(path, &named) == 0 else { return false }
        return open.st_ino == named.st_ino && open.st_dev == named.st_dev
    }

    /// Removes the lock file and, where nothing else is in them, the directories.
    func removeIfEmpty() {
        unsafe _ = unlink(lockPath)
        unsafe _ = rmdir(path)
        if let parent = path.lastIndex(of: "/") { unsafe _ = rmdir(String(path[..<parent])) }
    }

    private static func make(_ path: String, mode: mode_t) throws(SystemCallError) {
        if unsafe mkdir(path, mode) == 0 || errno == EEXIST { return }
        throw SystemCallError("make directory \(path)", Errno(rawValue: errno))
    }
}
