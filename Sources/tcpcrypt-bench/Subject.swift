import Foundation

/// What carries the connections of a row. Each has a pair of hosts of its own, which waits while others are measured.
enum Subject: String, CaseIterable, Sendable {
    case plain
    /// divert-nothing: every packet goes to user space and back with its bytes.
    case mangle
    /// The same without bytes in the verdict.
    case accept
    /// The same with AES-128-GCM over the payload at both ends.
    case cipher
    /// A TUN device and packet sockets in place of NFQUEUE, and the same with AES-128-GCM: what another data path could give.
    case tunnel, tunnelCipher
    case tcpcryptd
    /// Without resumption: each connection exchanges keys.
    case fresh
    case stunnel
    case ssh
    case wireguard

    var title: String {
        switch self {
        case .plain: "plain"
        case .mangle: "do-nothing (mangling)"
        case .accept: "do-nothing (accept only)"
        case .cipher: "do-nothing with AES-GCM"
        case .tunnel: "TUN, does nothing"
        case .tunnelCipher: "TUN with AES-GCM"
        case .tcpcryptd: "tcpcryptd"
        case .fresh: "tcpcryptd, fresh keys"
        case .stunnel: "stunnel TLS 1.3"
        case .ssh: "ssh -L"
        case .wireguard: "wireguard-go"
        }
    }

    /// Where on the client's host the bulk receiver is reached.
    var bulkTarget: [String] {
        switch self {
        case .stunnel, .ssh: ["--address", "127.0.0.1", "--port", "7300"]
        case .wireguard: ["--address", "10.99.0.2", "--port", "7100"]
        case .tunnel, .tunnelCipher: ["--address", "10.98.0.2", "--port", "7100", "--ports", "\(Subject.ports)"]
        default: ["--address", HostPair.serverAddress, "--port", "7100", "--ports", "\(Subject.ports)"]
        }
    }

    /// Servers listen on so many ports in a row: divert-nothing has a queue and a thread for each.
    static let ports = 8

