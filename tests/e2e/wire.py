"""A small client of the control protocol, for what official clients would never do: Noise handshake, records, and
HTTP/2 requests inside. Also cheap: one process can be hundreds of machines.
src: Noise Protocol Framework rev. 34; RFC 9113; tailscale 1.102 control/controlbase, control/ts2021"""
import base64
import hashlib
import hmac
import json
import os
import struct

import h2.config
import h2.connection
import h2.events
import h2.settings
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

VERSION = 113  # the oldest supported release, 1.80
NAME = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"


class Closed(Exception):
    """The server ended the connection."""


class Key:
    """An X25519 key pair."""

    def __init__(self):
        self.private = X25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def agree(self, public):
        return self.private.exchange(X25519PublicKey.from_public_bytes(public))

    def text(self, prefix):
        return prefix + ":" + self.public.hex()

    def private_hex(self):
        return self.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()).hex()


def _blake2s(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()


def _hkdf(chain, key_input):
    secret = hmac.new(chain, key_input, hashlib.blake2s).digest()
    first = hmac.new(secret, b"\x01", hashlib.blake2s).digest()
    return first, hmac.new(secret, first + b"\x02", hashlib.blake2s).digest()


class Handshake:
    """The initiator of Noise IK. `ephemeral` is given by tests only."""

    def __init__(self, machine, server_public, version=VERSION, ephemeral=None):
        self.machine, self.server, self.version = machine, server_public, version
        self.ephemeral = ephemeral or Key()
        self.chain = self.hash = _blake2s(NAME)
        self._mix_hash(b"Tailscale Control Protocol v%d" % version)
        self._mix_hash(server_public)

    def _mix_hash(self, data):
        self.hash = _blake2s(self.hash, data)

    def _seal(self, key, plain):
        sealed = ChaCha20Poly1305(key).encrypt(bytes(12), plain, self.hash)
        self._mix_hash(sealed)
        return sealed

    def initiation(self):
        self._mix_hash(self.ephemeral.public)
        self.chain, key = _hkdf(self.chain, self.ephemeral.agree(self.server))
        static = self._seal(key, self.machine.public)
        self.chain, key = _hkdf(self.chain, self.machine.agree(self.server))
        tag = self._seal(key, b"")
        return struct.pack(">HBH", self.version, 1, 96) + self.ephemeral.public + static + tag

    def finish(self, response):
        """Transport keys (client to server, server to client)."""
        assert response[:3] == b"\x02\x00\x30", response[:3]
        theirs, tag = response[3:35], response[35:51]
        self._mix_hash(theirs)
        self.chain, _ = _hkdf(self.chain, self.ephemeral.agree(theirs))
        self.chain, key = _hkdf(self.chain, self.machine.agree(theirs))
        ChaCha20Poly1305(key).decrypt(bytes(12), tag, self.hash)
        return _hkdf(self.chain, b"")


class Session:
    """One Noise connection. `sock` is connected (and in TLS if the server requires it) and becomes the session's."""

    def __init__(self, sock, server_public, machine, version=VERSION):
        self.sock, self.machine = sock, machine
        self.inbox, self.plain = b"", b""
        self.sent = self.got = 0
        handshake = Handshake(machine, server_public, version)
        sock.sendall(upgrade_request(handshake.initiation()))
        while b"\r\n\r\n" not in self.inbox:
            self._receive()
        head, self.inbox = self.inbox.split(b"\r\n\r\n", 1)
        self.status_line = head.split(b"\r\n")[0].decode()
        if " 101 " not in self.status_line + " ":
            raise Closed(self.status_line)
        while len(self.inbox) < 51 and self.inbox[:1] != b"\x03":
            self._receive()
        if self.inbox[:1] == b"\x03":
            raise Closed(self.inbox[3:].decode(errors="replace"))
        send_key, receive_key = handshake.finish(self.inbox[:51])
        self.inbox = self.inbox[51:]
        self.sealer, self.opener = ChaCha20Poly1305(send_key), ChaCha20Poly1305(receive_key)
        self.h2, self.streams, self.is_early_done = None, {}, False

    def close(self):
        self.sock.close()

    def _receive(self):
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("end of stream")
        self.inbox += data

    # --- records ---

    def record(self, plain):
        sealed = self.sealer.encrypt(bytes(4) + struct.pack(">Q", self.sent), plain, None)
        self.sent += 1
        return b"\x04" + struct.pack(">H", len(sealed)) + sealed

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def send(self, plain):
        self.send_raw(b"".join(self.record(plain[i:i + 4077]) for i in range(0, len(plain), 4077)))

    def receive(self):
        """The plaintext of the next record."""
        while len(self.inbox) < 3 or len(self.inbox) < 3 + int.from_bytes(self.inbox[1:3], "big"):
            self._receive()
        length = int.from_bytes(self.inbox[1:3], "big")
        assert self.inbox[0] == 4 and length <= 4093, self.inbox[:3]
        plain = self.opener.decrypt(bytes(4) + struct.pack(">Q", self.got), self.inbox[3:3 + length], None)
        self.got += 1
        self.inbox = self.inbox[3 + length:]
        return plain

    # --- HTTP/2 ---

    def _start_h2(self):
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 4 << 20})
        self.h2.increment_flow_control_window(1 << 30)
        self.send(self.h2.data_to_send())

    def _pump(self):
        """Takes one record and spreads its events over the streams."""
        self.plain += self.receive()
        if not self.is_early_done:
            if len(self.plain) < 9:
                return
            if self.plain.startswith(b"\xff\xff\xffTS"):
                length = int.from_bytes(self.plain[5:9], "big")
                if len(self.plain) < 9 + length:
                    return
                self.plain = self.plain[9 + length:]
            self.is_early_done = True
        data, self.plain = self.plain, b""
        for event in self.h2.receive_data(data):
            stream = self.streams.get(getattr(event, "stream_id", None))
            if isinstance(event, h2.events.ResponseReceived):
                stream.status = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                stream.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                stream.is_ended = True
            elif isinstance(event, h2.events.StreamReset):
                stream.is_ended = stream.is_reset = True
            elif isinstance(event, h2.events.ConnectionTerminated):
                raise Closed("GOAWAY %s" % event.error_code)
        answer = self.h2.data_to_send()
        if answer:
            self.send(answer)

    def open(self, path, body, method="POST"):
        """Sends a request; the answer is read by the stream's methods. `body` is an object (sent as JSON) or bytes."""
        if self.h2 is None:
            self._start_h2()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(self, number)
        self.h2.send_headers(number, [(":method", method), (":scheme", "https"), (":authority", "198.18.0.1"),
                                      (":path", path), ("content-length", str(len(data)))],
                             end_stream=not data)
        self.send(self.h2.data_to_send())
        while data and not stream.is_ended:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                self._pump()
                continue
            self.h2.send_data(number, data[:room], end_stream=len(data) <= room)
            data = data[room:]
            self.send(self.h2.data_to_send())
        return stream

    def request(self, path, body, method="POST"):
        """(status, body)"""
        stream = self.open(path, body, method)
        while not stream.is_ended:
            self._pump()
        if stream.is_reset:
            raise Closed("stream reset")
        return stream.status, bytes(stream.body)

    # --- the control protocol ---

    def register(self, node_key, auth_key, name="machine", **more):
        body = {"Version": VERSION, "NodeKey": node_key.text("nodekey"), "OldNodeKey": "nodekey:" + "0" * 64,
                "NLKey": "nlpub:" + os.urandom(32).hex(), "Auth": {"AuthKey": auth_key} if auth_key else None,
                "Expiry": "0001-01-01T00:00:00Z", "Followup": "",
                "Hostinfo": {"OS": "linux", "Hostname": name, "BackendLogID": "0" * 64}, **more}
        status, answer = self.request("/machine/register", body)
        assert status == 200, (status, answer)
        return json.loads(answer)

    def map_request(self, node_key, name="machine", **more):
        return {"Version": VERSION, "KeepAlive": True, "NodeKey": node_key.text("nodekey"),
                "DiscoKey": "discokey:" + node_key.public.hex(),
                "Hostinfo": {"OS": "linux", "Hostname": name, "BackendLogID": "0" * 64}, **more}

    def poll(self, node_key, name="machine"):
        """Opens the map stream; `next_map` of what comes back reads it."""
        return self.open("/machine/map", self.map_request(node_key, name, Stream=True))


