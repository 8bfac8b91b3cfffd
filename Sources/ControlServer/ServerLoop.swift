import ControlProtocol
import Logging
import SystemPackage

/// The server's thread: waits with `poll` for clients, for answers of the handler and for the end.
struct ServerLoop {
    static let maximumClients = 16

    let listener: FileDescriptor
    let mailbox: Mailbox
    let patience: Duration
    let handlerPatience: Duration
    let logger: Logger
    let handler: @Sendable (ControlRequest) async -> ControlResponse
    private var clients: [UInt64: ClientConnection] = [:]
    private var nextNumber: UInt64 = 0
    private let clock = ContinuousClock()
    /// Set while there are no descriptors for new clients.
    private var closedUntil: ContinuousClock.Instant?

    init(
        listener: FileDescriptor, mailbox: Mailbox, patience: Duration, handlerPatience: Duration, logger: Logger,
        handler: @escaping @Sendable (ControlRequest) async -> ControlResponse
    ) {
        self.listener = listener
        self.mailbox = mailbox
        self.patience = patience
        self.handlerPatience = handlerPatience
        self.logger = logger
        self.handler = handler
    }

    /// Serves until the mailbox says stop.
    mutating func run() {
        while true {
            let numbers = Array(clients.keys)
            var interests = [
                SystemCalls.Interest(descriptor: mailbox.wakeup, readable: true),
                SystemCalls.Interest(descriptor: listener, readable: closedUntil == nil),
            ]
            for number in numbers { if let client = clients[number] { interests.append(client.interest) } }
            SystemCalls.poll(&interests, milliseconds: millisecondsLeft())
            let news = mailbox.collect()
            if news.stopped { break }
            for reply in news.replies { answer(reply.client, reply.line, thenClose: false) }
            for (number, interest) in zip(numbers, interests.dropFirst(2)) where interest.ready {
                serve(number, hungUp: interest.hungUp)
            }
            expire()
            if interests[1].ready { acceptClients() }
        }
        for client in clients.values { client.close() }
        clients = [:]
    }

    /// Milliseconds until the first deadline, rounded up; -1 without one.
    private func millisecondsLeft() -> Int32 {
        var deadlines = clients.values.map(\.deadline)
        if let closedUntil { deadlines.append(closedUntil) }
        guard let deadline = deadlines.min() else { return -1 }
        let left = max(.zero, deadline - clock.now)
        return Int32(min(left / .milliseconds(1), 60_000).rounded(.up))
    }

    private mutating func serve(_ number: UInt64, hungUp: Bool) {
        guard var client = clients[number] else { return }
        switch client.phase {
        case .waiting:
            if hungUp { drop(number) }
        case .reading:
            let event = client.read()
            clients[number] = client
            handle(event, of: number)
        case .writing:
            flush(number)
        }
    }

    private mutating func handle(_ event: ClientConnection.Event, of number: UInt64) {
        switch event {
        case .nothing: break
        case .closed: drop(number)
        case .refuse(let text):
            logger.debug("control request refused", metadata: ["reason": "\(text)"])
            answer(number, ControlResponse.error(text).line, thenClose: true)
        case .request(let request):
            let task = Task { [handler, mailbox] in
                let response = await handler(request)
                mailbox.post(Mailbox.Reply(client: number, line: response.line))
            }
            let deadline = clock.now + handlerPatience
            clients[number]?.wait(for: task, until: deadline)
        }
    }

    private mutating func answer(_ number: UInt64, _ line: [UInt8], thenClose: Bool) {
        guard clients[number] != nil else { return }
        let now = clock.now
        clients[number]?.answer(line, thenClose: thenClose, now: now)
        flush(number)
    }

    private mutating func flush(_ number: UInt64) {
        guard var client = clients[number] else { return }
        let alive = client.write(now: clock.now)
        guard alive else { return drop(number) }
        // A client that sent its next request early gets its turn now: poll would not tell of bytes already read.
        let event = if case .reading = client.phase { client.nextLine() } else { ClientConnection.Event.nothing }
        clients[number] = client
        handle(event, of: number)
    }

    private mutating func drop(_ number: UInt64) {
        clients.removeValue(forKey: number)?.close()
    }

    private mutating func expire() {
        let now = clock.now
        if let closedUntil, closedUntil <= now { self.closedUntil = nil }
        for (number, client) in clients where client.deadline <= now {
            if case .waiting = client.phase {
                logger.warning("control request not answered in time")
                answer(number, ControlResponse.error("the daemon is too busy to answer").line, thenClose: true)
            } else {
                drop(number)
            }
        }
    }

    private mutating func acceptClients() {
        while true {
            switch SystemCalls.accept(listener) {
            case .nobody: return
            case .exhausted:
                logger.warning("no descriptors left for a control client")
                closedUntil = clock.now + .seconds(1)
                return
            case .client(let descriptor): admit(descriptor)
            }
        }
    }

    private mutating func admit(_ descriptor: FileDescriptor) {
        guard clients.count < Self.maximumClients else {
            let text = "too many clients at once (\(Self.maximumClients)); try again"
            _ = SystemCalls.send(descriptor, ControlResponse.error(text).line, from: 0)
            return SystemCalls.close(descriptor)
        }
        clients[nextNumber] = ClientConnection(descriptor: descriptor, patience: patience, now: clock.now)
        nextNumber += 1
    }
}
