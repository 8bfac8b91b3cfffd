import Foundation
import SystemPackage

/// What scenarios leave on the machine while they run: network namespaces `tc<process>-...`, folders `tcpcrypt-tc<process>...` under
/// the folder for temporary files, processes that have `TCPCRYPT_SCENARIO_PREFIX=tc<process>-...` in their environment. The process
/// is the runner's, or that of a bash scenario which was started by hand.
public struct Leftovers: Sendable {
    static let folder = FilePath(ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp")
    public static let variable = "TCPCRYPT_SCENARIO_PREFIX"

    public let namespaces: [String]
    public let folders: [String]
    public let processes: [Int32]
    public var isEmpty: Bool { namespaces.isEmpty && folders.isEmpty && processes.isEmpty }

    /// What carries that prefix; `tc123` has what `tc123-4` has as well.
    init(prefix: String) {
        self.init {
            Leftovers.owner(of: $0) != nil && ($0 == prefix || $0.hasPrefix(prefix + "-") || $0.hasPrefix(prefix + "."))
        }
    }

    /// What nobody is there for any more.
    ///
    /// - Parameter owners: only of these; of all where it is empty.
    public static func ofTheDead(_ owners: [Int32] = []) -> Leftovers {
        Leftovers { name in
            guard let owner = owner(of: name), owners.isEmpty || owners.contains(owner) else { return false }
            return !FileManager.default.fileExists(atPath: "/proc/\(owner)")
        }
    }

    private init(where isMeant: (String) -> Bool) {
        namespaces = Leftovers.names(in: "/run/netns").filter(isMeant)
        folders = Leftovers.names(in: Leftovers.folder.string).filter {
            $0.hasPrefix("tcpcrypt-") && isMeant(String($0.dropFirst("tcpcrypt-".count)))
        }.map { Leftovers.folder.appending($0).string }
        let own = getpid()
        processes = Leftovers.names(in: "/proc").compactMap { Int32($0) }.filter { $0 != own }.filter { process in
            Leftovers.environment(of: process).split(separator: 0).contains { entry in
                let words = String(decoding: entry, as: UTF8.self).split(separator: "=", maxSplits: 1)
                return words.count == 2 && words[0] == Leftovers.variable && isMeant(String(words[1]))
            }
        }
    }

    /// Empty for one that has ended.
    private static func environment(of process: Int32) -> Data {
        FileManager.default.contents(atPath: "/proc/\(process)/environ") ?? Data()
    }

    private static func names(in folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()
    }

    /// The process that a name is for: 123 of `tc123`, `tc123-a` and `tc123.aZ`.
    static func owner(of name: String) -> Int32? {
        guard name.hasPrefix("tc") else { return nil }
        let rest = name.dropFirst(2)
        let digits = rest.prefix { $0.isASCII && $0.isNumber }
        let after = rest.dropFirst(digits.count).first
        return after == nil || after == "-" || after == "." ? Int32(digits) : nil
    }

    /// Ends those processes and all in those namespaces, and takes everything away. Never interrupted.
    ///
    /// - Parameter patience: how long processes have that were asked to end; a bash scenario may need it to clean up after itself.
    public func remove(patience: Duration = .seconds(20)) async {
        let meant = self
        await Task.detached {
            for process in meant.processes { kill(process, SIGTERM) }
            await Leftovers.waitFor(meant.processes, patience)
            for process in meant.processes { kill(process, SIGKILL) }
            for namespace in meant.namespaces {
                for process in await Leftovers.processes(in: namespace) { kill(process, SIGKILL) }
                _ = await Leftovers.quietly(["ip", "netns", "delete", namespace])
            }
            for folder in meant.folders { try? FileManager.default.removeItem(atPath: folder) }
        }.value
    }

    private static func waitFor(_ processes: [Int32], _ limit: Duration) async {
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end, processes.contains(where: { !environment(of: $0).isEmpty }) {
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    private static func processes(in namespace: String) async -> [Int32] {
        await quietly(["ip", "netns", "pids", namespace]).split(whereSeparator: \.isWhitespace).compactMap { Int32($0) }
    }

    private static func quietly(_ words: [String]) async -> String {
        let file = folder.appending("tcpcrypt-tc\(getpid()).said-\(UInt32.random(in: 0...UInt32.max))")
        defer { try? FileManager.default.removeItem(atPath: file.string) }
        guard let job = try? await Job.start(words, output: file) else { return "" }
        _ = try? await job.wait(.seconds(20))
        return job.status == 0 ? job.said : ""
    }
}
