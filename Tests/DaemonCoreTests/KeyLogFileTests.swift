import ControlProtocol
import Glibc
import Logging
import NetfilterQueue
import Testing

@testable import DaemonCore

/// Which files may be the key log, and what becomes of them.
@Suite struct KeyLogFileTests {
    private let file = TemporaryFile()
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func refusal() -> KeyLogError? {
        do throws(KeyLogError) {
            _ = try KeyLogFile(path: file.path, logger: logger)
            return nil
        } catch {
            return error
        }
    }

    private var contents: String {
        var bytes = [UInt8](repeating: 0, count: 1000)
        let descriptor = unsafe open(file.path, O_RDONLY)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    @Test func itIsMadeForItsOwnerAlone() throws {
        let log = try KeyLogFile(path: file.path, logger: logger)
        #expect(file.mode == 0o600)
        log.append(Array("one\n".utf8))
        log.append(Array("two\n".utf8))
        #expect(contents == "one\ntwo\n")
        #expect(log.message == .init(path: file.path, lines: 2, failures: 0))
    }

    @Test func whatItHoldsStays() throws {
        file.write(Array("before\n".utf8))
        try KeyLogFile(path: file.path, logger: logger).append(Array("after\n".utf8))
        #expect(contents == "before\nafter\n")
    }

    @Test(arguments: [0o640, 0o604, 0o620, 0o700, 0o4600] as [mode_t])
    func aWiderModeIsRefused(mode: mode_t) {
        file.write([])
        unsafe _ = chmod(file.path, mode)
        guard case .wideMode = refusal() else {
            Issue.record("not refused")
            return
        }
        #expect(refusal()?.description.contains(String(mode, radix: 8)) == true)
    }

    @Test func aNarrowerModeIsNot() {
        file.write([])
        unsafe _ = chmod(file.path, 0o200)
        #expect(refusal() == nil)
    }

    @Test func anotherOwnerIsRefused() {
        file.write([])
        // Only root can give a file away.
        guard unsafe chown(file.path, 12_345, 0) == 0 else { return }
        guard case .foreignOwner(_, 12_345) = refusal() else {
            Issue.record("not refused")
            return
        }
    }

    @Test(arguments: ["link", "dangling link", "FIFO", "directory", "device"])
    func whatIsNoFileIsRefused(kind: String) {
        let other = TemporaryFile()
        switch kind {
        case "link":
            other.write([])
            unsafe _ = symlink(other.path, file.path)
        case "dangling link": unsafe _ = symlink(other.path, file.path)
        case "FIFO": unsafe _ = mkfifo(file.path, 0o600)
        case "directory": unsafe _ = mkdir(file.path, 0o700)
        default: unsafe _ = symlink("/dev/null", file.path)
        }
        guard case .noRegularFile = refusal() else {
            Issue.record("not refused: \(String(describing: refusal()))")
            return
        }
        #expect(kind != "dangling link" || !other.exists)
        unsafe _ = rmdir(file.path)
    }

    @Test func aDirectoryThatIsNotThereIsAnError() {
        unsafe _ = rmdir(file.directory)
        guard case .system = refusal() else {
            Issue.record("not refused")
            return
        }
    }

    @Test func whatCannotBeWrittenIsCounted() throws {
        let full = try Descriptor(owning: unsafe open("/dev/full", O_WRONLY | O_CLOEXEC), "open /dev/full")
        let log = KeyLogFile(path: file.path, file: full, logger: logger)
        log.append(Array("lost\n".utf8))
        log.append(Array("lost\n".utf8))
        #expect(log.message == .init(path: file.path, lines: 0, failures: 2))
    }

    /// In a pipe that nobody reads there is no room for all of it.
    @Test func aTornLineDoesNotSpoilTheNext() throws {
        var ends: [Int32] = [-1, -1]
        unsafe _ = pipe(&ends)
        for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
        defer { close(ends[0]) }
        let log = KeyLogFile(path: file.path, file: try Descriptor(owning: ends[1], "pipe"), logger: logger)
        log.append([UInt8](repeating: 0x61, count: 1 << 20))
        log.append(Array("lost\n".utf8))
        #expect(log.message == .init(path: file.path, lines: 0, failures: 2))
        var rest = [UInt8](repeating: 0, count: 1 << 20)
        let torn = unsafe rest.withUnsafeMutableBytes { unsafe read(ends[0], $0.baseAddress, $0.count) }
        #expect(torn > 0)
        log.append(Array("whole\n".utf8))
        let count = unsafe rest.withUnsafeMutableBytes { unsafe read(ends[0], $0.baseAddress, $0.count) }
        #expect(String(decoding: rest.prefix(max(0, count)), as: UTF8.self) == "\nwhole\n")
        #expect(log.message == .init(path: file.path, lines: 1, failures: 2))
    }
}

extension KeyLogFile {
    fileprivate func append(_ line: [UInt8]) { append(line.span) }
}
