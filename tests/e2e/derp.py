"""A small client of relays (DERP): TLS, the upgrade, the login, and frames.
src: tailscale 1.102 derp/derp.go, derp/derp_client.go. NaCl's box comes from libsodium, which the server needs
anyway"""
import ctypes
import ctypes.util
import json
import os
import ssl
import struct

from wire import Key

SERVER_KEY, CLIENT_INFO, SERVER_INFO, SEND_PACKET, RECV_PACKET = 1, 2, 3, 4, 5
PEER_GONE, PEER_PRESENT, WATCH_CONNS = 8, 9, 16
DISCONNECTED, NOT_HERE = 0, 1
MAGIC = b"DERP\xf0\x9f\x94\x91"
DISCO = b"TS\xf0\x9f\x92\xac" + bytes(56)  # looks like a disco message

_sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))


def _box(private_hex, public, plain):
    nonce, sealed = os.urandom(24), ctypes.create_string_buffer(len(plain) + 16)
    rc = _sodium.crypto_box_easy(sealed, plain, ctypes.c_ulonglong(len(plain)), nonce, public,
                                 bytes.fromhex(private_hex))
    assert rc == 0
    return nonce + sealed.raw


class Derp:
    """One connection, logged in with a key of its own (or `key`), from the namespace `space` to `address`. Certificates
    are not checked."""

    def __init__(self, space, address, key=None, mesh_key=None):
        self.key = key or Key()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sock = context.wrap_socket(space.connect(address))
        self.sock.sendall(b"GET /derp HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n")
        self.got = b""
        while b"\r\n\r\n" not in self.got:
            self._more()
        head, self.got = self.got.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        greeting = self.expect(SERVER_KEY)
        assert greeting[:8] == MAGIC
        info = {"version": 2, "CanAckPings": False}
        if mesh_key:
            info["meshKey"] = mesh_key
        self.send(CLIENT_INFO, self.key.public
                  + _box(self.key.private_hex(), greeting[8:40], json.dumps(info).encode()))
        self.expect(SERVER_INFO)

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the relay closed the connection")
        self.got += data

    def send(self, kind, payload=b""):
        self.sock.sendall(struct.pack(">BI", kind, len(payload)) + payload)

    def packet(self, to, data):
        self.send(SEND_PACKET, to + data)

    def frame(self, timeout=10):
        """The next frame: type and payload. TimeoutError when none comes."""
        self.sock.settimeout(timeout)
        while len(self.got) < 5 or len(self.got) < 5 + struct.unpack(">I", self.got[1:5])[0]:
            self._more()
        end = 5 + struct.unpack(">I", self.got[1:5])[0]
        kind, payload, self.got = self.got[0], self.got[5:end], self.got[end:]
        return kind, payload

    def expect(self, kind, timeout=10):
        """The payload of the next frame of this type; others are skipped."""
        while True:
            got, payload = self.frame(timeout)
            if got == kind:
                return payload

    def close(self):
        self.sock.close()
