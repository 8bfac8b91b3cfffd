"""mptcp_pm.py COMMAND ...: what a path manager in user space tells the kernel of this namespace (net.mptcp.pm_type=1), by generic
netlink (uapi/linux/mptcp.h). TOKEN is the connection's local one, in hexadecimal. The kernel obeys while somebody listens to its events: `ip mptcp monitor`.

announce TOKEN ADDRESS ID             ADD_ADDR to the peer; joins may come to the address
remove TOKEN ID                       REMOVE_ADDR to the peer
create TOKEN LOCAL ID REMOTE PORT     opens a subflow, by a port of the kernel's choice
destroy TOKEN LOCAL PORT REMOTE PORT  ends one
mesh TOKEN COUNT PORT LOCAL... -- REMOTE...
     so many subflows, from each local address to each remote one in turn, beginning with the second local to the first remote; the
     addresses' ids are 1, 2 and so on
"""
import ipaddress
import os
import socket
import struct
import sys

REQUEST, ACKNOWLEDGE, NESTED = 1, 4, 0x8000
GET_FAMILY, FAMILY_ID, FAMILY_NAME = 3, 1, 2
ANNOUNCE, REMOVE, CREATE, DESTROY = 8, 9, 10, 11
ADDRESS, TOKEN, LOCAL_ID, REMOTE = 1, 4, 5, 6
FAMILY, ID, IPV4, IPV6, PORT, FLAGS = 1, 2, 3, 4, 5, 6
SIGNAL, SUBFLOW = 1, 2


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def address(kind, text, number=None, port=None, flags=0):
    """The nested attribute of an address; `number` is its id."""
    value = ipaddress.ip_address(text)
    inner = attribute(FAMILY, struct.pack("=H", socket.AF_INET if value.version == 4 else socket.AF_INET6))
    inner += attribute(IPV4 if value.version == 4 else IPV6, value.packed)
    if number is not None:
        inner += attribute(ID, bytes([number]))
    if port is not None:
        inner += attribute(PORT, struct.pack("=H", port))
    if flags:
        inner += attribute(FLAGS, struct.pack("=I", flags))
    return attribute(kind | NESTED, inner)


class Kernel:
    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.socket.bind((0, 0))
        self.sequence, self.family, self.version = 0, 16, 1
        body = self.ask(GET_FAMILY, attribute(FAMILY_NAME, b"mptcp_pm\0"))
        # The attributes after the header of 4 bytes.
        position = 4
        while position + 4 <= len(body):
            length, kind = struct.unpack_from("=HH", body, position)
            if kind == FAMILY_ID:
                self.family, = struct.unpack_from("=H", body, position + 4)
            position += (length + 3) & ~3

    def ask(self, command, attributes):
        """Sends and returns the body of what was answered; an error of the kernel's is an OSError."""
        self.sequence += 1
        body = struct.pack("=BBH", command, self.version, 0) + attributes
        self.socket.send(struct.pack("=IHHII", 16 + len(body), self.family, REQUEST | ACKNOWLEDGE, self.sequence, 0) + body)
        answer = b""
        while True:
            data = self.socket.recv(1 << 16)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind == 2:
                    error, = struct.unpack_from("=i", data, 16)
                    if error:
                        raise OSError(-error, os.strerror(-error))
                    return answer
                answer, data = data[16:length], data[(length + 3) & ~3:]


def main():
    command, token, words = sys.argv[1], attribute(TOKEN, struct.pack("=I", int(sys.argv[2], 16))), sys.argv[3:]
    kernel = Kernel()
    if command == "announce":
        kernel.ask(ANNOUNCE, token + address(ADDRESS, words[0], int(words[1]), flags=SIGNAL))
    elif command == "remove":
        kernel.ask(REMOVE, token + attribute(LOCAL_ID, bytes([int(words[0])])))
    elif command == "create":
        kernel.ask(CREATE, token + address(ADDRESS, words[0], int(words[1]), flags=SUBFLOW) + address(REMOTE, words[2], port=int(words[3])))
    elif command == "destroy":
        kernel.ask(DESTROY, token + address(ADDRESS, words[0], port=int(words[1])) + address(REMOTE, words[2], port=int(words[3])))
    elif command == "mesh":
        count, port, middle = int(words[0]), int(words[1]), words.index("--")
        locals_, remotes = words[2:middle], words[middle + 1:]
        pairs = [(number, here, there) for there in remotes for number, here in enumerate(locals_, 1)]
        for turn in range(count):
            number, here, there = pairs[(turn + 1) % len(pairs)]
            kernel.ask(CREATE, token + address(ADDRESS, here, number, flags=SUBFLOW) + address(REMOTE, there, port=port))
    else:
        sys.exit(__doc__)


main()
