"""Background services: flows that a port or an IP protocol names, whatever application runs beside them.

``services.csv`` holds them: name, IP protocols (IANA numbers) and ports, of which one end has one; without ports, the
IP protocol alone. CICFlowMeter writes IP protocol 0 for all that is neither TCP nor UDP: ICMP, ARP and others.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etcc_edge.arrays import F32, I32, Text

BACKGROUND = "Background"
"""The application of a service's flow where no port tells which service it is."""
ENDS = ("ip_protocol", "src_port", "dst_port")
"""The features that tell a service."""
MAX_IP_PROTOCOL, MAX_PORT = 254, 65535


@dataclass(frozen=True)
class Service:
    name: str
    ip_protocols: tuple[int, ...]
    ports: tuple[int, ...]  # of either end; empty: whatever they are


@cache
def services() -> tuple[Service, ...]:
    """The table."""

    def numbers(cell: str) -> tuple[int, ...]:
        return tuple(int(number) for number in cell.split(";") if number)

    lines = Path(__file__).with_name("services.csv").read_text(encoding="utf-8").splitlines()
    return tuple(
        Service(row["name"], numbers(row["ip_protocols"]), numbers(row["ports"])) for row in csv.DictReader(lines)
    )


def services_told_by(features: Collection[str]) -> tuple[Service, ...]:
    """The services of the table that these features tell: none without the IP protocol, and without ports those that
    have none."""
    if "ip_protocol" not in features:
        return ()
    ported = {"src_port", "dst_port"} <= set(features)
    return tuple(service for service in services() if ported or not service.ports)


@dataclass(frozen=True, eq=False)
class ServiceRule:
    """Finds the flows of these services among flows with the named ``features``, which hold `ENDS`, or the IP protocol
    alone where no service has ports."""

    services: tuple[Service, ...]
    features: Sequence[str]

    @cached_property
    def _columns(self) -> list[int]:
        ported = any(service.ports for service in self.services)
        return [list(self.features).index(name) for name in (ENDS if ported else ENDS[:1])]

    @cached_property
    def _by_port(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int16], npt.NDArray[np.int16]]:
        """The row of each IP protocol in the table of ports, that table, and the services of an IP protocol alone."""
        ported = sorted({number for service in self.services if service.ports for number in service.ip_protocols})
        row = np.zeros(MAX_IP_PROTOCOL + 2, np.intp)
        row[ported] = np.arange(1, len(ported) + 1)
        table = np.full((len(ported) + 1, MAX_PORT + 1), -1, np.int16)
        alone = np.full(MAX_IP_PROTOCOL + 2, -1, np.int16)
        for code, service in enumerate(self.services):
            numbers = np.array(service.ip_protocols, np.intp)
            if service.ports:
                table[np.ix_(row[numbers], np.array(service.ports, np.intp))] = code
            else:
                alone[numbers] = code
        return row, table, alone

    def codes(self, raw: F32) -> I32:
        """int32 [n]: the number of each flow's service, -1 for none; ``raw`` float32 [n, f]. The destination's port
        goes before the source's."""
        row, table, alone = self._by_port
        ends = raw[:, self._columns].T
        ends = np.where((ends >= 0) & (ends <= MAX_PORT), ends, MAX_PORT + 1).astype(np.intp)
        protocol = np.minimum(ends[0], MAX_IP_PROTOCOL + 1)
        code = alone[protocol]
        for ports in ends[1:]:
            own = table[row[protocol], np.where(ports > MAX_PORT, 0, ports)]
            code = np.where(own >= 0, own, code)
        numbers: I32 = code.astype(np.int32)
        return numbers


def with_services(application: Text, service: Text, named: Collection[str]) -> Text:
    """The applications [n] where a flow of one of the ``named`` services has that service's name, and one of another
    service `BACKGROUND`. ``service``: [n], empty for the others' flows."""
    background = np.where(np.isin(service, list(named)), service, BACKGROUND)
    text: Text = np.where(service == "", application, background)
    return text
