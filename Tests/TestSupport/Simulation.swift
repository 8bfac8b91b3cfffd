public import FlowEngine
public import PacketWire
public import Tcpcrypt

/// Two hosts, one path between them, and everything that judges a run.
public final class Simulation {
    public struct Side: Sendable {
        public var mtu = 1500
        public var hasEngine = true
        public var kernel = KernelConfiguration()
        public var engine = EngineConfiguration()

        public init() {}
    }

    public struct Setup: Sendable {
        public var client = Side()
        public var server = Side()
        public var toServer = PathConditions()
        public var toClient = PathConditions()
        public var hostility: Hostility?
        public var meddling: (segment: HandshakeSegment, replacement: [UInt8]?)?
        /// Somebody clears FINs and changes what is urgent, once there are keys.
        public var losesFlags = false
        public var usesIPv6 = false
        /// Devices of the common library in the middle of the path, such as `try PathSpecification(parsing: "renumber")`;
        /// ``Simulation/devices``
        /// counts what they do, and can change them on the way.
        public var devicesToServer = PathSpecification()
        public var devicesToClient = PathSpecification()
        /// What becomes of the path to the server, and of the path to the client.
        public var narrowing: (toServer: NarrowLink.Narrowing?, toClient: NarrowLink.Narrowing?)

        public init() {}
    }

    public let setup: Setup
    public let network: VirtualNetwork
    public let client: SimulatedHost
    public let server: SimulatedHost
    public let record = WireRecord()
    public let recorder = NonceRecorder()
    public let provider: any CryptoProvider
    /// What stands between the hosts' own devices and the line: the server is at its right end.
    public let devices: DevicePath
    public private(set) var isAttackAllowed = false
    public var random: SeededRandom
    private var egresses: [EgressDevice] = []
    public private(set) var narrowLinks: [NarrowLink] = []

    public init(
        seed: UInt64, _ setup: Setup, crypto: any CryptoProvider, trace: Bool
    ) {
        var random = SeededRandom(seed: seed)
        self.setup = setup
        network = VirtualNetwork(trace: Trace(isEnabled: trace))
        // From the seed itself: with no devices chance falls as if there were no such path.
        devices = DevicePath(seed: ~seed)
        client = SimulatedHost(name: "A", mtu: setup.client.mtu, network: network, random: random.fork())
        server = SimulatedHost(name: "B", mtu: setup.server.mtu, network: network, random: random.fork())
        provider = RecordingProvider(crypto, recorder: recorder)
        self.random = random
        network.hosts = [client, server]
        for (host, side) in [(client, setup.client), (server, setup.server)] where side.hasEngine {
            host.startEngine(
                side.engine, crypto: provider, random: SeededRandomSource(seed: self.random.next()),
                workers: 1 + Int(seed % 3))
            if side.kernel.probesPath { host.tellProbing() }
        }
        let toServer = line(to: server, setup.toServer, isFromClient: true)
        devices.lead(right: toServer, left: line(to: client, setup.toClient, isFromClient: false))
        devices.set(.toRight, to: setup.devicesToServer)
        devices.set(.toLeft, to: setup.devicesToClient)
        client.egress = egress(devices.entry(.toRight))
        server.egress = egress(devices.entry(.toLeft))
    }

    private func line(to host: SimulatedHost, _ conditions: PathConditions, isFromClient: Bool) -> any NetworkDevice {
        var device: any NetworkDevice = HostPort(host)
        if conditions.coalesces { device = Coalescer(limit: random.int(2...44), next: device) }
        device = LossyLine(conditions, random: random.fork(), next: device)
        if !conditions.plannedLosses.isEmpty { device = PlannedLosses(conditions.plannedLosses, next: device) }
        if let hostility = setup.hostility {
            device = Attacker(hostility, random: random.fork(), next: device) { [unowned self] in mayAttack }
        }
        if setup.losesFlags {
            device = FlagMeddler(random: random.fork(), next: device) { [unowned self] in mayAttack }
        }
        if conditions.resegmentation > 0 {
            device = Resegmenter(rate: conditions.resegmentation, random: random.fork(), next: device)
        }
        if let meddling = setup.meddling, (meddling.segment == .synAck) != isFromClient {
            device = OptionMeddler(meddling.segment, replacement: meddling.replacement, next: device)
        }
        if let narrowing = isFromClient ? setup.narrowing.toServer : setup.narrowing.toClient {
            let link = NarrowLink(
                narrowing, router: address(host, 14), sender: HostPort(isFromClient ? client : server),
                delay: Int64(conditions.delayMicroseconds) * 1000, next: device)
            narrowLinks.append(link)
            device = link
        }
        return device
    }

    private func egress(_ line: any NetworkDevice) -> any NetworkDevice {
        let observer = WireObserver(record, next: line)
        let egress = EgressDevice(mtu: min(setup.client.mtu, setup.server.mtu), next: observer)
        egresses.append(egress)
        return egress
    }

    /// Both engines have authenticated keys: before that nothing could tell an attacker from the peer.
    private var mayAttack: Bool {
        if isAttackAllowed { return true }
        isAttackAllowed = [client, server].allSatisfy { host in
            host.counters.framesOpened > 0
        }
        return isAttackAllowed
    }

    // MARK: Addresses

    /// The address number `index` of a host.
    public func address(_ host: SimulatedHost, _ index: Int = 0) -> IPAddress {
        let last = (host === client ? 1 : 2) + 16 * index
        return setup.usesIPv6
            ? IPAddress(ipv6High: 0xfd00_0000_0000_0000 | UInt64(index), low: UInt64(last))
            : IPAddress(ipv4: 0x0a00_0000 | UInt32(index) << 8 | UInt32(last))
    }

    // MARK: Judgement

    /// What happened at either host.
    public var coverage: Coverage {
        var all: Coverage = [:]
        for socket in client.allSockets + server.allSockets { all.merge(socket.coverage, uniquingKeysWith: +) }
        return all
    }

    /// Runs until `isDone` or for so many virtual seconds; returns whether it was done.
    public func run(seconds: Int64, isDone: () -> Bool) -> Bool {
        run(milliseconds: seconds * 1000, isDone: isDone)
    }

    public func run(milliseconds: Int64, isDone: () -> Bool) -> Bool {
        network.run(until: network.now.adding(milliseconds: milliseconds), isDone: isDone)
    }

    /// Everything that went wrong and may never.
    public var violations: [String] {
        var all = record.violations + recorder.violations + egresses.flatMap(\.violations)
        for host in [client, server] {
            all += host.violations.map { "\(host.name): \($0)" }
            for application in host.applications { all += application.violations.map { "\(host.name) app: \($0)" } }
            for socket in host.allSockets { all += socket.violations.map { "\(host.name) kernel: \($0)" } }
        }
        return all
    }
}
