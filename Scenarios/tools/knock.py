"""knock.py ADDRESS PORT [--mptcp] [--fastopen] [--wait SECONDS]: asks for /file over HTTP once; prints what came of it and the milliseconds it
took, as in `ECONNREFUSED 1` or `200 12`.
knock.py --serve PORT: a server for --fastopen, which answers 200 to what begins with GET.
knock.py --cross ADDRESS PORT: opens from this port to the same of another host that does so too; `crossed` where each has the other's request, and
then waits for its end."""
import errno
import socket
import sys
import time

words = [word for word in sys.argv[1:] if not word.startswith("--")]
flags = {word for word in sys.argv[1:] if word.startswith("--")}
REQUEST = b"GET /file HTTP/1.0\r\n\r\n"

if "--serve" in flags:
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    listener.bind(("::", int(words[0])))
    listener.listen(16)
    while True:
        connection, _ = listener.accept()
        connection.settimeout(5)
        try:
            if connection.recv(1000).startswith(b"GET"):
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"PLAINTEXT-MARKER" * 100)
        except OSError:
            pass
        connection.close()

if "--cross" in flags:
    address, port = words[0], int(words[1])
    end = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    end.settimeout(10)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end.bind(("::" if ":" in address else "0.0.0.0", port))
    try:
        end.connect((address, port))
        end.sendall(REQUEST)
        print("crossed" if end.recv(1000) == REQUEST else "WRONG", flush=True)
        end.recv(1000)
    except OSError as error:
        print(errno.errorcode.get(error.errno) or type(error).__name__, flush=True)
    sys.exit()

address, port = words[0], int(words[1])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
client = socket.socket(family, socket.SOCK_STREAM, 262 if "--mptcp" in flags else 0)
client.settimeout(float(words[2]) if "--wait" in flags else 10)
began = time.monotonic()
try:
    if "--fastopen" in flags:
        # With a timeout the socket would not block, and without a cookie this call would only begin.
        client.settimeout(None)
        client.sendto(REQUEST, socket.MSG_FASTOPEN, (address, port))
    else:
        client.connect((address, port))
        client.sendall(REQUEST)
    answer = b""
    while data := client.recv(1 << 16):
        answer += data
    result = answer[9:12].decode() or "empty"
except OSError as error:
    result = errno.errorcode.get(error.errno) or type(error).__name__
print(result, int((time.monotonic() - began) * 1000))
