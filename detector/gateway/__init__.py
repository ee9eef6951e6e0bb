"""What a gateway imports: a client that follows the control topic and answers every call from memory.

Needs the bare package only: msgspec and aiokafka.
"""

from detector.gateway.client import GatewayClient
from detector.gateway.decision import Decision
from detector.gateway.view import ControlView, Effective

__all__ = ["ControlView", "Decision", "Effective", "GatewayClient"]
