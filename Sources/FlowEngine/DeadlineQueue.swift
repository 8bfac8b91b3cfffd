/// When flows want to be called, the earliest first: a heap with one entry for each, which knows its place.
struct DeadlineQueue {
    private struct Entry {
        var at: Instant
        var flow: Flow
    }

    private var heap: [Entry] = []

    var count: Int { heap.count }
    var first: Instant? { heap.first?.at }

    /// Enters a flow, or moves it.
    mutating func set(_ flow: Flow, at: Instant) {
        let entry = Entry(at: at, flow: flow)
        if let place = flow.deadlinePlace {
            heap[place].at = at
            settle(entry, place)
        } else {
            heap.append(entry)
            rise(entry, from: heap.count - 1)
        }
    }

    /// Takes a flow out, where it is in.
    mutating func remove(_ flow: Flow) {
        guard let place = flow.deadlinePlace else { return }
        flow.deadlinePlace = nil
        guard let last = heap.popLast(), place < heap.count else { return }
        settle(last, place)
    }

    /// The first flow that is due, taken out.
    mutating func popFirst(_ now: Instant) -> Flow? {
        guard let first = heap.first, first.at <= now else { return nil }
        remove(first.flow)
        return first.flow
    }

    // MARK: The heap

    /// Puts the entry at that place, or where it belongs from there.
    private mutating func settle(_ entry: Entry, _ place: Int) {
        if place > 0, entry.at < heap[(place - 1) / 4].at {
            rise(entry, from: place)
        } else {
            sink(entry, from: place)
        }
    }

    private mutating func put(_ entry: Entry, _ place: Int) {
        heap[place] = entry
        entry.flow.deadlinePlace = place
    }

    private mutating func rise(_ entry: Entry, from start: Int) {
        var place = start
        while place > 0, entry.at < heap[(place - 1) / 4].at {
            put(heap[(place - 1) / 4], place)
            place = (place - 1) / 4
        }
        put(entry, place)
    }

    private mutating func sink(_ entry: Entry, from start: Int) {
        var place = start
        while let child = earliestChild(of: place), heap[child].at < entry.at {
            put(heap[child], place)
            place = child
        }
        put(entry, place)
    }

    private func earliestChild(of place: Int) -> Int? {
        let first = 4 * place + 1
        guard first < heap.count else { return nil }
        return (first..<min(first + 4, heap.count)).min { heap[$0].at < heap[$1].at }
    }
}
