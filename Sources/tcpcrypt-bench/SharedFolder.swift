import Glibc
import Synchronization

/// The folder that sshd insists on: where it was not there it is taken away again.
enum SharedFolder {
    private static let path = "/run/sshd"
    private static let isOurs = Atomic<Bool>(false)

    static func borrow() {
        if unsafe mkdir(path, 0o755) == 0 { isOurs.store(true, ordering: .relaxed) }
    }

    static func giveBack() {
        if isOurs.exchange(false, ordering: .relaxed) { unsafe rmdir(path) }
    }
}
