#!/usr/bin/env python3
"""Runs a server that is asked something once a second: asked.py path,path program arguments...
The monitoring port is the kernel's choice. With no path the server is left alone, but monitored alike."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

EVERY_S = 1.0
ANSWER_S_MAX = 5.0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def leave_cores(cores):
    """Asks from where the server is not, if there is such a place."""
    others = set(range(os.cpu_count() or 1)) - cores
    if others:
        try:
            os.sched_setaffinity(0, others)
        except OSError:
            pass


def main():
    paths = [path for path in sys.argv[1].split(",") if path]
    port = free_port()
    server = subprocess.Popen([*sys.argv[2:], "-m", str(port)])
    leave_cores(os.sched_getaffinity(0))
    failed = 0
    while server.poll() is None:
        began = time.monotonic()
        for path in paths:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=ANSWER_S_MAX) as answer:
                    answer.read()
                    failed = 0
            except (OSError, urllib.error.URLError):
                failed += 1
        # Not up yet, or going down; a server that never answers makes the run worthless.
        if failed > 20:
            server.terminate()
            sys.exit(f"asked.py: no answer from port {port}")
        rest = EVERY_S - (time.monotonic() - began)
        try:
            server.wait(timeout=max(0.01, rest))
        except subprocess.TimeoutExpired:
            pass
    sys.exit(server.returncode)


main()