    /// Makes the pair what the row says.
    func prepare(_ pair: HostPair, binaries: String) throws {
        switch self {
        case .plain: break
        case .mangle: try startDiverting([], pair, binaries)
        case .accept: try startDiverting(["--accept-only"], pair, binaries)
        case .cipher: try startDiverting(["--aes"], pair, binaries)
        case .tunnel: try startTunnel([], pair, binaries)
        case .tunnelCipher: try startTunnel(["--aes"], pair, binaries)
        case .tcpcryptd: try startDaemons("{}", pair, binaries)
        case .fresh: try startDaemons(#"{"resumption": false}"#, pair, binaries)
        case .stunnel: try startStunnel(pair)
        case .ssh: try startSSH(pair)
        case .wireguard: try startWireguard(pair)
        }
    }

    private func startDaemons(_ settings: String, _ pair: HostPair, _ binaries: String) throws {
        try pair.write(settings, to: "daemon.json")
        pair.controller = "\(binaries)/tcpcryptctl"
        pair.resumes = self == .tcpcryptd
        for host in HostPair.Host.allCases {
            let words = [
                "\(binaries)/tcpcryptd", "--config", pair.path("daemon.json"), "--control", pair.path("\(host).sock"),
            ]
            let daemon = try pair.start(words, on: host, named: "tcpcryptd", isProduct: true)
            try daemon.wait(seconds: 20) { daemon.errors.contains("ready") }
        }
    }

    /// The hooks of tcpcryptd's rules. Server ports choose the queue, and paths, so that both ends agree and flows share no thread.
    private func startDiverting(_ options: [String], _ pair: HostPair, _ binaries: String) throws {
        var rules = ["*security", ":P1 - [0:0]", ":P2 - [0:0]"]
        for path in 1...2 {
            rules += ["-A INPUT -i p\(path) -p tcp -j P\(path)", "-A OUTPUT -o p\(path) -p tcp -j P\(path)"]
            rules += (0..<Subject.ports).map {
                "-A P\(path) -p tcp -m multiport --ports \(7100 + $0),\(7200 + $0),\(8080 + $0),\(4433 + $0) "
                    + "-j NFQUEUE --queue-num \(path * 100 + $0)"
            }
        }
        try pair.write((rules + ["COMMIT", ""]).joined(separator: "\n"), to: "rules")
        let queues = (1...2).flatMap { path in (0..<Subject.ports).map { "\(path * 100 + $0)" } }
        for host in HostPair.Host.allCases {
            let words = ["\(binaries)/divert-nothing"] + options + queues
            let diverter = try pair.start(words, on: host, named: "divert", isProduct: true)
            try diverter.wait(seconds: 10) { diverter.errors.contains("ready") }
            try pair.shell("iptables-restore --noflush <$folder/rules", on: host)
        }
    }

    /// Packets of 10.98.0.0/24 cross p1; both kernels see them on the TUN device alone.
    private func startTunnel(_ options: [String], _ pair: HostPair, _ binaries: String) throws {
        for host in HostPair.Host.allCases {
            let peer = try pair.shell("cat /sys/class/net/p1/address", on: host == .a ? .b : .a)
            let words =
                ["\(binaries)/divert-nothing", "--tunnel"] + options
                + ["t0", "p1", peer.trimmingCharacters(in: .whitespacesAndNewlines), "\(Subject.ports)"]
            let diverter = try pair.start(words, on: host, named: "divert", isProduct: true)
            try diverter.wait(seconds: 10) { diverter.errors.contains("ready") }
            try pair.shell(
                """
                iptables -w -t raw -A PREROUTING -i p1 -d 10.98.0.0/24 -j DROP
                ip address add 10.98.0.\(host == .a ? 1 : 2)/24 dev t0
                ip link set t0 up
                """, on: host)
        }
    }

    private func startStunnel(_ pair: HostPair) throws {
        try pair.makeCertificate()
        let common = "foreground = yes\npid =\nsslVersionMin = TLSv1.3\nciphersuites = TLS_AES_128_GCM_SHA256\n"
        try pair.write(
            common + "cert = \(pair.path("cert.pem"))\nkey = \(pair.path("key.pem"))\n[bulk]\naccept = 10.71.1.2:7400\n"
                + "connect = 127.0.0.1:7100\n", to: "stunnel-b.conf")
        try pair.write(
            common + "[bulk]\nclient = yes\naccept = 127.0.0.1:7300\nconnect = 10.71.1.2:7400\n", to: "stunnel-a.conf")
        for host in HostPair.Host.allCases {
            let words = ["stunnel4", pair.path("stunnel-\(host).conf")]
            let job = try pair.start(words, on: host, named: "stunnel", isProduct: true)
            try pair.waitForListener(host == .a ? 7300 : 7400, on: host, of: job)
        }
    }

    private func startSSH(_ pair: HostPair) throws {
        guard Job.find("sshd") != nil else { throw BenchError.unavailable("sshd is not installed") }
        try pair.shell(
            """
            ssh-keygen -q -t ed25519 -N '' -f $folder/host_key
            ssh-keygen -q -t ed25519 -N '' -f $folder/user_key
            cp $folder/user_key.pub $folder/authorized
            printf '%s\\n' 'Port 2222' "HostKey $folder/host_key" "AuthorizedKeysFile $folder/authorized" 'StrictModes no' \
                'UsePAM no' 'PermitRootLogin yes' 'PidFile none' >$folder/sshd.conf
            """, on: nil)
        // sshd insists on that folder; one that was not there goes again at the end.
        pair.borrow("/run/sshd")
        let server = try pair.start(
            ["/usr/sbin/sshd", "-D", "-e", "-f", pair.path("sshd.conf")], on: .b, named: "sshd", isProduct: true)
        try pair.waitForListener(2222, on: .b, of: server)
        let options = [
            "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR",
            "Ciphers=aes128-gcm@openssh.com", "ExitOnForwardFailure=yes",
        ]
        let words =
            ["ssh", "-F", "none", "-N", "-p", "2222", "-i", pair.path("user_key"), "-L", "7300:127.0.0.1:7100"]
            + options.flatMap { ["-o", $0] } + ["root@10.71.1.2"]
        let client = try pair.start(words, on: .a, named: "ssh", isProduct: true)
        try pair.waitForListener(7300, on: .a, of: client)
    }

    private func startWireguard(_ pair: HostPair) throws {
        for program in ["wireguard-go", "wg"] where Job.find(program) == nil {
            throw BenchError.unavailable("\(program) is not installed")
        }
        try pair.shell(
            "umask 077; for host in a b; do wg genkey >$folder/$host.key; wg pubkey <$folder/$host.key >$folder/$host.pub; done",
            on: nil)
        pair.borrow("/run/wireguard")
        for host in HostPair.Host.allCases {
            // The control socket is named after the device, in a folder that all namespaces share.
            let device = "tcb\(getpid())\(host)"
            let job = try pair.start(["wireguard-go", "-f", device], on: host, named: "wireguard", isProduct: true)
            let other = host == .a ? "b" : "a"
            try job.wait(seconds: 10) {
                FileManager.default.fileExists(atPath: "/run/wireguard/\(device).sock")
            }
            try pair.shell(
                """
                wg set \(device) listen-port 51820 private-key $folder/\(host).key peer $(cat $folder/\(other).pub) \
                    allowed-ips 10.99.0.0/24 endpoint 10.71.1.\(host == .a ? 2 : 1):51820
                ip address add 10.99.0.\(host == .a ? 1 : 2)/24 dev \(device)
                ip link set \(device) mtu 1420 up
                """, on: host)
        }
    }
}
