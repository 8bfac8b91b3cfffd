public import FlowEngine

/// What an application does with its socket.
public struct ApplicationPlan: Sendable {
    /// What it sends, and how much of it.
    public var stream: PatternStream
    public var total: Int
    /// What it expects.
    public var peerStream: PatternStream
    public var peerTotal: Int
    /// It writes up to `writeUpTo` once it has read `afterReading` bytes; in ascending order.
    public var gates: [(afterReading: Int, writeUpTo: Int)] = []
    public var writeChunk = 1 << 20
    public var writePauseMilliseconds: ClosedRange<Int> = 0...0
    public var readChunk = 1 << 20
    public var readPauseMilliseconds: ClosedRange<Int> = 0...0
    /// The chance that a pause in reading lasts half a second and more.
    public var stallRate = 0.0
    /// Keeps its writing side open until it has seen the peer's end of file.
    public var closesAfterReading = false
    /// Resets the connection after this many bytes read and written.
    public var abortsAfter: Int?

    public init(stream: PatternStream, total: Int, peerStream: PatternStream, peerTotal: Int) {
        self.stream = stream
        self.total = total
        self.peerStream = peerStream
        self.peerTotal = peerTotal
    }
}

/// One application: it drives a socket and checks every byte it reads.
public final class Application {
    public let plan: ApplicationPlan
    public let socket: KernelTCP
    public private(set) var written = 0
    public private(set) var received = 0
    public private(set) var sawEnd = false
    /// What must never happen: a wrong byte, an early end of file.
    public private(set) var violations: [String] = []
    private var random: SeededRandom
    private var nextRead: Instant
    private var nextWrite: Instant

    public init(_ plan: ApplicationPlan, socket: KernelTCP, random: SeededRandom, now: Instant) {
        self.plan = plan
        self.socket = socket
        self.random = random
        nextRead = now
        nextWrite = now
    }

    /// Everything was sent and acknowledged, everything expected was read, to the end of file.
    public var isComplete: Bool {
        written == plan.total && socket.isFinAcknowledged && sawEnd && received == plan.peerTotal
    }

    /// When it has something to do although nothing happens.
    public var nextDeadline: Instant? {
        var times: [Instant] = []
        if wantsToRead { times.append(nextRead) }
        if wantsToWrite { times.append(nextWrite) }
        return times.min()
    }

    private var wantsToRead: Bool { socket.readableCount > 0 || (socket.isAtEnd && !sawEnd) }
    private var writeLimit: Int { plan.gates.last { $0.afterReading <= received }?.writeUpTo ?? plan.total }
    private var wantsToWrite: Bool {
        guard socket.state == .established, socket.failure == nil, !socket.isShutDown else { return false }
        return written < writeLimit ? socket.hasSendRoom : mayShutDown
    }
    private var mayShutDown: Bool { written == plan.total && (!plan.closesAfterReading || sawEnd) }

    /// Does what is due.
    public func step(now: Instant) {
        if let limit = plan.abortsAfter, received + written >= limit, socket.state == .established {
            return socket.abort(now: now)
        }
        if now >= nextRead, wantsToRead { read(now) }
        if now >= nextWrite, wantsToWrite { write(now) }
    }

    private func read(_ now: Instant) {
        let bytes = socket.read(limit: plan.readChunk, now: now)
        if !plan.peerStream.matches(bytes.span, at: received) { violations.append("wrong bytes at \(received)") }
        received += bytes.count
        if received > plan.peerTotal { violations.append("\(received) bytes of \(plan.peerTotal)") }
        if socket.isAtEnd {
            sawEnd = true
            if received < plan.peerTotal { violations.append("end of file at \(received) of \(plan.peerTotal)") }
        }
        let stall = random.chance(plan.stallRate) ? random.int(500...3000) : 0
        nextRead = now.adding(milliseconds: Int64(random.int(plan.readPauseMilliseconds) + stall))
    }

    private func write(_ now: Instant) {
        if written < writeLimit {
            written += socket.write(upTo: min(plan.writeChunk, writeLimit - written), now: now)
        }
        if mayShutDown { socket.shutDownWriting(now: now) }
        nextWrite = now.adding(milliseconds: Int64(random.int(plan.writePauseMilliseconds)))
    }
}
