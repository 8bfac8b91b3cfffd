import Foundation

/// What /proc says of processor time and memory.
enum ProcessorTime {
    private static let ticksPerSecond = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))

    /// Seconds in which any processor of the machine did something, interrupts included, since it was started.
    static func busy() -> Double {
        let text = (try? String(contentsOfFile: "/proc/stat", encoding: .utf8)) ?? ""
        let fields = text.prefix { $0 != "\n" }.split(separator: " ").dropFirst().compactMap { Double($0) }
        guard fields.count >= 7 else { return 0 }
        // User, nice and system; then idle and waiting, which do not count; then interrupts.
        return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / ticksPerSecond
    }

    /// Seconds of those processes and of all that descend from them.
    static func of(_ processes: [Int32]) -> Double {
        var children: [Int32: [Int32]] = [:]
        var times: [Int32: Double] = [:]
        for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
            guard let identifier = Int32(name), let entry = entry(identifier) else { continue }
            children[entry.parent, default: []].append(identifier)
            times[identifier] = entry.seconds
        }
        var sum = 0.0
        var open = processes
        while let next = open.popLast() {
            sum += times[next] ?? 0
            open += children[next] ?? []
        }
        return sum
    }

    private static func entry(_ process: Int32) -> (parent: Int32, seconds: Double)? {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
            let end = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[end...].split(separator: " ")
        guard fields.count > 15, let parent = Int32(fields[2]) else { return nil }
        // Time of children that ended and were waited for is theirs too: 13 and 14.
        let ticks = fields[12...15].compactMap { Double($0) }.reduce(0, +)
        return (parent, ticks / ticksPerSecond)
    }

    /// Resident memory in KiB.
    static func residentMemory(of process: Int32) -> Double {
        let text = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return line.flatMap { Double($0.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first ?? "") }
            ?? 0
    }

    /// What was freed goes back to the system: used anew it would not show as growth.
    static func giveBackMemory() {
        typealias Trim = @convention(c) (Int) -> Int32
        guard let trim = unsafe dlsym(nil, "malloc_trim") else { return }
        _ = unsafe unsafeBitCast(trim, to: Trim.self)(0)
    }

    /// Resident memory of this process in bytes.
    static func residentBytes() -> Double {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? .nan
        return pages * Double(sysconf(Int32(_SC_PAGESIZE)))
    }
}
