import Glibc

/// A path in a directory of its own, removed with it.
final class TemporaryFile: Sendable {
    let path: String
    let directory: String

    init() {
        var template = Array("/tmp/tcpcrypt-test-XXXXXX".utf8CString)
        _ = unsafe mkdtemp(&template)
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        path = directory + "/file"
    }

    deinit {
        unsafe _ = unlink(path)
        unsafe _ = rmdir(directory)
    }

    func write(_ bytes: [UInt8]) {
        let file = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(file, $0.baseAddress, $0.count) }
        close(file)
    }

    var exists: Bool { unsafe access(path, F_OK) == 0 }

    var mode: UInt32 {
        var status = stat()
        _ = unsafe stat(path, &status)
        return status.st_mode & 0o777
    }
}
