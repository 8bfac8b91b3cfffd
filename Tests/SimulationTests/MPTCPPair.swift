import FlowEngine
import PacketWire
import Tcpcrypt
import TestSupport

/// One MPTCP connection between the hosts of a simulation, with its later subflows.
final class MPTCPPair {
    private let simulation: Simulation
    private var clientEnd: MPTCPEndpoint
    private var serverEnd: MPTCPEndpoint
    private var plans: [Endpoint: ApplicationPlan] = [:]
    private(set) var opened = 0
    private(set) var joinsSeenByKernel = 0

    init(_ simulation: Simulation) {
        self.simulation = simulation
        let provider = simulation.provider
        let sha256: ([UInt8]) -> [UInt8] = { provider.sha256($0.span) }
        clientEnd = MPTCPEndpoint(localKey: simulation.random.next(), sha256: sha256)
        serverEnd = MPTCPEndpoint(localKey: simulation.random.next(), sha256: sha256)
        simulation.server.onAccept = { [unowned self] tuple, option, _ in
            accept(tuple, option, serverEnd, simulation.setup.server.kernel)
        }
        simulation.client.onAccept = { [unowned self] tuple, option, _ in
            accept(tuple, option, clientEnd, simulation.setup.client.kernel)
        }
    }

    var serverToken: UInt32? { clientEnd.remoteToken }
    /// Neither end has fallen back to TCP.
    var isMPTCP: Bool {
        simulation.applications.allSatisfy { $0.socket.subflow.map { !$0.hasFallenBack } ?? false }
            && serverEnd.remoteToken != nil && clientEnd.remoteToken != nil
    }

    private var hasFallenBack: Bool {
        simulation.applications.contains { $0.socket.subflow?.hasFallenBack ?? false }
    }

    private func accept(
        _ tuple: FlowTuple, _ option: MPTCPOption?, _ end: MPTCPEndpoint, _ kernel: KernelConfiguration
    ) -> (socket: KernelTCP, plan: ApplicationPlan)? {
        if case .joinSYN = option { joinsSeenByKernel += 1 }
        guard let plan = plans[tuple.remote] else { return nil }
        let kind: SubflowModel.Kind
        switch option {
        case .capableSYN: kind = .capable
        case .joinSYN(let token, _) where token == end.localToken: kind = .join(token: token)
        default: return nil
        }
        let subflow = SubflowModel(
            kind: kind, isOpener: false, connection: end,
            localRandom: UInt32(truncatingIfNeeded: simulation.random.next()), addressID: 1)
        return (simulation.socket(tuple, isOpener: false, plan, kernel, subflow: subflow), plan)
    }

    /// Opens the first subflow, and waits until both ends know that they are encrypted.
    ///
    /// - Parameter mayBePlain: it is enough that both ends have a connection.
    func connect(_ random: inout SeededRandom, mayBePlain: Bool = false) -> [String] {
        var plan = Self.plan(&random, number: 0)
        // It has to stay while others join.
        plan.client.writePauseMilliseconds = 1...20
        plan.client.writeChunk = max(100, plan.client.total / 50)
        open(.capable, from: simulation.client, clientEnd, addresses: (0, 0), plan)
        let isUp = simulation.run(seconds: 100) {
            (mayBePlain || simulation.isEncrypted(simulation.client) && simulation.isEncrypted(simulation.server))
                && simulation.applications.count == 2 && (isMPTCP || hasFallenBack)
        }
        return isUp ? [] : ["no first subflow: " + simulation.state]
    }

    /// Opens one more subflow, from other addresses.
    func join(_ index: Int, fromClient: Bool, _ random: inout SeededRandom) {
        let plan = Self.plan(&random, number: UInt8(index))
        let end = fromClient ? clientEnd : serverEnd
        guard let token = end.remoteToken else { return }
        let host = fromClient ? simulation.client : simulation.server
        open(.join(token: token), from: host, end, addresses: (index, random.int(0...1)), plan)
    }

    private static func plan(
        _ random: inout SeededRandom, number: UInt8
    ) -> (client: ApplicationPlan, server: ApplicationPlan) {
        ApplicationPlan.pair(
            &random, toServer: random.logarithmic(1...40_000), toClient: random.logarithmic(1...40_000), number: number
        )
    }

    private func open(
        _ kind: SubflowModel.Kind, from host: SimulatedHost, _ end: MPTCPEndpoint, addresses: (Int, Int),
        _ plan: (client: ApplicationPlan, server: ApplicationPlan)
    ) {
        let peer = host === simulation.client ? simulation.server : simulation.client
        let local = Endpoint(address: simulation.address(host, addresses.0), port: UInt16(41_000 + opened))
        let remote = Endpoint(address: simulation.address(peer, addresses.1), port: 5001)
        opened += 1
        plans[local] = plan.server
        let kernel = host === simulation.client ? simulation.setup.client.kernel : simulation.setup.server.kernel
        let subflow = SubflowModel(
            kind: kind, isOpener: true, connection: end,
            localRandom: UInt32(truncatingIfNeeded: simulation.random.next()), addressID: UInt8(addresses.0))
        let socket = simulation.socket(
            FlowTuple(local: local, remote: remote), isOpener: true, plan.client, kernel, subflow: subflow)
        host.open(socket, plan: plan.client)
    }
}
