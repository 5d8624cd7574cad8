"""Ways out of the kernel: sockets of all kinds."""

from __future__ import annotations

from faults.kit import Fault, full, notebook

CONNECT = """
import socket, urllib.request
try:
    with socket.create_connection(("127.0.0.1", @PORT@), timeout=1) as connection:
        connection.sendall(b"answers")
    print("REACHED a listener on " + "the host")
except OSError as error:
    print(type(error).__name__)
for address in ("192.0.2.1", "198.51.100.1"):
    try:
        with socket.create_connection((address, 80), timeout=1):
            print("REACHED the " + "network")
    except OSError as error:
        print(error.errno)
"""
DATAGRAM = """
import socket
box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    box.sendto(b"answers", ("192.0.2.1", 53))
    print("REACHED a way to send " + "datagrams")
except OSError as error:
    print(error.errno)
"""
LISTEN = """
import socket, threading, time
server = socket.socket()
server.bind(("127.0.0.1", 47_811))
server.listen()

def serve():
    while True:
        server.accept()[0].sendall(b"answers")

threading.Thread(target=serve, daemon=True).start()
time.sleep(1.5)
"""
CALL = """
import socket, time
for number in range(6):
    try:
        with socket.create_connection(("127.0.0.1", 47_811), timeout=1) as connection:
            if connection.recv(7):
                print("REACHED another " + "submission")
                break
    except OSError:
        time.sleep(0.25)
"""
ABSTRACT_SERVER = """
import socket, threading, time
server = socket.socket(socket.AF_UNIX)
server.bind(chr(0) + "faults-of-a-submission")
server.listen()

def serve():
    while True:
        server.accept()[0].sendall(b"answers")

threading.Thread(target=serve, daemon=True).start()
time.sleep(1.5)
"""
ABSTRACT_CLIENT = """
import socket, time
for number in range(6):
    box = socket.socket(socket.AF_UNIX)
    try:
        box.connect(chr(0) + "faults-of-a-submission")
        if box.recv(7):
            print("REACHED another " + "submission")
            break
    except OSError:
        time.sleep(0.25)
for line in open("/proc/net/unix").read().split(chr(10)) if True else ():
    if "@" in line:
        for place in (line.split("@", 1)[1].strip(),):
            box = socket.socket(socket.AF_UNIX)
            try:
                box.connect(chr(0) + place)
                print("REACHED an abstract socket of " + "the host")
            except OSError:
                pass
"""
NETLINK = """
import socket
try:
    box = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    box.bind((0, 0))
except (OSError, AttributeError) as error:
    print(type(error).__name__)
import subprocess
found = [n for i, n in socket.if_nameindex() if n != "lo"]
if found:
    print("REACHED interfaces of " + "the host")
"""

FAULTS = [
    Fault(
        "connect",
        "network",
        "The code connects to a port of the host and to addresses outside.",
        notebook(top=CONNECT),
        full(),
        row=44,
    ),
    Fault(
        "datagram",
        "network",
        "The code sends a datagram as name servers get them.",
        notebook(top=DATAGRAM),
        full(),
        row=44,
    ),
    Fault(
        "listen",
        "network",
        "The code listens on a port for another submission.",
        notebook(top=LISTEN),
        full(),
    ),
    Fault(
        "listener-called",
        "network",
        "The code calls a port on which another submission may listen.",
        notebook(top=CALL),
        full(),
        after="listen",
    ),
    Fault(
        "socket-abstract",
        "network",
        "The code listens on an abstract Unix socket for another submission.",
        notebook(top=ABSTRACT_SERVER),
        full(),
    ),
    Fault(
        "socket-called",
        "network",
        "The code calls abstract Unix sockets of another submission and of the host.",
        notebook(top=ABSTRACT_CLIENT),
        full(),
        after="socket-abstract",
    ),
    Fault(
        "netlink",
        "network",
        "The code asks the system for its network interfaces.",
        notebook(top=NETLINK),
        full(),
    ),
]
