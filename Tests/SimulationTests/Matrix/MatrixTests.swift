import Foundation
import TestSupport
import Testing

/// The table of scenario and impairment: every cell with every seed comes out encrypted, or plain before any data, or fails as
/// plain TCP does. No hang, no wrong byte, no plaintext, no nonce twice.
///
/// `TCPCRYPT_CELL='up x loss-3'` plays one cell, `'up'` one row, `'x loss-3'` one column.
@Suite struct MatrixTests {
    private static let wanted: (row: String?, column: String?) = {
        guard let text = ProcessInfo.processInfo.environment["TCPCRYPT_CELL"] else { return (nil, nil) }
        let words = text.split(separator: " ").map(String.init)
        let cross = words.firstIndex(of: "x") ?? words.count
        return (words[..<cross].first, words[cross...].dropFirst().first)
    }()

    static let rows = Scenario.all.filter { wanted.row == nil || $0.name == wanted.row }
    static let columns = Impairment.all.filter { wanted.column == nil || $0.name == wanted.column }

    @Test(arguments: rows, columns) func matrix(_ scenario: Scenario, _ impairment: Impairment) async {
        guard !impairment.skips.contains(scenario.name) else { return }
        let name = "\(scenario.name) x \(impairment.name)"
        await Runs.each(Runs.whole(30), "matrix", cell: name) { seed, trace in
            let run = MatrixRun(scenario, impairment, seed: seed, hasEngines: true, trace: trace)
            let failures = run.failures {
                MatrixRun(scenario, impairment, seed: seed, hasEngines: false, trace: false)
            }
            return Report(
                failures: failures, trace: run.simulation.network.trace.lines, coverage: run.simulation.coverage)
        }
    }
}
