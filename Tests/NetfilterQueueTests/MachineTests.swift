import Glibc
import Testing

@testable import NetfilterQueue

/// How the system tells that this machine may exist twice.
@Suite struct MachineTests {
    @Test(arguments: [
        ("change@/devices/LNXSYSTM:00/VMGENCTR:00\0ACTION=change\0DEVPATH=/devices\0NEW_VMGENID=1\0SEQNUM=7\0", true),
        ("add@/devices/virtual/net/veth0\0ACTION=add\0INTERFACE=NEW_VMGENID=1\0", false),
        ("change@/devices/x\0SYNTH_ARG_NEW_VMGENID=1\0", false), ("NEW_VMGENID=1", false), ("NEW_VMGENID=1\0", true),
        ("\0\0\0", false), ("", false),
    ])
    func oneWordMatters(message: String, isNew: Bool) {
        let bytes = Array(message.utf8)
        #expect(MachineEvents.announcesGeneration(bytes.span) == isNew)
    }

    /// On a host of containers devices come and go by the thousand: that is no reason to end connections.
    @Test(.enabled(if: ScratchNamespace.isEnabled)) func devicesThatComeAndGoAreNoNews() async throws {
        try await ScratchNamespace.run {
            let events = try MachineEvents()
            var poller = Poller([events.fileDescriptor])
            try ScratchNamespace.shell(
                "for n in $(seq 400); do ip link add va type veth peer name vb && ip link delete va || exit 1; done")
            poller.wait(nanoseconds: 0)
            #expect(!poller.isReady(0) && !events.isNewGeneration())
            // A device that changes is heard, and is not the one that matters.
            try ScratchNamespace.shell("echo change > /sys/devices/system/cpu/cpu0/uevent")
            poller.wait(nanoseconds: 1_000_000_000)
            #expect(poller.isReady(0) && !events.isNewGeneration())
        }
    }

    /// A file laid out as the page of the clock device.
    private func withClock(_ length: Int, _ magic: UInt32, _ body: (String, (UInt64) -> Void) -> Void) {
        var path = Array("/tmp/machine-clock-XXXXXX".utf8CString)
        let descriptor = unsafe mkstemp(&path)
        defer { close(descriptor) }
        let name = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { unsafe unlink(name) }
        _ = ftruncate(descriptor, off_t(length))
        var head = magic.littleEndian
        unsafe pwrite(descriptor, &head, 4, 0)
        body(name) { marker in
            var marker = marker
            unsafe pwrite(descriptor, &marker, 8, 16)
        }
    }

    @Test func theMarkerOfTheClockIsRead() {
        withClock(4096, 0x4B4C_4356) { path, write in
            let clock = MachineClock(path: path)
            #expect(clock.disruptionMarker == 0)
            write(77)
            #expect(clock.disruptionMarker == 77)
        }
    }

    @Test func otherFilesAreNoClocks() {
        let isClock = { (path: String) in MachineClock(path: path).isThere }
        withClock(100, 0x4B4C_4356) { path, _ in #expect(!isClock(path)) }
        withClock(4096, 0x4B4C_4357) { path, _ in #expect(!isClock(path)) }
        #expect(!isClock("/nowhere") && !isClock("/tmp") && !isClock("/dev/null"))
    }
}
