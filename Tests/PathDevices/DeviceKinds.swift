extension DeviceKind {
    static let impairments: [DeviceKind] = [
        DeviceKind("delay=TIME", "every packet later by TIME") { reader throws(PathSpecificationError) in
            .delay(try reader.time())
        },
        DeviceKind("jitter=TIME", "and by up to TIME more, in order") { reader throws(PathSpecificationError) in
            .jitter(try reader.time())
        },
        DeviceKind("rate=RATE", "a link of that rate behind a queue") { reader throws(PathSpecificationError) in
            .rate(try reader.rate(), queue: nil)
        },
        DeviceKind("loss=CHANCE", "packets are lost, each for itself") { reader throws(PathSpecificationError) in
            .loss(try reader.chance())
        },
        DeviceKind("burst=CHANCE:N", "a run of about N is lost, a pause ends it") {
            reader throws(PathSpecificationError) in
            let (chance, run) = try reader.pair()
            return .burst(try chance.chance(), run: Double(try run.number(1...100_000)))
        },
        DeviceKind("reorder=CHANCE:TIME", "held up by TIME, others overtake") { reader throws(PathSpecificationError) in
            let (chance, time) = try reader.pair()
            return .reorder(try chance.chance(), extra: try time.time())
        },
        DeviceKind("duplicate=CHANCE", "packets arrive twice") { reader throws(PathSpecificationError) in
            .duplicate(try reader.chance())
        },
        DeviceKind("corrupt=CHANCE", "a byte changed, the checksum not") { reader throws(PathSpecificationError) in
            .corrupt(try reader.chance())
        },
        DeviceKind("tamper=CHANCE", "a byte of data changed, the sum right") { reader throws(PathSpecificationError) in
            .tamper(try reader.chance())
        },
    ]

    static let middleboxes: [DeviceKind] = [
        DeviceKind("strip-eno=SEGMENT", "TCP-ENO gone from syn, synack or ack") {
            reader throws(PathSpecificationError) in
            .stripENO(try reader.choice(["syn": .syn, "synack": .synAck, "ack": .thirdAck]))
        },
        DeviceKind("strip-mptcp=SEGMENT", "MPTCP gone from syn ... ack, data or all") {
            reader throws(PathSpecificationError) in
            .stripMPTCP(
                try reader.choice(["syn": .syn, "synack": .synAck, "ack": .thirdAck, "data": .data, "all": .all]))
        },
        DeviceKind("clear-options[=all]", "only MSS, scale, SACK, timestamps stay") {
            reader throws(PathSpecificationError) in
            .clearOptions(all: reader.text == nil ? false : try reader.choice(["all": true]))
        },
        DeviceKind("clamp-mss=N", "no SYN announces more than N") { reader throws(PathSpecificationError) in
            .clampMSS(try reader.number(64...65_535))
        },
        DeviceKind("split=N", "data cut into segments of N bytes") { reader throws(PathSpecificationError) in
            .split(try reader.number(1...65_535))
        },
        DeviceKind("coalesce[=N]", "segments joined to packets of N (1500)") { reader throws(PathSpecificationError) in
            .coalesce(limit: reader.text == nil ? 1500 : try reader.number(64...65_535))
        },
        DeviceKind("renumber", "other sequence numbers this way") { reader throws(PathSpecificationError) in
            try reader.nothing()
            return .renumber
        },
        DeviceKind("mtu=N[:silent]", "longer ones end here, with ICMP or not") {
            reader throws(PathSpecificationError) in
            guard reader.text?.contains(":") == true else {
                return .mtu(try reader.number(68...65_535), isSilent: false)
            }
            let (mtu, word) = try reader.pair()
            return .mtu(try mtu.number(68...65_535), isSilent: try word.choice(["silent": true]))
        },
        DeviceKind("proxy-ack", "data acknowledged and repeated by a proxy") { reader throws(PathSpecificationError) in
            try reader.nothing()
            return .proxyAck
        },
        DeviceKind("syn-proxy[=MSS]", "a proxy answers SYNs, MSS only (1440)") {
            reader throws(PathSpecificationError) in
            .synProxy(size: reader.text == nil ? 1440 : try reader.number(64...65_535))
        },
    ]
}
