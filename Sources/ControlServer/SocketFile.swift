import Glibc
import SystemPackage

/// The listening socket and its name in the file system.
struct SocketFile {
    let path: String
    let listener: FileDescriptor
    /// Device and inode of the name, so that nobody else's socket is removed.
    private let identity: Identity?
    /// Its directory, where this server made it.
    private let ownDirectory: String?

    private struct Identity: Equatable {
        var device: UInt64
        var inode: UInt64
        var isSocket: Bool
    }

    /// Listens on `path`, mode 0600; its directory is made with mode 0700 where it does not exist.
    ///
    /// A socket that an earlier process left behind is replaced only if nobody answers on it.
    init(listeningOn path: String) throws(ControlServerError) {
        let (directory, ownDirectory) = try Self.lockedDirectory(of: path)
        defer { SystemCalls.close(directory) }
        let address = try Self.address(path)
        try Self.removeStale(path, address)
        guard let listener = SystemCalls.streamSocket() else { throw .last("socket", path) }
        do throws(ControlServerError) {
            // Nobody can connect before listen(), so the mode is right before anybody could.
            guard unsafe Self.withAddress(address, { unsafe bind(listener.rawValue, $0, $1) }) == 0 else {
                throw .last("bind", path)
            }
            guard unsafe chmod(path, 0o600) == 0 else { throw .last("chmod", path) }
            guard listen(listener.rawValue, 16) == 0 else { throw .last("listen", path) }
        } catch {
            SystemCalls.close(listener)
            throw error
        }
        self.path = path
        self.listener = listener
        identity = Self.identity(of: path)
        self.ownDirectory = ownDirectory
    }

    /// Stops listening and removes the name if it is still ours, and the directory if it was made for it and is empty.
    func remove() {
        SystemCalls.close(listener)
        if let identity, Self.identity(of: path) == identity { unsafe unlink(path) }
        if let ownDirectory { unsafe rmdir(ownDirectory) }
    }

    /// The directory of `path`, locked against another daemon that starts at the same moment, and its name if it was
    /// made just now.
    private static func lockedDirectory(
        of path: String
    ) throws(ControlServerError) -> (FileDescriptor, made: String?) {
        let parent = FilePath(path).removingLastComponent()
        let name = parent.isEmpty ? "." : parent.string
        let isMade = unsafe mkdir(name, 0o700) == 0
        guard isMade || errno == EEXIST else { throw .last("mkdir \(name)", path) }
        guard let directory = SystemCalls.openDirectory(name) else { throw .last("open \(name)", path) }
        for _ in 0..<100 {
            if flock(directory.rawValue, LOCK_EX | LOCK_NB) == 0 { return (directory, isMade ? name : nil) }
            usleep(10_000)
        }
        SystemCalls.close(directory)
        throw .inUse(path)
    }

    private static func removeStale(_ path: String, _ address: sockaddr_un) throws(ControlServerError) {
        guard let found = identity(of: path) else { return }
        guard found.isSocket else { throw .notASocket(path) }
        guard let probe = SystemCalls.streamSocket() else { throw .last("socket", path) }
        defer { SystemCalls.close(probe) }
        let answer = unsafe withAddress(address) { unsafe connect(probe.rawValue, $0, $1) }
        if answer < 0, errno == ENOENT { return }
        guard answer < 0, errno == ECONNREFUSED else { throw .inUse(path) }
        guard unsafe unlink(path) == 0 || errno == ENOENT else { throw .last("unlink", path) }
    }

    private static func identity(of path: String) -> Identity? {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return nil }
        return Identity(
            device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
            isSocket: status.st_mode & S_IFMT == S_IFSOCK)
    }

    private static func address(_ path: String) throws(ControlServerError) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard !bytes.isEmpty, bytes.count < room, !bytes.contains(0) else { throw .pathTooLong(path) }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        return address
    }

    private static func withAddress(
        _ address: sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        return unsafe withUnsafePointer(to: address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0, length) }
        }
    }
}

extension ControlServerError {
    /// The error of the system call just made.
    static func last(_ step: String, _ path: String) -> Self {
        .system(step: step, path: path, code: errno)
    }
}
