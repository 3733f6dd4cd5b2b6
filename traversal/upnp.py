"""UPnP-IGD: the questions and answers of a router that opens ports, without a socket.

A search over SSDP leads to a description, which names the service that maps ports; that one is
asked by SOAP. Everything a router says is bounded, and it may name no address but its own.
Source: UPnP Device Architecture 1.1, sections 1.3 (search), 2.3 (description) and 3.2 (SOAP);
WANIPConnection:1 and :2, sections 2.4 and 2.5.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit
from xml.sax.saxutils import escape

from traversal.bounded_xml import BadXml, Element, elements

MULTICAST = "239.255.255.250"
PORT = 1900
MAX_SEARCH_ANSWER = 2048
MAX_URL = 512
DEVICES = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
)
SERVICES = (  # the best first
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
CONFLICT = 718  # somebody else has this external port
ONLY_PERMANENT = 725  # leases are not limited; such a router wants 0


class BadRouter(ValueError):
    """A router's answer that leads nowhere; go on without it."""


@dataclass(frozen=True)
class Control:
    """Where a service that maps ports takes its calls; the host is the gateway's own address."""

    url: str
    service: str


@dataclass(frozen=True)
class Call:
    """An HTTP POST."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Fault(BadRouter):
    """The router understood and refused; `code` is its number (0 if it told none)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the router refuses with error {code}")
        self.code = code


def search(device: str, host: str) -> bytes:
    """An M-SEARCH to the multicast group, or to one host alone."""
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {host}:{PORT}",
        f"ST: {device}",
        'MAN: "ssdp:discover"',
        "MX: 1",
    )
    return "\r\n".join((*lines, "", "")).encode()


def parse_search_answer(data: bytes, gateway: str) -> str:
    """The URL of the description, which must be at the gateway that answered.

    Raises: BadRouter, for any other input whatsoever.
    """
    if len(data) > MAX_SEARCH_ANSWER:
        raise BadRouter("its answer to the search is too long")
    status, *lines = data.decode("latin-1").split("\r\n")
    if not status.startswith("HTTP/1.1 200"):
        raise BadRouter("no answer to a search")
    fields = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines)
        if colon
    }
    if fields.get("st") not in (*DEVICES, *SERVICES):
        raise BadRouter("it is no internet gateway")
    return _own_url(fields.get("location", ""), gateway)


def parse_description(data: bytes, location: str, gateway: str) -> Control:
    """The best of the services that map ports.

    Raises: BadRouter, for any other input whatsoever.
    """
    found = _read(data)
    base = next((e.text for e in found if e.name == "URLBase" and e.text), location)
    urls: dict[str, str] = {}
    service = ""
    for element in found:  # within a service the type comes before its URL, as the schema orders
        if element.name == "serviceType":
            service = element.text
        elif element.name == "controlURL" and service in SERVICES:
            urls.setdefault(service, element.text)
    for service in SERVICES:
        if service in urls:
            return Control(_own_url(_joined(base, urls[service]), gateway), service)
    raise BadRouter("no service of it maps ports")


def add_port_mapping(
    control: Control, client: str, internal_port: int, external_port: int, lifetime: int
) -> Call:
    """`lifetime` in seconds, 0 for one without an end."""
    return _call(
        control,
        "AddPortMapping",
        NewRemoteHost="",
        NewExternalPort=str(external_port),
        NewProtocol="UDP",
        NewInternalPort=str(internal_port),
        NewInternalClient=client,
        NewEnabled="1",
        NewPortMappingDescription="didmesh",
        NewLeaseDuration=str(lifetime),
    )


def delete_port_mapping(control: Control, external_port: int) -> Call:
    return _call(
        control,
        "DeletePortMapping",
        NewRemoteHost="",
        NewExternalPort=str(external_port),
        NewProtocol="UDP",
    )


def get_external_address(control: Control) -> Call:
    return _call(control, "GetExternalIPAddress")


def check_answer(status: int, data: bytes) -> list[Element]:
    """What a call gave back.

    Raises: Fault, with the router's own code; BadRouter, for anything else but success.
    """
    if status not in (200, 500):
        raise BadRouter(f"it answers with HTTP status {status}")
    found = _read(data)
    if status == 500 or any(element.name == "Fault" for element in found):
        code = next((e.text for e in found if e.name == "errorCode"), "")
        raise Fault(int(code) if code.isascii() and code.isdigit() and len(code) < 6 else 0)
    return found


def parse_external_address(status: int, data: bytes) -> str:
    """Raises: BadRouter, for anything but an IPv4 address."""
    found = check_answer(status, data)
    text = next((e.text for e in found if e.name == "NewExternalIPAddress"), "")
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise BadRouter("it has no external address") from error


def _read(data: bytes) -> list[Element]:
    try:
        return elements(data)
    except BadXml as error:
        raise BadRouter(str(error)) from error


def _joined(base: str, path: str) -> str:
    try:
        return urljoin(base, path)
    except ValueError as error:
        raise BadRouter("a URL of it cannot be read") from error


def _own_url(url: str, gateway: str) -> str:
    """A plain HTTP URL at the gateway's own literal address, and nothing else."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise BadRouter("a URL of it cannot be read") from error
    written = len(url) <= MAX_URL and url.isascii() and url.isprintable() and " " not in url
    if not written or parts.scheme != "http" or parts.hostname != gateway or "@" in parts.netloc:
        raise BadRouter("it names an address that is not its own")
    query = f"?{parts.query}" if parts.query else ""
    return f"http://{gateway}:{port}{parts.path or '/'}{query}"


def _call(control: Control, action: str, **arguments: str) -> Call:
    words = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in arguments.items())
    body = (
        '<?xml version="1.0"?>\r\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{control.service}">{words}</u:{action}></s:Body></s:Envelope>\r\n'
    )
    headers = {
        "Content-Type": 'text/xml; charset="utf-8"',
        "SOAPAction": f'"{control.service}#{action}"',
    }
    return Call(control.url, headers, body.encode())
