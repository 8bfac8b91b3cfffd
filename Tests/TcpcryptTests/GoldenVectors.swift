import Foundation
import Testing

/// What Scripts/verify-vectors.py computed, byte strings in hexadecimal (the article GoldenVectors).
struct GoldenSession: Decodable, Sendable, CustomTestStringConvertible {
    struct Link: Decodable {
        let index: Int
        let secret: String
        let resume: String
    }

    /// One generation.
    struct Keys: Decodable {
        let master: String
        let keyA: String
        let randomizerA: String
        let keyB: String
        let randomizerB: String
    }

    struct GoldenFrame: Decodable {
        let sender: String
        let generation: Int
        let rekey: Bool
        let offset: UInt64
        let data: String
        let urgent: UInt16?
        let fin: Bool
        /// Where the TEP has such.
        let signals: String?
        let frame: String
    }

    struct Resumption: Decodable {
        let openerRole: String
        let nonceA: String
        let nonceB: String
        let extra: String
        let syn: String
        let synAck: String
        let sessionID: String
        let keys: [Keys]
        let frames: [GoldenFrame]
    }

    struct Join: Decodable {
        let opener: String
        let chain: [Link]
        let connection: Resumption
    }

    let tep: UInt8
    let aead: UInt16
    let offered: [UInt16]
    let privateA: String
    let privateB: String
    let nonceA: String
    let nonceB: String
    let syn: String
    let synAck: String
    let init1: String
    let init2: String
    let sharedSecret: String
    let prk: String
    let sessionID: String
    let keys: [Keys]
    let frames: [GoldenFrame]
    let chain: [Link]
    let resumptions: [Resumption]
    let tokenA: String
    let tokenB: String
    let joins: [Join]

    var testDescription: String { "TEP \(tep), AEAD \(aead)" }

    static let all: [GoldenSession] = [
        "P256", "P521", "Curve25519", "Curve448", "Curve25519MPTCP",
    ].flatMap { name in
        guard let url = Bundle.module.url(forResource: name, withExtension: "json", subdirectory: "Vectors"),
            let data = try? Data(contentsOf: url),
            let sessions = try? JSONDecoder().decode([GoldenSession].self, from: data)
        else { return [GoldenSession]() }
        return sessions
    }
}
