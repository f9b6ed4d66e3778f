"""Stands in for the `tests/utils.py` that nats-py's source package leaves out.

It starts the `nats-server` of PATH as that file does: with users, tokens, certificates, nkeys,
accounts. Classes for features that are missing skip their tests, with the reason.
"""

import asyncio
import functools
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

CERTS = os.environ["NATS_PY_CERTS"]
# The name and the seed of a user; the seed is in the documentation of nkeys.
USER = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"


class NATSD:
    def __init__(self, port=4222, http_port=8222, user="", password="", token="", tls=False,
                 config="", **unsupported):
        if unsupported:
            raise unittest.SkipTest(f"needs {', '.join(unsupported)}")
        self.port = port
        self.http_port = http_port
        self.proc = None
        self.flags = ["-a", "127.0.0.1"]
        self.config = config
        if user:
            self.flags += ["--user", user, "--pass", password]
        if token:
            self.flags += ["--auth", token]
        if tls:
            for flag, file in [("cert", "server-cert"), ("key", "server-key"), ("cacert", "ca")]:
                self.flags += [f"--tls{flag}", f"{CERTS}/{file}.pem"]
            self.flags += ["--tls", "--tlsverify"]

    def start(self):
        command = ["nats-server", "-p", str(self.port), "-m", str(self.http_port), *self.flags]
        if self.config:
            self.file = tempfile.NamedTemporaryFile("w", suffix=".conf")
            self.file.write(self.config)
            self.file.flush()
            command += ["-c", self.file.name]
        quiet = subprocess.DEVNULL
        self.proc = subprocess.Popen(command, stdout=quiet, stderr=quiet)

    def stop(self):
        if self.proc.poll() is None:
            os.kill(self.proc.pid, signal.SIGKILL)
        self.proc.wait()
        # The kernel closes what an io_uring still held a moment after its process has gone; whoever
        # comes to that listener is reset.
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except ConnectionRefusedError:
                return
            except OSError:
                pass
            time.sleep(0.005)


def start_natsd(natsd, seconds_max=10):
    natsd.start()
    end = time.monotonic() + seconds_max
    while True:
        if natsd.proc.poll() is not None:
            raise RuntimeError(f"nats-server ended with {natsd.proc.returncode}")
        try:
            # One that greets over TLS says nothing first.
            with socket.create_connection(("127.0.0.1", natsd.port), timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _cases(*servers, client_certs=False):
    """A class of tests with a fresh set of servers for each of them."""

    class Case(unittest.TestCase):
        def setUp(self):
            self.loop = asyncio.new_event_loop()
            self.server_pool = [NATSD(**words) for words in servers]
            for natsd in self.server_pool:
                start_natsd(natsd)
            if client_certs:
                self.ssl_ctx = ssl.create_default_context(purpose=ssl.Purpose.SERVER_AUTH)
                self.ssl_ctx.load_verify_locations(f"{CERTS}/ca.pem")
                self.ssl_ctx.load_cert_chain(f"{CERTS}/client-cert.pem", f"{CERTS}/client-key.pem")

        def tearDown(self):
            for natsd in self.server_pool:
                natsd.stop()
            self.loop.close()

    return Case


_FIRST = f"""tls {{ cert_file: "{CERTS}/server-cert.pem", key_file: "{CERTS}/server-key.pem",
  ca_file: "{CERTS}/ca.pem", verify: true, handshake_first: true }}"""
_NO_AUTH_USER = """no_auth_user: foo
accounts { ACME { users: [
  { user: foo, password: foo }
  { user: bar, password: bar, permissions: { subscribe: { deny: foo } } }
] } }"""
_NKEYS = f"""authorization {{ users: [ {{ nkey: {USER}, permissions: {{
  publish: [help, "_INBOX.>"], subscribe: [help, "_INBOX.>"] }} }} ] }}"""

_ONE = dict(port=4223, http_port=8223)
_TWO = dict(port=4224, http_port=8224)
_THREE = dict(port=4225, http_port=8225)
_FOO = dict(_ONE, user="foo", password="bar")
_HOGE = dict(_TWO, user="hoge", password="fuga")

SingleServerTestCase = _cases(dict())
MultiServerAuthTestCase = _cases(_FOO, _HOGE)
MultiServerAuthTokenTestCase = _cases(
    dict(_ONE, token="token"), dict(_TWO, token="token"), dict(_THREE, token="secret"))
TLSServerTestCase = _cases(dict(_TWO, tls=True), client_certs=True)
MultiTLSServerAuthTestCase = _cases(
    dict(_FOO, tls=True), dict(_HOGE, tls=True), client_certs=True)
TLSServerHandshakeFirstTestCase = _cases(dict(_TWO, config=_FIRST), client_certs=True)
NoAuthUserServerTestCase = _cases(dict(port=4555, http_port=8555, config=_NO_AUTH_USER))
NkeysServerTestCase = _cases(dict(config=_NKEYS))


def _left_out(name, reason):
    def set_up(self):
        self.skipTest(reason)

    return type(name, (unittest.TestCase,), {"setUp": set_up})


ClusteringTestCase = _left_out("ClusteringTestCase", "needs routes")
ClusteringDiscoveryAuthTestCase = _left_out("ClusteringDiscoveryAuthTestCase", "needs routes")
SingleJetStreamServerTestCase = _left_out("SingleJetStreamServerTestCase", "needs JetStream")
TrustedServerTestCase = _left_out("TrustedServerTestCase", "needs keys the package leaves out")


def get_config_file(path):
    if path != "nkeys/foo-user.nk":
        raise unittest.SkipTest(f"needs {path}, which the package leaves out")
    file = os.path.join(CERTS, "foo-user.nk")
    with open(file, "w") as seed:
        seed.write(SEED)
    return file


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
