"""UPnP's words are the standard's, and a router may name no address but its own."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal import upnp
from traversal.upnp import BadRouter, Control, Fault

GATEWAY = "192.168.1.1"
LOCATION = f"http://{GATEWAY}:5000/rootDesc.xml"
SERVICE = upnp.SERVICES[1]
ANSWER = (
    "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n"
    "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    "EXT:\r\nServer: Debian/12 UPnP/1.1 MiniUPnPd/2.3.1\r\n"
    f"Location: {LOCATION}\r\n\r\n"
)
SERVICES = (
    "<service><serviceType>{}</serviceType><serviceId>x</serviceId>"
    "<controlURL>{}</controlURL></service>"
)


def test_a_search_is_the_bytes_of_the_standard() -> None:
    assert upnp.search(upnp.DEVICES[0], upnp.MULTICAST) == (
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
        b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
        b'MAN: "ssdp:discover"\r\nMX: 1\r\n\r\n'
    )


def test_the_answer_to_a_search_leads_to_the_description() -> None:
    assert upnp.parse_search_answer(ANSWER.encode(), GATEWAY) == LOCATION
    lower = ANSWER.replace("Location", "LOCATION").replace("ST:", "st:")
    assert upnp.parse_search_answer(lower.encode(), GATEWAY) == LOCATION


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.2:5000/rootDesc.xml",
        "http://127.0.0.1/",
        "http://attacker.example/",
        "http://192.168.1.1.attacker.example/",
        "http://192.168.1.1@attacker.example/",
        "http://user:secret@192.168.1.1/",
        "https://192.168.1.1/",
        "file:///etc/passwd",
        "//192.168.1.1/",
        "http://192.168.1.1:99999/",
        "http://192.168.1.1:x/",
        "http://[192.168.1.1/",
        "http://192.168.1.1/" + "a" * upnp.MAX_URL,
        "http://192.168.1.1/a b",
        "",
    ],
)
def test_a_router_that_names_another_address_is_left_alone(url: str) -> None:
    with pytest.raises(BadRouter):
        upnp.parse_search_answer(ANSWER.replace(LOCATION, url).encode(), GATEWAY)
    if url:
        with pytest.raises(BadRouter):
            upnp.parse_description(_description(SERVICES.format(SERVICE, url)), url, GATEWAY)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "NOTIFY * HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        ANSWER.replace("200", "404"),
        ANSWER.replace("InternetGatewayDevice", "MediaServer"),
        ANSWER + "x" * upnp.MAX_SEARCH_ANSWER,
    ],
)
def test_what_is_no_answer_of_a_gateway_is_dropped(answer: str) -> None:
    with pytest.raises(BadRouter):
        upnp.parse_search_answer(answer.encode(), GATEWAY)


def test_the_best_service_of_a_description_is_taken() -> None:
    listed = [(upnp.SERVICES[2], "/ppp"), ("urn:x", "/other"), (upnp.SERVICES[1], "ctl/IPConn")]
    described = _description("".join(SERVICES.format(*entry) for entry in listed))
    control = upnp.parse_description(described, LOCATION, GATEWAY)
    assert control == Control(f"http://{GATEWAY}:5000/ctl/IPConn", upnp.SERVICES[1])


def test_a_description_without_a_service_that_maps_ports_is_of_no_use() -> None:
    with pytest.raises(BadRouter, match="no service of it maps ports"):
        upnp.parse_description(_description(SERVICES.format("urn:x", "/")), LOCATION, GATEWAY)


def test_a_call_is_the_soap_of_the_standard() -> None:
    control = Control(f"http://{GATEWAY}:5000/ctl/IPConn", SERVICE)
    call = upnp.add_port_mapping(control, "192.168.1.11", 51820, 40000, 1800)
    assert call.url == control.url
    assert call.headers["SOAPAction"] == f'"{SERVICE}#AddPortMapping"'
    assert (
        f'<u:AddPortMapping xmlns:u="{SERVICE}"><NewRemoteHost></NewRemoteHost>'
        "<NewExternalPort>40000</NewExternalPort><NewProtocol>UDP</NewProtocol>"
        "<NewInternalPort>51820</NewInternalPort>"
        "<NewInternalClient>192.168.1.11</NewInternalClient><NewEnabled>1</NewEnabled>"
        "<NewPortMappingDescription>didmesh</NewPortMappingDescription>"
        "<NewLeaseDuration>1800</NewLeaseDuration></u:AddPortMapping>"
    ).encode() in call.body
    assert (
        b"#DeletePortMapping" in upnp.delete_port_mapping(control, 1).headers["SOAPAction"].encode()
    )


def test_a_routers_refusal_has_its_number() -> None:
    fault = (
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
        b'<detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>718</errorCode>'
        b"</UPnPError></detail></s:Fault></s:Body></s:Envelope>"
    )
    for status in (500, 200):
        with pytest.raises(Fault) as refused:
            upnp.check_answer(status, fault)
        assert refused.value.code == upnp.CONFLICT
    with pytest.raises(Fault) as refused:
        upnp.check_answer(500, fault.replace(b"718", b"9" * 5000))
    assert refused.value.code == 0


def test_the_external_address_is_an_ipv4_address_or_nothing() -> None:
    told = b"<r><NewExternalIPAddress>203.0.113.7</NewExternalIPAddress></r>"
    assert upnp.parse_external_address(200, told) == "203.0.113.7"
    for other in (b"", b"203.0.113.7.attacker.example", b"::1", b"3405803783"):
        with pytest.raises(BadRouter):
            upnp.parse_external_address(200, told.replace(b"203.0.113.7", other))
    with pytest.raises(BadRouter, match="HTTP status 302"):
        upnp.parse_external_address(302, told)


@given(st.binary(max_size=200), st.text(max_size=60), st.integers(100, 599))
def test_no_input_crashes_a_parser(data: bytes, url: str, status: int) -> None:
    described = _description(SERVICES.format(SERVICE, url.replace("<", "").replace("&", "")))
    for attempt in (
        lambda: upnp.parse_search_answer(data, GATEWAY),
        lambda: upnp.parse_search_answer(ANSWER.replace(LOCATION, url).encode(), GATEWAY),
        lambda: upnp.parse_description(data, LOCATION, GATEWAY),
        lambda: upnp.parse_description(described, LOCATION, GATEWAY),
        lambda: upnp.parse_external_address(status, data),
    ):
        with contextlib.suppress(BadRouter):
            attempt()


def _description(services: str) -> bytes:
    return (
        '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><serviceList>'
        f"{services}</serviceList></device></root>"
    ).encode()
