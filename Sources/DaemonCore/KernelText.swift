import SystemPackage

/// A short text of the kernel's, from /proc.
enum KernelText {
    private static let longest = 64

    /// nil where it cannot be read; at most 64 bytes of it.
    static func read(_ path: String) -> [UInt8]? {
        guard let file = try? unsafe FileDescriptor.open(path, .readOnly) else { return nil }
        defer { try? file.close() }
        var text = [UInt8](repeating: 0, count: longest)
        let count = unsafe text.withUnsafeMutableBytes { unsafe (try? file.read(into: $0)) ?? 0 }
        return count > 0 ? Array(text[..<count]) : nil
    }
}
