"""What a gateway imports: a client that follows the control topic and answers every call from memory.

Beside it what reports calls, and `adapters` for other people's gateways. Needs the bare package only: msgspec
and aiokafka.
"""

from detector.gateway.client import GatewayClient
from detector.gateway.decision import Decision
from detector.gateway.telemetry import TelemetrySender
from detector.gateway.view import ControlView, Effective
from topics.telemetry import TelemetryRecord

__all__ = ["ControlView", "Decision", "Effective", "GatewayClient", "TelemetryRecord", "TelemetrySender"]
