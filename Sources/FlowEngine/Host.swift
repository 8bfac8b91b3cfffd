import PacketWire
import Tcpcrypt

/// What the flows of one engine share.
final class Host {
    let configuration: EngineConfiguration
    let crypto: any CryptoProvider
    let random: any RandomSource
    let keyLog: (any KeyLog)?
    var counters = EngineCounters()
    var pending: PendingVerdicts
    /// What ``SharedState`` had when the route of a flow changed at last.
    var paths = PathMTUs()
    /// The kernel shortens its segments by itself: what it has cut must not be cut longer here.
    var kernelProbesPaths = false
    /// RFC 8547 section 10 forbids ENO before.
    var isRandomnessSeeded = true
    /// The acceptor's part of key exchanges; the opener's part its own kernel asked for.
    var keyExchanges: RateLimit
    private(set) var ephemeralKeys = EphemeralKeys()
    /// Resets for whoever is wrong here.
    var refusals = RateLimit(perSecond: 1_000, burst: 1_000)
    /// Room for a frame being sealed, for the plaintext of one being opened, and for one put together from packets:
    /// three, because opening one may lead to sealing another.
    var frameScratch = [UInt8](repeating: 0, count: 70_000)
    var plainScratch = [UInt8](repeating: 0, count: 70_000)
    var unitScratch = [UInt8](repeating: 0, count: 70_000)

    /// What belongs to all engines of the host; see ``locked(_:)``.
    let shared: SharedState
    var isLocked = false

    init(
        configuration: EngineConfiguration, crypto: any CryptoProvider, random: any RandomSource, keyLog: (any KeyLog)?,
        shared: SharedState
    ) {
        self.configuration = configuration
        self.crypto = crypto
        self.random = random
        self.keyLog = keyLog
        pending = PendingVerdicts(limit: configuration.maximumHeldPackets, bytes: configuration.maximumHeldBytes)
        let rate = configuration.maximumKeyExchangesPerSecond
        // More at once, for a crowd that comes back after a restart.
        keyExchanges = RateLimit(perSecond: rate, burst: rate + rate / 3)
        self.shared = shared
    }

    /// A key pair for one exchange.
    func keyPair(_ tep: TEP, _ now: Instant) -> any EphemeralKeyPair {
        let found = ephemeralKeys.pair(tep, now: now.milliseconds, crypto, random)
        if found.isNew { counters.publicKeyOperations += 1 }
        return found.pair
    }

    func forgetKeyPairs() { ephemeralKeys = EphemeralKeys() }

    /// Replaces key pairs whose time is over.
    func renewKeyPairs(_ now: Instant) { ephemeralKeys.renew(now: now.milliseconds, crypto, random) }
}
