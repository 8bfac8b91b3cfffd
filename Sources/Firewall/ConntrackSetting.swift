import Glibc

/// `net.netfilter.nf_conntrack_tcp_be_liberal` = 1 for as long as the rules are there.
///
/// conntrack sees plaintext sequence numbers in one direction and those of the wire in the other, and would otherwise call most
/// packets of an encrypted connection invalid. The previous value lives in a file, so that a crash does not lose it.
struct ConntrackSetting {
    static let path = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"

    let runner: CommandRunner
    /// Where the previous value is kept between install and remove.
    let file: String

    /// To be called when conntrack is loaded, that is after the rules.
    func set() throws(FirewallError) {
        let current = try read()
        if stored() == nil { try store(current) }
        try write("1")
    }

    /// Does nothing if no value is stored.
    func restore() throws(FirewallError) {
        guard let previous = stored() else { return }
        try write(previous)
        unsafe unlink(file)
    }

    // Through programs, because of the runner's prefix: the setting belongs to its network namespace.

    private func read() throws(FirewallError) -> String {
        try runner.run(["cat", ConntrackSetting.path], package: "coreutils").trimmingNewlines
    }

    private func write(_ value: String) throws(FirewallError) {
        try runner.run(["tee", ConntrackSetting.path], package: "coreutils", input: value + "\n")
    }

    /// What a file holds that an earlier daemon, perhaps in the middle of writing it, left behind.
    private func stored() -> String? {
        guard let text = readSmallFile(file)?.trimmingNewlines, text.utf8.count == 1, let digit = text.utf8.first,
            (0x30...0x39).contains(digit)
        else { return nil }
        return text
    }

    private func store(_ value: String) throws(FirewallError) {
        guard writeSmallFile(file, value + "\n") else {
            throw .configuration("cannot write \(file): errno \(errno)")
        }
    }
}

/// The first bytes of a file, or nil if it cannot be read.
private func readSmallFile(_ path: String) -> String? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 16)
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
    return count < 0 ? nil : String(decoding: bytes.prefix(count), as: UTF8.self)
}

private func writeSmallFile(_ path: String, _ text: String) -> Bool {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    return unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) } == bytes.count
}
