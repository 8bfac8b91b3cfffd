// swift-tools-version: 6.2
import PackageDescription

/// Swift 6 mode, strict memory safety, every warning an error: the house rules, written once.
let house: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableExperimentalFeature("Lifetimes"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// For what handles packets: in release builds nobody asks at run time whether two accesses to a stored property overlap (16 times a packet,
/// a sixth of the user time of a handshake). The tests do ask: debug builds, and `Scripts/test` in its release build.
let hot: [SwiftSetting] = house + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let heap: Target.Dependency = .product(name: "HeapModule", package: "swift-collections")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let subprocess: Target.Dependency = .product(name: "Subprocess", package: "swift-subprocess")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

let package = Package(
    name: "tcpcrypt-mptcp",
    products: [
        .executable(name: "tcpcryptd", targets: ["tcpcryptd"]),
        .executable(name: "tcpcryptctl", targets: ["tcpcryptctl"]),
        .library(name: "TcpcryptClient", targets: ["TcpcryptClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    ],
    targets: [
        // Pure: packets in, values out.
        .target(name: "PacketWire", swiftSettings: hot),
        .target(name: "Tables", swiftSettings: hot),
        .target(name: "Tcpcrypt", dependencies: ["PacketWire", "Tables"], swiftSettings: hot),
        .target(
            name: "FlowEngine", dependencies: ["PacketWire", "Tables", "Tcpcrypt", deque, heap], swiftSettings: hot),
        .target(name: "ControlProtocol", swiftSettings: house),

        // The rim: C libraries, sockets, threads.
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CNetfilterQueue", pkgConfig: "libnetfilter_queue",
            providers: [.apt(["libnetfilter-queue-dev", "libmnl-dev"])]),
        .target(name: "OpenSSLProvider", dependencies: ["Tcpcrypt", "CCrypto"], swiftSettings: hot),
        .target(name: "NetfilterQueue", dependencies: ["CNetfilterQueue", "PacketWire", system], swiftSettings: hot),
        .target(name: "Firewall", dependencies: ["PacketWire", system], swiftSettings: house),
        .target(
            name: "DaemonCore",
            dependencies: [
                "FlowEngine", "PacketWire", "Tcpcrypt", "NetfilterQueue", "Firewall", "ControlProtocol", logging,
                system,
            ],
            swiftSettings: hot),
        .target(name: "ControlServer", dependencies: ["ControlProtocol", logging, system], swiftSettings: house),
        .target(name: "TcpcryptClient", dependencies: ["ControlProtocol", system], swiftSettings: house),

        // Composition.
        .executableTarget(
            name: "tcpcryptd",
            dependencies: [
                "DaemonCore", "ControlServer", "OpenSSLProvider", "FlowEngine", "PacketWire", "Tcpcrypt",
                "ControlProtocol", "NetfilterQueue", arguments, logging, system,
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            exclude: ["tcpcryptd.8", "tcpcryptd.conf.5"], swiftSettings: house),
        .executableTarget(
            name: "tcpcryptctl", dependencies: ["TcpcryptClient", "ControlProtocol", arguments],
            exclude: ["tcpcryptctl.8"], swiftSettings: house),

        // Tests. What stands between hosts, simulated or real: pure, and its rim on real links.
        .target(name: "PathDevices", dependencies: ["PacketWire"], path: "Tests/PathDevices", swiftSettings: house),
        .target(name: "CPacketSocket", path: "Tests/CPacketSocket"),
        .executableTarget(
            name: "tcpcrypt-wire", dependencies: ["PathDevices", "PacketWire", "CPacketSocket", arguments],
            path: "Tests/tcpcrypt-wire", swiftSettings: house),
        // The scenario runner: it judges from outside, and knows nothing of the engine.
        .target(
            name: "ScenarioRunner", dependencies: [subprocess, system, .product(name: "Yams", package: "Yams")],
            swiftSettings: house),
        .executableTarget(
            name: "tcpcrypt-scenario",
            dependencies: [
                "ScenarioRunner", arguments, .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            exclude: ["tcpcrypt-scenario.8", "tcpcrypt-scenario.5"], swiftSettings: house),
        .testTarget(name: "ScenarioRunnerTests", dependencies: ["ScenarioRunner"], swiftSettings: house),
        // The benchmark: who arranges it, the two ends of the traffic, and what it is compared with.
        .executableTarget(
            name: "tcpcrypt-bench",
            dependencies: ["FlowEngine", "OpenSSLProvider", "PacketWire", "Tcpcrypt", arguments], swiftSettings: house),
        .testTarget(name: "BenchTests", dependencies: ["tcpcrypt-bench"], swiftSettings: house),
        .executableTarget(
            name: "tcpcrypt-load", path: "Tests/tcpcrypt-load",
            linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),
        .executableTarget(
            name: "divert-nothing", path: "Tests/divert-nothing",
            linkerSettings: [.linkedLibrary("netfilter_queue"), .linkedLibrary("mnl"), .linkedLibrary("crypto")]),
        .testTarget(name: "PathDevicesTests", dependencies: ["PathDevices", "PacketWire"], swiftSettings: house),
        .target(
            name: "TestSupport", dependencies: ["FlowEngine", "PacketWire", "PathDevices", "Tcpcrypt", deque],
            path: "Tests/TestSupport", swiftSettings: house),
        .testTarget(name: "TablesTests", dependencies: ["Tables"], swiftSettings: house),
        .testTarget(name: "PacketWireTests", dependencies: ["PacketWire", "TestSupport"], swiftSettings: house),
        .testTarget(
            name: "TcpcryptTests", dependencies: ["Tcpcrypt", "TestSupport", "OpenSSLProvider", "PacketWire"],
            resources: [.copy("Vectors")], swiftSettings: house),
        .testTarget(
            name: "FlowEngineTests",
            dependencies: ["FlowEngine", "TestSupport", "OpenSSLProvider", "PacketWire", "Tables", "Tcpcrypt"],
            swiftSettings: house),
        .testTarget(
            name: "SimulationTests",
            dependencies: ["FlowEngine", "TestSupport", "PathDevices", "OpenSSLProvider", "PacketWire", "Tcpcrypt"],
            swiftSettings: house),
        .testTarget(
            name: "NetfilterQueueTests", dependencies: ["NetfilterQueue", "PacketWire"], swiftSettings: house),
        .testTarget(
            name: "FirewallTests", dependencies: ["Firewall", "NetfilterQueue", "PacketWire"], swiftSettings: house),
        .testTarget(
            name: "DaemonCoreTests",
            dependencies: ["DaemonCore", "FlowEngine", "NetfilterQueue", "PacketWire", logging],
            swiftSettings: house),
        .testTarget(
            name: "SettingsTests", dependencies: ["tcpcryptd", "FlowEngine", "PacketWire", "Tcpcrypt"],
            swiftSettings: house),
        .testTarget(
            name: "ControlTests", dependencies: ["ControlProtocol", "ControlServer", "TcpcryptClient", logging],
            swiftSettings: house),
    ]
)
