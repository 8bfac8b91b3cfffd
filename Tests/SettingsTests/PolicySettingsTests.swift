import FlowEngine
import Foundation
import PacketWire
import Tcpcrypt
import Testing

@testable import tcpcryptd

/// The key `policies` of the configuration file.
@Suite struct PolicySettingsTests {
    private func load(_ policies: String) async throws -> [PolicyRule] {
        let path = FileManager.default.temporaryDirectory.path + "/policies-\(UInt64.random(in: 0 ... .max)).json"
        try #"{"policies": \#(policies)}"#.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let settings = try await DaemonSettings.load(path: path)
        #expect(settings.engineConfiguration.policies == settings.policies)
        return settings.policies
    }

    @Test func everyKey() async throws {
        let rules = try await load(
            """
            [{"prefixes": ["10.0.0.0/8", "fd00::/8", "192.0.2.1"], "ports": [5432, "6000-6100", "1-1"], "encryption": "require",
              "application_aware": "mandatory", "passive_role": true, "resumption": false},
             {"encryption": "off", "joins": "prefer"}, {"joins": "off", "application_aware": "on"}, {}]
            """)
        try #require(rules.count == 4)
        #expect(rules[0].prefixes == ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"].compactMap { IPPrefix($0) })
        #expect(rules[0].ports == [5432...5432, 6000...6100, 1...1])
        #expect(rules[0].policy.encryption == .require && rules[0].policy.applicationAware == .mandatory)
        #expect(rules[0].policy.takesPassiveRole && !rules[0].policy.resumes)
        #expect(rules.map(\.policy.joins) == [.require, .prefer, .off, .require])
        #expect(rules[1].policy.encryption == .off && rules[2].policy.applicationAware == .on)
        #expect(rules[3] == PolicyRule())
        #expect(try await load("[]").isEmpty)
    }

    /// What the complaint has to say.
    @Test(arguments: [
        ("{}", "policies is {}"), ("[1]", "policies[0] is 1, but must be an object"),
        (#"[{}, {"port": [1]}]"#, #"unknown key "policies[1].port""#),
        (#"[{"prefixes": "10.0.0.0/8"}]"#, "policies[0].prefixes is"),
        (#"[{"prefixes": []}]"#, "policies[0].prefixes is []"),
        (#"[{"prefixes": ["::1", "10.0.0.1/8"]}]"#, "policies[0].prefixes[1] is \"10.0.0.1/8\""),
        (#"[{"prefixes": [10]}]"#, "policies[0].prefixes[0] is 10"),
        (#"[{"prefixes": ["a.example"]}]"#, "policies[0].prefixes[0]"),
        (#"[{"prefixes": ["10.0.0.0/33"]}]"#, "policies[0].prefixes[0]"),
        (#"[{"ports": 80}]"#, "policies[0].ports is 80"),
        (#"[{"ports": []}]"#, "policies[0].ports is []"), (#"[{"ports": [0]}]"#, "policies[0].ports[0] is 0"),
        (#"[{"ports": [1, 65536]}]"#, "policies[0].ports[1] is 65536"),
        (#"[{"ports": ["80"]}]"#, "policies[0].ports[0]"),
        (#"[{"ports": ["9-8"]}]"#, "policies[0].ports[0]"), (#"[{"ports": ["0-8"]}]"#, "policies[0].ports[0]"),
        (#"[{"ports": ["1-65536"]}]"#, "policies[0].ports[0]"), (#"[{"ports": ["1-2-3"]}]"#, "policies[0].ports[0]"),
        (#"[{"ports": ["-5"]}]"#, "policies[0].ports[0]"), (#"[{"ports": ["+1-2"]}]"#, "policies[0].ports[0]"),
        (#"[{"ports": [1.5]}]"#, "policies[0].ports[0]"),
        (
            #"[{"encryption": "yes"}]"#,
            #"policies[0].encryption is "yes", but must be one of "require", "prefer", "off""#
        ),
        (#"[{"joins": "on"}]"#, #"policies[0].joins is "on", but must be one of "require", "prefer", "off""#),
        (#"[{"encryption": true}]"#, "policies[0].encryption is true"),
        (#"[{"application_aware": "Off"}]"#, "policies[0].application_aware"),
        (#"[{"passive_role": "true"}]"#, "policies[0].passive_role is"),
        (#"[{"passive_role": 1}]"#, "policies[0].passive_role is 1"),
        (#"[{"resumption": "no"}]"#, #"policies[0].resumption is "no""#),
        (#"[{"ports": [1], "ports": [2]}]"#, "the same name twice"),
    ]) func complaints(_ policies: String, _ complaint: String) async {
        let error = await #expect(throws: SettingsError.self) { _ = try await load(policies) }
        #expect(error?.description.contains(complaint) == true, "\(error?.description ?? "no error")")
    }

    @Test func thereIsALimit() async throws {
        #expect(try await load("[" + [String](repeating: "{}", count: 64).joined(separator: ",") + "]").count == 64)
        await #expect(throws: SettingsError.self) {
            _ = try await load("[" + [String](repeating: "{}", count: 65).joined(separator: ",") + "]")
        }
    }
}
