import Foundation
import Subprocess
import Synchronization
import SystemPackage

/// A process of ours, in a process group of its own; what it says goes to files.
final class Job: Sendable {
    let process: Int32
    let words: [String]
    let output: FilePath
    let errors: FilePath
    private let ended = Mutex<Int32?>(nil)

    private init(process: Int32, words: [String], output: FilePath, errors: FilePath) {
        self.process = process
        self.words = words
        self.output = output
        self.errors = errors
    }

    /// Where programs are looked for.
    static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// Starts a program, looked for on ``path`` unless it is named with its folder.
    ///
    /// - Parameters:
    ///   - environment: added to this process's.
    ///   - errors: the file for its standard error; the same as for its output where nil.
    /// - Throws: `SubprocessError` or `Errno` where it cannot be started.
    static func start(
        _ words: [String], environment: [String: String] = [:], in folder: FilePath? = nil,
        input: FilePath = "/dev/null",
        output: FilePath, errors: FilePath? = nil
    ) async throws -> Job {
        var options = PlatformOptions()
        // A terminal's interrupt is for us alone: we end the others, in order.
        options.processGroupID = 0
        var added: [Environment.Key: String?] = ["LC_ALL": "C", "PATH": Job.path]
        for (name, value) in environment { added[Environment.Key(stringLiteral: name)] = value }
        let program = words.first ?? ""
        let configuration = Configuration(
            executable: program.contains("/") ? .path(FilePath(program)) : .name(program),
            arguments: Arguments(Array(words.dropFirst())), environment: .inherit.updating(added),
            workingDirectory: folder,
            platformOptions: options)
        let inputFile = try FileDescriptor.open(input, .readWrite, options: [.closeOnExec])
        let outputFile = try Job.open(output)
        let errorFile = try errors.map(Job.open) ?? outputFile.duplicate()
        let launch = Launch()
        return try await withCheckedThrowingContinuation { continuation in
            // Of nobody's task: it ends when we say so, not when somebody is cancelled.
            Task.detached {
                var status: Int32 = -1
                do {
                    let result = try await Subprocess.run(
                        configuration, input: .fileDescriptor(inputFile, closeAfterSpawningProcess: true),
                        output: .fileDescriptor(outputFile, closeAfterSpawningProcess: true),
                        error: .fileDescriptor(errorFile, closeAfterSpawningProcess: true)
                    ) { execution in
                        let job = Job(
                            process: execution.processIdentifier.value, words: words, output: output,
                            errors: errors ?? output)
                        launch.job.withLock { $0 = job }
                        continuation.resume(returning: job)
                    }
                    status =
                        switch result.terminationStatus {
                        case .exited(let code): code
                        case .signaled(let signal): 128 + signal
                        }
                } catch {
                    if launch.job.withLock({ $0 == nil }) { continuation.resume(throwing: error) }
                }
                launch.job.withLock { $0 }?.ended.withLock { $0 = status }
            }
        }
    }

    /// Whether it began.
    private final class Launch: Sendable {
        let job = Mutex<Job?>(nil)
    }

    private static func open(_ path: FilePath) throws -> FileDescriptor {
        try FileDescriptor.open(
            path, .writeOnly, options: [.create, .truncate, .append, .closeOnExec],
            permissions: [.ownerReadWrite, .groupRead, .otherRead])
    }

    /// The exit status, 128 + signal for one that a signal ended; nil while it runs.
    var status: Int32? { ended.withLock { $0 } }

    /// Does nothing to a process that has ended.
    func send(_ signal: Int32, toGroup: Bool = false) {
        guard status == nil else { return }
        kill(toGroup ? -process : process, signal)
    }

    /// Waits for its end.
    ///
    /// - Returns: its status, or nil where it runs on after that time.
    /// - Throws: `CancellationError`
    func wait(_ limit: Duration) async throws -> Int32? {
        let end = ContinuousClock.now + limit
        while status == nil, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(5)) }
        return status
    }

    /// Asks it to end, and kills it when it does not. Never interrupted itself.
    @discardableResult
    func end(_ signal: Int32 = SIGTERM, toGroup: Bool = false, patience: Duration = .seconds(10)) async -> Int32 {
        await Task.detached { [self] in
            send(signal, toGroup: toGroup)
            if let status = try? await wait(patience) { return status }
            send(SIGKILL, toGroup: toGroup)
            return (try? await wait(.seconds(10))) ?? -1
        }.value
    }

    /// All that it has said so far.
    var said: String { Job.read(output) }
    var complained: String { Job.read(errors) }

    static func read(_ path: FilePath) -> String {
        String(decoding: FileManager.default.contents(atPath: path.string) ?? Data(), as: UTF8.self)
    }
}
