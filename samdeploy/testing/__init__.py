"""Contracts for tests of exporters and runtimes, ours and anybody's; they need pytest.

Subclass one, say what is tested, and pytest runs the rest::

    class TestMine(RuntimeContract):
        runtime = "mine"

        @classmethod
        def find_graphs(cls, fixture):
            return {"encoder": Path("encoder.mine"), ...}
"""

from samdeploy.testing.exporter_contract import ExporterContract
from samdeploy.testing.runtime_contract import RuntimeContract

__all__ = ["ExporterContract", "RuntimeContract"]
