import PacketWire
import Tcpcrypt

/// What the flows of one host share.
final class Host {
    let configuration: EngineConfiguration
    let crypto: any CryptoProvider
    let random: any RandomSource
    var counters = EngineCounters()
    var tracker = MPTCPTracker()
    var sessions: SessionCache
    var heldPackets = 0
    /// Room for one frame and for its plaintext.
    var frameScratch = [UInt8](repeating: 0, count: 70_000)
    var plainScratch = [UInt8](repeating: 0, count: 70_000)

    init(configuration: EngineConfiguration, crypto: any CryptoProvider, random: any RandomSource) {
        self.configuration = configuration
        self.crypto = crypto
        self.random = random
        sessions = SessionCache(limit: 100_000, lookAhead: 16, maximumAgeMilliseconds: 24 * 3_600_000, crypto: crypto)
    }
}
