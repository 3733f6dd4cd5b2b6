"""Socket buffers that hold what a busy machine has not read yet."""

import socket

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # <asm/socket.h>


def enlarge(sock: socket.socket, size: int) -> None:
    """Both directions to so many bytes, beyond the limits that root may pass over."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size)
    except PermissionError:  # root of a user namespace: as large as everybody may
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
