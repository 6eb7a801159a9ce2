#!/usr/bin/env python3
"""Prints N free TCP ports of 127.0.0.1, or with --check PORT... says which of them is taken (exit status 1)."""
import socket
import sys


def main() -> int:
    if sys.argv[1] == "--check":
        for port in map(int, sys.argv[2:]):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    print(f"error: port {port} cannot be used: {error.strerror}", file=sys.stderr)
                    return 1
        return 0
    sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    print(*(one.getsockname()[1] for one in sockets))
    return 0


if __name__ == "__main__":
    sys.exit(main())
