"""Raw connections to the server: `connect` makes one; `stranger` is a namespace without a node to make it from."""
import ssl


def stranger(server):
    """A namespace with an address of its own, made at first use."""
    if not hasattr(server, "stranger_space"):
        server.stranger_space = server.net.add("stranger")
    return server.stranger_space


def connect(server, space=None, timeout=10, receive_buffer=None):
    """From `space` (default: the server's own namespace), inside TLS when the server requires it."""
    sock = (space or server.space).connect(server.address, timeout, receive_buffer)
    if not server.ca:
        return sock
    context = ssl.create_default_context(cafile=str(server.ca))
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(sock, server_hostname=server.address[0])
