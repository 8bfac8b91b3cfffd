import SystemPackage

/// `kernel.random.boot_id`: another one where this process was moved to another machine as it was.
enum BootID {
    static let path = "/proc/sys/kernel/random/boot_id"

    /// nil where it cannot be read.
    static var current: [UInt8]? {
        guard let file = try? unsafe FileDescriptor.open(path, .readOnly) else { return nil }
        defer { try? file.close() }
        var text = [UInt8](repeating: 0, count: 64)
        let count = unsafe text.withUnsafeMutableBytes { unsafe (try? file.read(into: $0)) ?? 0 }
        return count > 0 ? Array(text[..<count]) : nil
    }
}
