import Tables
import Testing

@Suite struct SteadyTableTests {
    /// The same as a dictionary, whatever is put in and taken out.
    @Test func behavesAsADictionary() {
        var table = SteadyTable<Int, Int>()
        var model: [Int: Int] = [:]
        var random = SystemRandomNumberGenerator()
        for _ in 0..<50_000 {
            let key = Int.random(in: 0..<8000, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0: #expect(table.removeValue(forKey: key) == model.removeValue(forKey: key))
            case 1:
                table[key] = nil
                model[key] = nil
            case 2:
                table[key, default: 7] += 1
                model[key, default: 7] += 1
            default:
                table[key] = key &* 3
                model[key] = key &* 3
            }
            #expect(table[key] == model[key] && table.count == model.count)
        }
        #expect(model.allSatisfy { table[$0] == $1 })
        #expect(Set(table.keys) == Set(model.keys) && table.values.sorted() == model.values.sorted())
    }

    /// No insertion moves more entries than one bucket has, however many there are. (A dictionary moves all 98,304 at once.)
    @Test func noInsertionMovesMuch() {
        var table = SteadyTable<Counted, Void>()
        let counter = Counter()
        var most = 0
        for number in 0..<100_000 {
            counter.hashed = 0
            table[Counted(number: number, counter: counter)] = ()
            most = max(most, counter.hashed)
        }
        #expect(table.count == 100_000)
        #expect(most < 2000)
    }

    /// A walk in pieces sees everything that stays, although the table grows meanwhile.
    @Test func aWalkSeesWhatStays() {
        var table = SteadyTable<Int, Int>()
        for number in 0..<5000 { table[number] = number }
        var seen: Set<Int> = []
        var place = 0
        var next = 5000
        while !table.isEnd(place) {
            let some = table.entries(from: &place, count: 500)
            #expect(some.count < 1000)
            seen.formUnion(some.map(\.key))
            for _ in 0..<300 where next < 10_000 {
                table[next] = next
                next += 1
            }
        }
        #expect(seen.isSuperset(of: 0..<5000))
        #expect(table.entries(from: &place, count: 1).isEmpty)
    }

    private final class Counter {
        var hashed = 0
    }

    private struct Counted: Hashable {
        let number: Int
        let counter: Counter

        static func == (a: Counted, b: Counted) -> Bool { a.number == b.number }

        func hash(into hasher: inout Hasher) {
            counter.hashed += 1
            hasher.combine(number)
        }
    }
}

@Suite struct AgeListTests {
    @Test func oldestFirst() {
        var list = AgeList<Int, String>()
        for number in 0..<5 { list.append("\(number)", key: number) }
        list.remove(0)
        list.remove(3)
        list.append("again", key: 1)
        list.remove(99)
        #expect(list.count == 3 && list.first == "2")
        #expect([list.popFirst(), list.popFirst(), list.popFirst()] == ["2", "4", "again"])
        #expect(list.popFirst() == nil && list.count == 0)
        list.append("new", key: 3)
        #expect(list.first == "new")
    }
}
