/// Things in the order in which they came, of which any can leave at any time.
public struct AgeList<Key: Hashable, Value> {
    @usableFromInline
    struct Node {
        @usableFromInline var value: Value
        @usableFromInline var newer: Key?
        @usableFromInline var older: Key?

        @inlinable
        init(value: Value, older: Key?) {
            self.value = value
            self.older = older
        }
    }

    @usableFromInline var nodes = SteadyTable<Key, Node>()
    @usableFromInline var newest: Key?
    @usableFromInline var oldest: Key?

    @inlinable public init() {}

    @inlinable public var count: Int { nodes.count }
    /// The one that has been here longest.
    @inlinable public var first: Value? { oldest.flatMap { nodes[$0]?.value } }

    /// The one with that key, which keeps its place in the order.
    @inlinable public subscript(key: Key) -> Value? { nodes[key]?.value }

    /// Adds one; what had the same key leaves.
    @inlinable
    public mutating func append(_ value: Value, key: Key) {
        remove(key)
        nodes[key] = Node(value: value, older: newest)
        if let newest { nodes[newest]?.newer = key }
        newest = key
        if oldest == nil { oldest = key }
    }

    @inlinable
    public mutating func remove(_ key: Key) {
        guard let node = nodes.removeValue(forKey: key) else { return }
        if let newer = node.newer { nodes[newer]?.older = node.older } else { newest = node.older }
        if let older = node.older { nodes[older]?.newer = node.newer } else { oldest = node.newer }
    }

    @inlinable
    public mutating func popFirst() -> Value? {
        let value = first
        if let oldest { remove(oldest) }
        return value
    }
}

extension AgeList.Node: Sendable where Key: Sendable, Value: Sendable {}
extension AgeList: Sendable where Key: Sendable, Value: Sendable {}
