/// A dictionary that never stops to grow as a whole: no insertion takes longer because the table is large.
///
/// A `Dictionary` that is full moves all of its entries at once, which takes 60 ms for 200,000 of them and seconds for millions; a thread
/// that serves packets cannot stop for so long. Here the entries lie in buckets, each a dictionary of some hundred entries at most. As
/// the table grows one bucket after the other is split in two (linear hashing, Litwin 1980), with each insertion at most one.
public struct SteadyTable<Key: Hashable, Value> {
    @usableFromInline var buckets: [[Key: Value]] = [[:]]
    /// Buckets there were when this round of splits began, a power of two; those behind it came of splits.
    @usableFromInline var base = 1
    @usableFromInline var total = 0

    /// Entries for each bucket on average before another one is split.
    @inlinable static var load: Int { 96 }

    @inlinable public init() {}

    @inlinable public var count: Int { total }
    @inlinable public var isEmpty: Bool { total == 0 }

    @inlinable
    func bucket(of key: Key) -> Int {
        let hash = Int(bitPattern: UInt(bitPattern: key.hashValue) >> 1)
        let wide = hash & (2 * base - 1)
        return wide < buckets.count ? wide : hash & (base - 1)
    }

    @inlinable
    public subscript(key: Key) -> Value? {
        get { buckets[bucket(of: key)][key] }
        _modify {
            let place = bucket(of: key)
            let before = buckets[place].count
            defer { note(buckets[place].count - before) }
            yield &buckets[place][key]
        }
    }

    /// The same as of a `Dictionary`.
    @inlinable
    public subscript(key: Key, default value: @autoclosure () -> Value) -> Value {
        get { self[key] ?? value() }
        _modify {
            let place = bucket(of: key)
            let before = buckets[place].count
            defer { note(buckets[place].count - before) }
            yield &buckets[place][key, default: value()]
        }
    }

    @inlinable
    @discardableResult
    public mutating func removeValue(forKey key: Key) -> Value? {
        let value = buckets[bucket(of: key)].removeValue(forKey: key)
        if value != nil { note(-1) }
        return value
    }

    @inlinable
    public func contains(_ key: Key) -> Bool { self[key] != nil }

    @inlinable
    mutating func note(_ change: Int) {
        total += change
        if change > 0, total > Self.load * buckets.count { split() }
    }

    @inlinable
    mutating func split() {
        let place = buckets.count - base
        var old: [Key: Value] = [:]
        swap(&old, &buckets[place])
        buckets.append([:])
        let added = buckets.count - 1
        if added + 1 == 2 * base { base = added + 1 }
        for (key, value) in old { buckets[bucket(of: key)][key] = value }
    }

    // MARK: All entries

    /// All values, in no order.
    @inlinable public var values: some Collection<Value> { buckets.lazy.flatMap(\.values) }
    @inlinable public var keys: some Collection<Key> { buckets.lazy.flatMap(\.keys) }

    /// Entries from `place` on, which begins with 0 and is moved behind them: `count` and some more, less only where the table ends.
    ///
    /// For whoever must not look at all of them at once. The table may change between two calls: what is in it throughout is seen, and
    /// sometimes twice.
    @inlinable
    public func entries(from place: inout Int, count: Int) -> [(key: Key, value: Value)] {
        var found: [(key: Key, value: Value)] = []
        while place < buckets.count, found.count < count {
            for (key, value) in buckets[place] { found.append((key, value)) }
            place += 1
        }
        return found
    }

    /// Whether nothing is behind that place.
    @inlinable
    public func isEnd(_ place: Int) -> Bool { place >= buckets.count }
}

extension SteadyTable: Sendable where Key: Sendable, Value: Sendable {}
