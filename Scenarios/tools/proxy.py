"""proxy.py PORT ADDRESS: passes one connection on to the same port of an address, both ways, and prints what its client says, for it can read it."""
import socket
import sys
import threading


def passes(source, target, seen):
    try:
        while data := source.recv(65536):
            if seen:
                sys.stdout.write(data.decode("latin-1"))
                sys.stdout.flush()
            target.sendall(data)
    except OSError:
        pass
    for end in source, target:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("", int(sys.argv[1])))
listener.listen(1)
client, _ = listener.accept()
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
server.connect((sys.argv[2], int(sys.argv[1])))
threading.Thread(target=passes, args=(server, client, False), daemon=True).start()
passes(client, server, True)
