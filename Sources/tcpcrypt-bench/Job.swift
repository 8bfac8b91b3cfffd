import Foundation

/// A process of ours, output in files.
final class Job {
    let name: String
    private let process = Process()
    private let outputFile: URL
    private let errorFile: URL

    var identifier: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }
    var output: String { (try? String(contentsOf: outputFile, encoding: .utf8)) ?? "" }
    var errors: String { (try? String(contentsOf: errorFile, encoding: .utf8)) ?? "" }

    private static let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]

    static func find(_ program: String) -> String? {
        if program.hasPrefix("/") { return FileManager.default.isExecutableFile(atPath: program) ? program : nil }
        return directories.lazy.map { "\($0)/\(program)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    init(_ words: [String], named name: String, in folder: URL) throws {
        guard let first = words.first, let path = Job.find(first) else {
            throw BenchError.unavailable("\(words.first ?? "") is not installed")
        }
        self.name = name
        outputFile = folder.appendingPathComponent("\(name).out")
        errorFile = folder.appendingPathComponent("\(name).err")
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = Array(words.dropFirst())
        process.environment = ["PATH": Job.directories.joined(separator: ":"), "LC_ALL": "C", "HOME": folder.path]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try Job.open(outputFile)
        process.standardError = try Job.open(errorFile)
        try process.run()
    }

    private static func open(_ file: URL) throws -> FileHandle {
        guard FileManager.default.createFile(atPath: file.path, contents: nil) else {
            throw BenchError.failed("\(file.path) cannot be written")
        }
        return try FileHandle(forWritingTo: file)
    }

    /// The exit status, 128 + signal for one that was killed.
    func wait(seconds: Double) throws -> Int32 {
        let end = Clock.seconds() + seconds
        while process.isRunning {
            if Interruption.isAsked || Clock.seconds() > end {
                stop()
                try Interruption.check()
                throw BenchError.failed("\(name) was still running after \(Int(seconds)) s")
            }
            usleep(5000)
        }
        return process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
    }

    /// Waits for something this process does.
    func wait(seconds: Double, until isDone: () -> Bool) throws {
        let end = Clock.seconds() + seconds
        while !isDone() {
            try Interruption.check()
            guard process.isRunning else { throw BenchError.failed("\(name) ended: \(lastWords)") }
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
        guard process.isRunning else { return }
        kill(identifier, SIGTERM)
        for _ in 0..<1000 where process.isRunning { usleep(5000) }
        if process.isRunning { kill(identifier, SIGKILL) }
        for _ in 0..<1000 where process.isRunning { usleep(1000) }
    }
}

enum Clock {
    static func seconds() -> Double {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
