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
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // Pure: packets in, values out.
        .target(name: "PacketWire", swiftSettings: house),
        .target(name: "Tcpcrypt", dependencies: ["PacketWire"], swiftSettings: house),
        .target(
            name: "FlowEngine",
            dependencies: [
                "PacketWire", "Tcpcrypt",
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: house),
        .target(name: "ControlProtocol", swiftSettings: house),

        // The rim: C libraries, sockets, threads.
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CNetfilterQueue", pkgConfig: "libnetfilter_queue",
            providers: [.apt(["libnetfilter-queue-dev", "libmnl-dev"])]),
        .target(name: "OpenSSLProvider", dependencies: ["Tcpcrypt", "CCrypto"], swiftSettings: house),
        .target(
            name: "NetfilterQueue",
            dependencies: ["CNetfilterQueue", .product(name: "SystemPackage", package: "swift-system")],
            swiftSettings: house),
        .target(name: "TcpcryptClient", dependencies: ["ControlProtocol"], swiftSettings: house),

        // Composition.
        .executableTarget(
            name: "tcpcryptd",
            dependencies: [
                "FlowEngine", "OpenSSLProvider", "NetfilterQueue", "ControlProtocol",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: house),
        .executableTarget(
            name: "tcpcryptctl",
            dependencies: [
                "TcpcryptClient", "ControlProtocol",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: house),
    ]
)
