"""Stands in for the `tests/utils.py` that nats-py's source package leaves out.

It starts the `nats-server` of PATH. Only what the core tests use is here; classes for features that
this run leaves out skip their tests.
"""

import asyncio
import functools
import os
import signal
import socket
import subprocess
import time
import unittest


class NATSD:
    def __init__(self, port=4222, http_port=8222, **unsupported):
        if unsupported:
            raise unittest.SkipTest(f"needs {', '.join(unsupported)}")
        self.port = port
        self.http_port = http_port
        self.proc = None

    def start(self):
        ports = ["-p", str(self.port), "-m", str(self.http_port)]
        command = ["nats-server", "-a", "127.0.0.1", *ports]
        quiet = subprocess.DEVNULL
        self.proc = subprocess.Popen(command, stdout=quiet, stderr=quiet)

    def stop(self):
        if self.proc.poll() is None:
            os.kill(self.proc.pid, signal.SIGKILL)
        self.proc.wait()


def start_natsd(natsd, seconds_max=10):
    natsd.start()
    end = time.monotonic() + seconds_max
    while True:
        if natsd.proc.poll() is not None:
            raise RuntimeError(f"nats-server ended with {natsd.proc.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", natsd.port), timeout=5) as client:
                if client.recv(5) == b"INFO ":
                    return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


class SingleServerTestCase(unittest.TestCase):
    def setUp(self):
        self.loop = asyncio.new_event_loop()
        self.server_pool = [NATSD()]
        for natsd in self.server_pool:
            start_natsd(natsd)

    def tearDown(self):
        for natsd in self.server_pool:
            natsd.stop()
        self.loop.close()


def _left_out(name, reason):
    def set_up(self):
        self.skipTest(reason)

    return type(name, (unittest.TestCase,), {"setUp": set_up})


MultiServerAuthTestCase = _left_out("MultiServerAuthTestCase", "needs users and passwords")
MultiServerAuthTokenTestCase = _left_out("MultiServerAuthTokenTestCase", "needs tokens")
NoAuthUserServerTestCase = _left_out("NoAuthUserServerTestCase", "needs accounts and no_auth_user")
ClusteringTestCase = _left_out("ClusteringTestCase", "needs routes")
ClusteringDiscoveryAuthTestCase = _left_out("ClusteringDiscoveryAuthTestCase", "needs routes")
TLSServerTestCase = _left_out("TLSServerTestCase", "needs TLS certificates")
MultiTLSServerAuthTestCase = _left_out("MultiTLSServerAuthTestCase", "needs TLS and users")
TLSServerHandshakeFirstTestCase = _left_out("TLSServerHandshakeFirstTestCase", "needs TLS")
SingleJetStreamServerTestCase = _left_out("SingleJetStreamServerTestCase", "needs JetStream")


def get_config_file(path):
    raise unittest.SkipTest(f"needs {path}, which the package leaves out")


def _with_time_max(seconds):
    def decorate(test):
        @functools.wraps(test)
        def run(case, *args, **kw):
            asyncio.set_event_loop(case.loop)
            return asyncio.run(asyncio.wait_for(test(case, *args, **kw), seconds))

        return run

    return decorate


async_test = _with_time_max(10)
async_long_test = _with_time_max(20)
