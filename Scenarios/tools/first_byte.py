"""first_byte.py (serve PORT | measure ADDRESS PORT TIMES) [--v6] [--mptcp]: milliseconds from connect() to the answer's
first byte, the client speaking first. Prints the median, the least and the most."""
import socket
import statistics
import sys
import time

words = [word for word in sys.argv[1:] if not word.startswith("--")]
family = socket.AF_INET6 if "--v6" in sys.argv else socket.AF_INET
protocol = 262 if "--mptcp" in sys.argv else socket.IPPROTO_TCP


def serve(port):
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.listen(64)
    print("listening", flush=True)
    while True:
        connection, _ = sock.accept()
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if connection.recv(1):
                    connection.send(b"!")
                    connection.recv(1)
        except ConnectionError:
            # Peers may reset what they have opened.
            pass


def measure(address, port, times):
    taken = []
    for _ in range(times):
        sock = socket.socket(family, socket.SOCK_STREAM, protocol)
        began = time.perf_counter()
        sock.connect((address, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.send(b"?")
        sock.recv(1)
        taken.append((time.perf_counter() - began) * 1000)
        sock.close()
        time.sleep(0.02)
    print(f"{statistics.median(taken):.3f} {min(taken):.3f} {max(taken):.3f}")


if words[0] == "serve":
    serve(int(words[1]))
else:
    measure(words[1], int(words[2]), int(words[3]))
