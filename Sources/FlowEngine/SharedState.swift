public import Tcpcrypt

/// What the engines of one host share.
public final class SharedState: Sendable {
    public init(configuration: EngineConfiguration, crypto: any CryptoProvider) {}
}
