"""The network leaves the study: predictions, exported files, what fits a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.deployment.device_family import Needs as Needs
    from convscope.deployment.device_family import needs_of as needs_of
    from convscope.deployment.device_memory import DeviceFit as DeviceFit
    from convscope.deployment.device_memory import device_fit as device_fit
    from convscope.deployment.device_quantised import Simulated as Simulated
    from convscope.deployment.device_sizes import parse_count as parse_count
    from convscope.deployment.device_sizes import parse_size as parse_size
    from convscope.deployment.device_sizes import size_text as size_text

_HOMES: dict[str, str] = {
    "DeviceFit": "device_memory",
    "Needs": "device_family",
    "Simulated": "device_quantised",
    "device_fit": "device_memory",
    "needs_of": "device_family",
    "parse_count": "device_sizes",
    "parse_size": "device_sizes",
    "size_text": "device_sizes",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
