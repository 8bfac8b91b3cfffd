"""smtp_server.py PORT DIRECTORY: a mail server just big enough for one that speaks first; mails land in DIRECTORY/mail-N."""
import socket
import sys
import threading


def serve(connection, path):
    stream = connection.makefile("rwb")

    def say(line):
        stream.write(line + b"\r\n")
        stream.flush()

    say(b"220 test ESMTP")
    while line := stream.readline():
        word = line[:4].upper().strip()
        if word == b"DATA":
            say(b"354 go on")
            with open(path, "wb") as mail:
                while (line := stream.readline()) not in (b".\r\n", b""):
                    mail.write(line[1:] if line.startswith(b".") else line)
            say(b"250 kept")
        elif word == b"QUIT":
            say(b"221 bye")
            break
        else:
            say(b"250 ok")
    connection.close()


sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("::", int(sys.argv[1])))
sock.listen(16)
number = 0
while True:
    accepted, _ = sock.accept()
    threading.Thread(target=serve, args=(accepted, f"{sys.argv[2]}/mail-{number}"), daemon=True).start()
    number += 1
