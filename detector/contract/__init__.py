"""The contract file: read, checked as a whole, and turned into typed values."""

from pkgutil import get_data

from detector.contract.finding import RULES, ContractError, Finding, Rule
from detector.contract.loader import check_text, load_contract
from detector.contract.model import Contract
from detector.contract.schema import contract_schema

__all__ = [
    "RULES",
    "Contract",
    "ContractError",
    "Finding",
    "Rule",
    "check_text",
    "contract_schema",
    "example_text",
    "load_contract",
]


def example_text() -> str:
    """The contract that ships with the package: every key that most installations need, explained."""
    data = get_data(__name__, "example.yaml")
    assert data is not None  # the wheel carries it
    return data.decode()
