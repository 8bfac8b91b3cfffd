import FlowEngine
import PacketWire
import TestSupport

/// One connection between the two hosts of a simulation.
struct Connection {
    var tuple: FlowTuple
    var plans: (client: ApplicationPlan, server: ApplicationPlan)
}

extension Simulation {
    /// Opens connections from client to server, one per pair of plans, to ports of their own.
    @discardableResult
    func connect(
        _ plans: [(client: ApplicationPlan, server: ApplicationPlan)], clientPort: UInt16 = 40_000,
        clientAddress: Int = 0, serverPort: UInt16 = 5001
    ) -> [FlowTuple] {
        let remote = address(server)
        let tuples = plans.indices.map { index in
            FlowTuple(
                local: Endpoint(address: address(client, clientAddress), port: clientPort + UInt16(index)),
                remote: Endpoint(address: remote, port: serverPort))
        }
        var accepted: Set<FlowTuple> = []
        server.onAccept = { [unowned self] tuple, _, _ in
            // What an attacker opens once this connection is dead is a connection of its own.
            guard setup.hostility == nil || accepted.insert(tuple).inserted else { return nil }
            guard let index = tuples.firstIndex(where: { $0.local == tuple.remote }) else { return nil }
            let plan = plans[index].server
            return (socket(tuple, isOpener: false, plan, setup.server.kernel), plan)
        }
        for (tuple, plan) in zip(tuples, plans) {
            client.open(socket(tuple, isOpener: true, plan.client, setup.client.kernel), plan: plan.client)
        }
        return tuples
    }

    func socket(
        _ tuple: FlowTuple, isOpener: Bool, _ plan: ApplicationPlan, _ kernel: KernelConfiguration,
        subflow: SubflowModel? = nil
    ) -> KernelTCP {
        // Sequence numbers shall wrap often.
        let isNearWrap = random.chance(0.4)
        let initial = isNearWrap ? UInt32.max - UInt32(random.int(0...100_000)) : UInt32(random.int(0...0xffff_ffff))
        return KernelTCP(
            kernel, tuple: tuple, isOpener: isOpener, stream: plan.stream, subflow: subflow, initialSequence: initial,
            random: random.fork())
    }

    var applications: [Application] { client.applications + server.applications }

    /// Runs until every application has sent and read everything, then lets stragglers pass for `linger` milliseconds.
    func runToEnd(connections: Int, seconds: Int64 = 600, linger: Int64 = 70_000) -> [String] {
        let isDone = run(seconds: seconds) {
            applications.count == 2 * connections && applications.allSatisfy(\.isComplete)
        }
        var failures: [String] = []
        if !isDone { failures.append("stalled after \(network.now.nanoseconds / 1_000_000_000) s: " + state) }
        _ = run(milliseconds: linger) { false }
        for host in [client, server] where host.pendingCount > 0 && linger >= 70_000 {
            failures.append("\(host.name): \(host.pendingCount) packets never answered")
        }
        return failures
    }

    /// How far the applications are.
    var state: String {
        applications.map { application in
            "port \(application.socket.tuple.local.port) wrote \(application.written)/\(application.plan.total)"
                + " read \(application.received)/\(application.plan.peerTotal) end \(application.sawEnd)"
                + " \(application.socket.state) \(application.socket.failure?.rawValue ?? "")"
        }.joined(separator: "; ") + " events A \(client.eventText) B \(server.eventText)"
    }

    /// The urgent pointer arrives where the peer meant it (RFC 8548 section 3.7).
    var urgentFailures: [String] {
        [(client, server), (server, client)].flatMap { from, to in
            zip(from.applications, to.applications).compactMap { sender, receiver in
                sender.socket.urgentEnd == receiver.socket.peerUrgentEnd
                    ? nil : "urgent up to \(sender.socket.urgentEnd), seen up to \(receiver.socket.peerUrgentEnd)"
            }
        }
    }

    /// What is missing where both hosts should have encrypted everything.
    var encryptionFailures: [String] {
        (recorder.count > 0 ? [] : ["no nonce was recorded"])
            + [client, server].flatMap { host in
                isEncrypted(host) ? [] : ["\(host.name) did not encrypt: \(host.eventText)"]
            }
    }
}

extension SimulatedHost {
    /// The engine's events, without the connections they are about.
    var eventText: String {
        events.map { event in
            switch event {
            case .encrypted(_, let origin): "encrypted(\(origin))"
            case .fellBack(_, let reason): "fellBack(\(reason))"
            case .joinRefused(_, let reason, _): "joinRefused(\(reason))"
            case .aborted(_, let reason): "aborted(\(reason))"
            case .refused(_, let reason): "refused(\(reason))"
            }
        }.joined(separator: ",")
    }
}
