import Glibc
import Testing

@testable import Firewall

/// Two hosts on one wire, as network namespaces: A has the rules, B does not. Removed with the object.
final class KernelWorld {
    static let isEnabled =
        unsafe getenv("TCPCRYPT_ROOT_TESTS").map { unsafe String(cString: $0) } == "1" && geteuid() == 0

    static var variants: [IptablesVariant] {
        [IptablesVariant.nft, .legacy].filter { CommandRunner.find("iptables-\($0.rawValue)-restore") != nil }
    }

    let a: String
    let b: String
    let sysctlFile: String
    private let runner = CommandRunner()

    init() throws {
        let id = UInt16.random(in: 0...9999)
        a = "rules-a\(id)"
        b = "rules-b\(id)"
        sysctlFile = "/tmp/rules-sysctl-\(id)"
        for name in [a, b] { try run("ip netns add \(name)") }
        try run("ip -n \(a) link add veth0 type veth peer name veth0 netns \(b)")
        for (name, host) in [(a, 1), (b, 2)] {
            try run("ip -n \(name) link set veth0 address 02:00:00:00:00:0\(host)")
            try run("ip -n \(name) addr add 10.77.0.\(host)/24 dev veth0")
            try run("ip -n \(name) addr add fd77::\(host)/64 dev veth0 nodad")
            try run("ip -n \(name) link set lo up")
            try run("ip -n \(name) link set veth0 up")
            // Neighbour discovery takes a second on a new link.
            try run(
                "ip -n \(name) neigh add fd77::\(3 - host) lladdr 02:00:00:00:00:0\(3 - host) dev veth0 nud permanent")
        }
    }

    deinit {
        for name in [a, b] { _ = try? run("ip netns del \(name)") }
        unsafe unlink(sysctlFile)
    }

    @discardableResult
    func run(_ command: String) throws -> String {
        try runner.run(command.split(separator: " ").map(String.init), package: "the test's tools")
    }

    /// In host A, by a shell.
    @discardableResult
    func shell(_ script: String) throws -> String {
        try runner.run(["ip", "netns", "exec", a, "sh", "-c", script], package: "iproute2")
    }

    func firewall(_ variant: IptablesVariant, _ configuration: FirewallConfiguration = .init()) -> Firewall {
        Firewall(
            configuration: configuration, sysctlFile: sysctlFile, variant: variant,
            commandPrefix: ["ip", "netns", "exec", a])
    }

    /// Runs a script on both hosts (see ``pythonPrelude``); what it prints, in lines.
    func python(_ script: String) throws -> [String] {
        let prelude = "A, B = '\(a)', '\(b)'\n" + pythonPrelude
        let output = try runner.run(["python3", "-"], package: "python3", input: prelude + script)
        return output.split(separator: "\n").map(String.init)
    }

    /// Everything of ours that is left: an empty string is what we want to see after a removal.
    func remains(_ variant: IptablesVariant) throws -> String {
        let save = "iptables-\(variant.rawValue)-save"
        return try shell("{ \(save); ip6\(save.dropFirst(2)); nft list tables; } | grep -i tcpcrypt || true")
    }

    func liberal() throws -> String { try shell("cat \(ConntrackSetting.path)").trimmingNewlines }
}

/// `sock`, `connect`, `says` and `syn` for the scripts.
private let pythonPrelude = """
    import ctypes, os, socket, struct, subprocess, sys, time
    libc = ctypes.CDLL(None)
    ADDRESS = {(A, 4): '10.77.0.1', (B, 4): '10.77.0.2', (A, 6): 'fd77::1', (B, 6): 'fd77::2'}

    def sock(host, family=4, kind=socket.SOCK_STREAM, protocol=0):
        with open('/run/netns/' + host) as f:
            assert libc.setns(f.fileno(), 0x40000000) == 0
        s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind, protocol)
        s.settimeout(0.5)
        return s

    def listen(host, port, family=4, protocol=0):
        s = sock(host, family, protocol=protocol)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((ADDRESS[host, family], port))
        s.listen(5)
        return s

    def connect(client, server, port, family=4, protocol=0):
        l = listen(server, port, family, protocol)
        c = sock(client, family, protocol=protocol)
        try:
            c.connect((ADDRESS[server, family], port))
            s, _ = l.accept()
        except OSError:
            return None
        finally:
            l.close()
        s.settimeout(0.5)
        return c, s

    def says(x, y, text=b'hello'):
        try:
            x.send(text)
            return y.recv(100).endswith(text)
        except OSError:
            return False

    def talks(pair):
        return bool(pair) and says(pair[0], pair[1], b'ping') and says(pair[1], pair[0], b'pong')

    def inA(command):
        return subprocess.run(['ip', 'netns', 'exec', A, 'sh', '-c', command], check=True, capture_output=True, text=True).stdout

    JOIN = bytes([30, 12, 0x10, 1, 0xAA, 0xBB, 0xCC, 0xDD, 1, 2, 3, 4])

    def total(data):
        data += bytes(1) * (len(data) % 2)
        n = sum(struct.unpack('!%dH' % (len(data) // 2), data))
        while n >> 16: n = (n & 0xFFFF) + (n >> 16)
        return ~n & 0xFFFF

    def segment(source, target, sport, dport, flags=2, options=b'', seq=1000, family=4):
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        head = struct.pack('!HHIIBBHHH', sport, dport, seq, 0, (20 + len(options)) // 4 << 4, flags, 65535, 0, 0)
        pseudo = socket.inet_pton(kind, ADDRESS[source, family]) + socket.inet_pton(kind, ADDRESS[target, family])
        pseudo += struct.pack('!HH', 6, len(head + options)) if family == 4 else struct.pack('!II', len(head + options), 6)
        return head[:16] + struct.pack('!H', total(pseudo + head + options)) + head[18:] + options

    def answered(source, target, dport, options=b'', family=4, sport=None):
        'Sends a SYN by hand; whether anything comes back (a reset counts).'
        sport = sport or 20000 + time.monotonic_ns() // 1000 % 40000
        s = sock(source, family, socket.SOCK_RAW, 6)
        s.sendto(segment(source, target, sport, dport, options=options, family=family), (ADDRESS[target, family], 0))
        deadline = time.monotonic() + 0.4
        while time.monotonic() < deadline:
            s.settimeout(max(0.01, deadline - time.monotonic()))
            try: data = s.recv(2000)
            except OSError: return False
            tcp = data[(data[0] & 15) * 4:] if family == 4 else data
            if struct.unpack('!HH', tcp[:4]) == (dport, sport): return True
        return False

    """