class Stream:
    """One request and its answer."""

    def __init__(self, session, number):
        self.session, self.number = session, number
        self.status, self.body = None, bytearray()
        self.is_ended = self.is_reset = False

    def next_map(self):
        while len(self.body) < 4 or len(self.body) < 4 + int.from_bytes(self.body[:4], "little"):
            if self.is_ended:
                raise Closed("stream ended, status %s, %r" % (self.status, bytes(self.body[:200])))
            self.session._pump()
        length = int.from_bytes(self.body[:4], "little")
        frame = bytes(self.body[4:4 + length])
        del self.body[:4 + length]
        return json.loads(frame)


def upgrade_request(initiation):
    return (b"POST /ts2021 HTTP/1.1\r\nHost: 198.18.0.1\r\nContent-Length: 0\r\nConnection: upgrade\r\n"
            b"Upgrade: tailscale-control-protocol\r\nX-Tailscale-Handshake: " + base64.b64encode(initiation)
            + b"\r\n\r\n")


def server_key_over(sock):
    """What `GET /key` says, raw. Closes the connection."""
    with sock:
        sock.sendall(b"GET /key?v=%d HTTP/1.1\r\nHost: 198.18.0.1\r\nConnection: close\r\n\r\n" % VERSION)
        said = b""
        while data := sock.recv(65536):
            said += data
    if b"\r\n\r\n" not in said:
        raise Closed("no answer to GET /key")
    text = json.loads(said.split(b"\r\n\r\n", 1)[1])["publicKey"]
    return bytes.fromhex(text.removeprefix("mkey:"))
