public import Tcpcrypt

/// A lock of whoever runs several engines on several threads.
public protocol SharedLock: Sendable {
    /// Runs `body` while nobody else runs one. Never called within itself.
    func withLock(_ body: () -> Void)
    /// Runs `body` while others may run theirs; called within ``withLock(_:)`` only.
    func withoutLock(_ body: () -> Void)
}

/// What the engines of one host share, each of which serves its own connections on a thread of its own: sessions, MPTCP connections,
/// between which hosts offers were in vain, and what routers said of paths.
///
/// One lock guards it all, ``MPTCPConnection`` and ``SecretChain`` included. Handshakes, ends of connections, changed routes and reports
/// take it (``Host/locked(_:)``), but public keys are agreed on aside of it (``Host/aside(_:)``). Of established connections only an MPTCP subflow with a large window does, for each acknowledgement
/// until super-packets come: for a moment, to see whether others get some.
public final class SharedState: @unchecked Sendable {
    fileprivate let lock: (any SharedLock)?
    fileprivate var tracker = MPTCPTracker()
    fileprivate var sessions: SessionCache
    fileprivate var unansweredOffers = UnansweredOffers()
    fileprivate var paths = PathMTUs()

    /// Session secrets a peer may be ahead of us: lost connections in a row.
    static let sessionLookAhead = 16

    /// - Parameters:
    ///   - configuration: of the host; how many sessions it says, and how long they live.
    ///   - crypto: that of the engines.
    ///   - lock: nil where one thread runs all engines.
    public init(
        _ configuration: EngineConfiguration = EngineConfiguration(), crypto: any CryptoProvider,
        lock: (any SharedLock)? = nil
    ) {
        self.lock = lock
        sessions = SessionCache(
            limit: configuration.maximumSessions, lookAhead: Self.sessionLookAhead,
            maximumAgeMilliseconds: Int64(configuration.sessionLifetime) * 1000, crypto: crypto)
    }
}

extension Host {
    /// Runs `body` with the right to what the engines of the host share; may be called within itself.
    func locked(_ body: () -> Void) {
        if isLocked { return body() }
        guard let lock = shared.lock else { return run(body) }
        lock.withLock { run(body) }
    }

    private func run(_ body: () -> Void) {
        isLocked = true
        body()
        isLocked = false
    }

    /// Runs `body`, which takes long, without that right, and without keeping others from theirs. What was read of the shared state before
    /// may be different afterwards.
    func aside(_ body: () -> Void) {
        guard isLocked, let lock = shared.lock else { return body() }
        isLocked = false
        lock.withoutLock(body)
        isLocked = true
    }

    /// What the lock guards.
    private var guarded: SharedState {
        assert(isLocked)
        return shared
    }

    var tracker: MPTCPTracker {
        get { guarded.tracker }
        _modify { yield &guarded.tracker }
    }

    var sessions: SessionCache {
        get { guarded.sessions }
        _modify { yield &guarded.sessions }
    }

    var unansweredOffers: UnansweredOffers {
        get { guarded.unansweredOffers }
        _modify { yield &guarded.unansweredOffers }
    }

    /// What an error says of a path holds for the flows of all engines. Errors are rare, and each has its copy to read.
    func learnPath(_ announced: Int, _ path: PathMTUs.Path, route: Int, _ now: Instant) -> Int {
        var told = announced
        locked {
            told = shared.paths.learn(announced, path, route: route, now)
            paths = shared.paths
        }
        return told
    }

    func takePaths() {
        locked { paths = shared.paths }
    }
}
