import ControlProtocol
import SystemPackage

/// One client: reads a line, waits for the answer, writes it, and again.
struct ClientConnection {
    enum Phase {
        case reading
        /// The handler works on the answer.
        case waiting(Task<Void, Never>)
        case writing(thenClose: Bool)
    }

    /// What reading came to.
    enum Event {
        case nothing
        case request(ControlRequest)
        /// The client is wrong: tell it and close.
        case refuse(String)
        case closed
    }

    let descriptor: FileDescriptor
    /// How long reading and writing may take; writing starts anew with every byte of progress.
    private let patience: Duration
    private(set) var phase = Phase.reading
    private(set) var deadline: ContinuousClock.Instant
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var sent = 0

    init(descriptor: FileDescriptor, patience: Duration, now: ContinuousClock.Instant) {
        self.descriptor = descriptor
        self.patience = patience
        deadline = now + patience
    }

    var interest: SystemCalls.Interest {
        var interest = SystemCalls.Interest(descriptor: descriptor)
        switch phase {
        case .reading: interest.readable = true
        case .waiting: break
        case .writing: interest.writable = true
        }
        return interest
    }

    /// Reads what is there; a whole line becomes a request.
    mutating func read() -> Event {
        // One byte more than allowed tells a long line from a full one.
        let room = ControlProtocol.maximumRequestBytes + 1 - input.count
        if room > 0, case .closed = SystemCalls.read(descriptor, into: &input, limit: room) { return .closed }
        return nextLine()
    }

    /// The request in the bytes read already, if they hold a whole line.
    mutating func nextLine() -> Event {
        guard let end = input.firstIndex(of: 0x0A) else {
            let tooLong = input.count > ControlProtocol.maximumRequestBytes
            return tooLong ? .refuse("request longer than \(ControlProtocol.maximumRequestBytes) bytes") : .nothing
        }
        let line = Array(input[..<end])
        input.removeFirst(end + 1)
        do throws(ControlProtocolError) {
            return .request(try ControlRequest(line: line, limit: ControlProtocol.maximumRequestBytes))
        } catch {
            return .refuse("request not understood: \(error)")
        }
    }

    mutating func wait(for task: Task<Void, Never>, until limit: ContinuousClock.Instant) {
        phase = .waiting(task)
        deadline = limit
    }

    /// Starts to send an answer.
    mutating func answer(_ line: [UInt8], thenClose: Bool, now: ContinuousClock.Instant) {
        if case .waiting(let task) = phase { task.cancel() }
        output = line
        sent = 0
        phase = .writing(thenClose: thenClose)
        deadline = now + patience
    }

    /// Sends what fits.
    /// - Returns: whether the connection lives on.
    mutating func write(now: ContinuousClock.Instant) -> Bool {
        guard case .writing(let thenClose) = phase else { return true }
        switch SystemCalls.send(descriptor, output, from: sent) {
        case .closed: return false
        case .wouldBlock: return true
        case .bytes(let count):
            sent += count
            deadline = now + patience
        }
        guard sent >= output.count else { return true }
        output = []
        phase = .reading
        deadline = now + patience
        return !thenClose
    }

    /// Ends the connection; a handler still at work is cancelled.
    func close() {
        if case .waiting(let task) = phase { task.cancel() }
        SystemCalls.close(descriptor)
    }
}
