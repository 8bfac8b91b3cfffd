import Glibc

/// A folder of the system that a peer insists on: where it was not there it is taken away again.
struct SharedFolder {
    private let path: String

    /// Nil where it is there already.
    init?(borrowing path: String) {
        guard unsafe mkdir(path, 0o755) == 0 else { return nil }
        self.path = path
    }

    /// Leaves it to whoever else has begun to use it.
    func giveBack() { unsafe rmdir(path) }
}
