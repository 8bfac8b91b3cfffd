"""squatter.py QUEUE: binds a netfilter queue (NFQNL_MSG_CONFIG, NFQNL_CFG_CMD_BIND), says so and keeps it."""

import socket
import struct
import sys
import time

netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
netlink.bind((0, 0))
command = struct.pack("=HHBxH", 8, 1, 1, 0)
body = struct.pack("=BB", 0, 0) + struct.pack("!H", int(sys.argv[1])) + command
netlink.send(struct.pack("=IHHII", 16 + len(body), 3 << 8 | 2, 5, 1, 0) + body)
error = struct.unpack_from("=i", netlink.recv(4096), 16)[0]
print("bound" if error == 0 else f"error {error}", flush=True)
time.sleep(600)
