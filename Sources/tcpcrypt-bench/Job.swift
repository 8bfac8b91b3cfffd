import Foundation

/// A process of ours, in a process group of its own, output in files.
final class Job {
    let name: String
    let identifier: Int32
    private let outputFile: String
    private let errorFile: String
    /// What it ended with, once that is known.
    private var status: Int32?

    var output: String { (try? String(contentsOfFile: outputFile, encoding: .utf8)) ?? "" }
    var errors: String { (try? String(contentsOfFile: errorFile, encoding: .utf8)) ?? "" }

    private static let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]

    static func find(_ program: String) -> String? {
        if program.hasPrefix("/") { return FileManager.default.isExecutableFile(atPath: program) ? program : nil }
        return directories.lazy.map { "\($0)/\(program)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    init(_ words: [String], named name: String, in folder: URL) throws(BenchError) {
        guard let first = words.first, let path = Job.find(first) else {
            throw .unavailable("\(words.first ?? "") is not installed")
        }
        self.name = name
        outputFile = folder.appendingPathComponent("\(name).out").path
        errorFile = folder.appendingPathComponent("\(name).err").path
        let environment = ["PATH=" + Job.directories.joined(separator: ":"), "LC_ALL=C", "HOME=\(folder.path)"]
        identifier = try Job.spawn(path, words, environment, [outputFile, errorFile])
    }

    private static func spawn(
        _ path: String, _ words: [String], _ environment: [String], _ files: [String]
    ) throws(BenchError) -> Int32 {
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawnattr_init(&attributes)
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        for (index, file) in files.enumerated() {
            unsafe posix_spawn_file_actions_addopen(
                &actions, Int32(index + 1), file, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        }
        // A terminal's interrupt is for us alone: we end the others, in order.
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        var process: pid_t = 0
        let code = unsafe withCStrings(words) { words in
            unsafe withCStrings(environment) { environment in
                unsafe posix_spawn(&process, path, &actions, &attributes, words, environment)
            }
        }
        guard code == 0 else { throw .failed("cannot start \(path): error \(code)") }
        return process
    }

    var isRunning: Bool {
        guard status == nil else { return false }
        var raw: Int32 = 0
        let ended = unsafe waitpid(identifier, &raw, WNOHANG)
        guard ended == identifier || (ended < 0 && errno == ECHILD) else { return true }
        let signal = raw & 0x7F
        status = signal == 0 ? (raw >> 8) & 0xFF : 128 + signal
        return false
    }

    /// The exit status, 128 + signal for one that was killed.
    func wait(seconds: Double) throws -> Int32 {
        let end = Clock.seconds() + seconds
        while isRunning {
            if Interruption.isAsked || Clock.seconds() > end {
                stop()
                try Interruption.check()
                throw BenchError.failed("\(name) was still running after \(Int(seconds)) s")
            }
            usleep(3000)
        }
        return status ?? -1
    }

    /// Waits for something this process does.
    func wait(seconds: Double, until isDone: () -> Bool) throws {
        let end = Clock.seconds() + seconds
        while !isDone() {
            try Interruption.check()
            guard isRunning else { throw BenchError.failed("\(name) ended: \(lastWords)") }
            guard Clock.seconds() < end else {
                throw BenchError.failed("\(name) is not ready after \(Int(seconds)) s: \(lastWords)")
            }
            usleep(5000)
        }
    }

    var lastWords: String {
        let text = errors.isEmpty ? output : errors
        return text.split(separator: "\n").suffix(2).joined(separator: "; ")
    }

    /// SIGTERM, and SIGKILL for who does not listen. Never interrupted itself.
    func stop() {
        guard isRunning else { return }
        kill(identifier, SIGTERM)
        for _ in 0..<1000 where isRunning { usleep(5000) }
        if isRunning { kill(identifier, SIGKILL) }
        for _ in 0..<1000 where isRunning { usleep(1000) }
    }
}

enum Clock {
    static func seconds() -> Double {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// What this thread has had of a processor.
    static func ownSeconds() -> Double {
        var time = timespec()
        unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

/// Lends the strings as a null-terminated array, as exec wants them.
private func withCStrings<R>(_ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R) -> R {
    var pointers = unsafe strings.map { unsafe strdup($0) }
    defer { while unsafe !pointers.isEmpty { unsafe free(pointers.removeLast()) } }
    unsafe pointers.append(nil)
    return unsafe body(pointers)
}
