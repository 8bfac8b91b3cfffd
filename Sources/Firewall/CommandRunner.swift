import Glibc

/// What a program said.
struct CommandOutput: Sendable, Equatable {
    /// Exit status, or 128 + signal.
    var status: Int32
    var output: String
    var errors: String
}

/// Runs programs by absolute path, with a fixed environment and everything captured.
struct CommandRunner: Sendable {
    /// Words in front of every command, for example `["ip", "netns", "exec", "name"]`.
    var prefix: [String] = []

    static let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]

    static func find(_ program: String) -> String? {
        directories.lazy.map { "\($0)/\(program)" }.first { unsafe access($0, X_OK) == 0 }
    }

    /// - Parameter package: names in the error what to install.
    /// - Throws: ``FirewallError`` if the program is missing, cannot be started or fails.
    @discardableResult
    func run(_ command: [String], package: String, input: String = "") throws(FirewallError) -> String {
        let result = try attempt(command, package: package, input: input)
        guard result.status == 0 else {
            let message = result.errors.isEmpty ? result.output : result.errors
            throw .failed(
                command: command.joined(separator: " "), status: result.status,
                message: String(message.prefix(2000).trimmingNewlines))
        }
        return result.output
    }

    /// Like ``run(_:package:input:)``, but a failure of the program is a result.
    func attempt(_ command: [String], package: String, input: String = "") throws(FirewallError) -> CommandOutput {
        guard let name = command.first, let path = CommandRunner.find(name) else {
            throw .missingProgram(command.first ?? "", package: package)
        }
        var words = prefix + [path] + command.dropFirst()
        if let first = prefix.first {
            guard let found = CommandRunner.find(first) else { throw .missingProgram(first, package: "iproute2") }
            words[0] = found
        }
        return try CommandRunner.spawn(words, input: input)
    }

    /// Standard input and outputs are memory files: nothing can block on a full pipe.
    private static func spawn(_ words: [String], input: String) throws(FirewallError) -> CommandOutput {
        let files = [try MemoryFile(), try MemoryFile(), try MemoryFile()]
        try files[0].write(input)
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        for (target, file) in files.enumerated() {
            unsafe posix_spawn_file_actions_adddup2(&actions, file.descriptor, Int32(target))
        }
        var process: pid_t = 0
        let code = unsafe withCStrings(words) { arguments in
            unsafe withCStrings(environment) { environment in
                unsafe posix_spawn(&process, words[0], &actions, nil, arguments, environment)
            }
        }
        guard code == 0 else { throw .spawn(program: words[0], errno: code) }
        return CommandOutput(status: waitForExit(process), output: files[1].contents(), errors: files[2].contents())
    }

    /// The caller's environment does not matter to us, except that messages shall be in English.
    private static let environment = ["PATH=" + directories.joined(separator: ":"), "LC_ALL=C"]

    private static func waitForExit(_ process: pid_t) -> Int32 {
        var status: Int32 = 0
        while unsafe waitpid(process, &status, 0) < 0 {
            if errno != EINTR { return -1 }
        }
        // WIFSIGNALED and WEXITSTATUS are macros.
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }
}

extension StringProtocol {
    var trimmingNewlines: String {
        String(self.drop { $0.isNewline }.reversed().drop { $0.isNewline }.reversed())
    }
}

/// Lends the strings as a null-terminated array, as exec wants them.
private func withCStrings<R>(
    _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R
) -> R {
    var pointers = unsafe strings.map { unsafe strdup($0) }
    defer { while unsafe !pointers.isEmpty { unsafe free(pointers.removeLast()) } }
    unsafe pointers.append(nil)
    return unsafe body(pointers)
}

/// A file in memory without a name.
private final class MemoryFile {
    let descriptor: Int32

    init() throws(FirewallError) {
        let name = "/tcpcryptd-\(UInt64.random(in: 0 ... .max))"
        descriptor = unsafe shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .spawn(program: "shm_open", errno: errno) }
        unsafe shm_unlink(name)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Leaves the file position at the start, where the reader begins.
    func write(_ text: String) throws(FirewallError) {
        let bytes = Array(text.utf8)
        let count = unsafe bytes.withUnsafeBytes { unsafe pwrite(descriptor, $0.baseAddress, $0.count, 0) }
        guard count == bytes.count else { throw .spawn(program: "write", errno: errno) }
    }

    func contents() -> String {
        let size = max(0, Int(lseek(descriptor, 0, SEEK_END)))
        var bytes = [UInt8](repeating: 0, count: size)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe pread(descriptor, $0.baseAddress, size, 0) }
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}
