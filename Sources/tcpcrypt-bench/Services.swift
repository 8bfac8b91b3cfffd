import Foundation

/// Servers on host b, the same for all.
extension HostPair {
    /// Answers bytes and receives bulk: TCP on ports from 7100 on, MPTCP from 7200 on.
    func startResponders(binaries: String) throws {
        for (name, port, options) in [("tcp", 7100, []), ("mptcp", 7200, ["--mptcp"])] {
            let words = [
                "\(binaries)/tcpcrypt-load", "serve", "--port", "\(port)", "--ports", "\(Subject.ports)", "--threads",
                "4",
            ]
            let job = try start(words + options, on: .b, named: name)
            try job.wait(seconds: 10) { job.output.contains("ready") }
        }
    }

    func makeCertificate() throws {
        guard !FileManager.default.fileExists(atPath: path("cert.pem")) else { return }
        try shell(
            """
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=b \
                -keyout $folder/key.pem -out $folder/cert.pem 2>$folder/openssl.log
            """, on: nil)
    }

    /// nginx: `/empty`, `/static` (1 KB), `/big` and `/dynamic` on ports from 8080 on, with TLS 1.3 from 4433 on.
    func startWeb() throws {
        guard Job.find("nginx") != nil else { throw BenchError.unavailable("nginx is not installed") }
        try makeCertificate()
        try write(HostPair.page, to: "page.py")
        let ports = (0..<Subject.ports).map {
            "listen \(8080 + $0) backlog=4096; listen \(4433 + $0) ssl backlog=4096;"
        }
        try write(
            """
            daemon off; pid \(path("nginx.pid")); user root; worker_processes auto; worker_rlimit_nofile 20000;
            error_log \(path("nginx.log"));
            events { worker_connections 8192; }
            http {
                access_log off; sendfile on; output_buffers 2 512k; ssl_buffer_size 64k; keepalive_requests 1000000;
                client_body_temp_path \(path("t")); proxy_temp_path \(path("t")); fastcgi_temp_path \(path("t"));
                uwsgi_temp_path \(path("t")); scgi_temp_path \(path("t"));
                upstream page { server unix:\(path("page.sock")); }
                server {
                    \(ports.joined(separator: " "))
                    ssl_certificate \(path("cert.pem")); ssl_certificate_key \(path("key.pem"));
                    ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
                    root \(path("www"));
                    location = /empty { return 204; }
                    location = /dynamic { proxy_pass http://page; }
                }
            }
            """, to: "nginx.conf")
        try shell(
            "mkdir -p $folder/www; head -c 1024 /dev/zero >$folder/www/static; truncate -s 512M $folder/www/big",
            on: nil)
        let page = try start(["python3", path("page.py"), path("page.sock")], on: .b, named: "page")
        try page.wait(seconds: 10) { page.output.contains("ready") }
        let web = try start(["nginx", "-e", path("nginx.log"), "-c", path("nginx.conf")], on: .b, named: "nginx")
        try waitForListener(4433, on: .b, of: web)
        webServer = web
    }

    /// A page that is made for each request, by four processes.
    private static let page = #"""
        import os, socket, sys, time
        server = socket.socket(socket.AF_UNIX)
        server.bind(sys.argv[1])
        server.listen(4096)
        os.chmod(sys.argv[1], 0o666)
        for _ in range(3):
            if os.fork() == 0:
                break
        else:
            print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            request = connection.recv(65536).decode("latin-1")
            rows = "".join(f"<tr><td>{row}</td><td>{row * row % 97}</td></tr>" for row in range(20))
            body = f"<html><p>{time.time():.6f} {request.split()[1] if request else ''}</p><table>{rows}</table></html>"
            connection.sendall(f"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            connection.close()
        """#
}
