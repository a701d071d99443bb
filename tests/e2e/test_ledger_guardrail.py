"""What a ledger refuses as a guardrail, on a real cluster: counted by the relay of each pod."""

from pathlib import Path
from typing import Final, override

import pytest

from tests.support.bank import Bank
from tests.support.namespace import Json, Namespace
from tests.support.trials import LiveTrial, deployment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PAYER: Final = Path(__file__).parent / "files" / "payer.py"


class PayingTrial(LiveTrial):
    """An app whose pods pay by the ledger `credits`, judged by nothing but what that refuses."""

    program = PAYER

    @staticmethod
    @override
    def manifest(**decision: str) -> Json:
        experiment = LiveTrial.manifest(**decision)
        experiment["spec"]["metrics"]["guardrails"] = [
            {
                "name": "refusals",
                "ledgerRef": "credits",
                "refusals": True,
                "margin": {"absolute": "10%"},
                "baseRate": "5%",
            }
        ]
        return experiment

    @override
    def release(
        self, version: str, *, error_rate: float = 0.05, ready: bool = True, rate: int = 40
    ) -> None:
        environment = {"VERSION": version, "REFUSED": str(error_rate), "RATE": str(rate)}
        app = deployment(environment, PAYER.name)
        template = app["spec"]["template"]
        template["metadata"]["annotations"] = {"shieldx.io/ledger": "credits"}
        template["spec"]["serviceAccountName"] = "customers"
        self.world.apply(app)


@pytest.fixture
def trial(namespace: Namespace) -> PayingTrial:
    Bank(namespace).open()
    trial = PayingTrial(namespace)
    trial.install()
    return trial


def test_a_version_that_the_ledger_refuses_more_often_is_rolled_back_and_its_fix_promoted(
    trial: PayingTrial,
) -> None:
    trial.release("greedy", error_rate=0.5)
    trial.until("RolledBack")
    blamed = trial.status["decision"]

    trial.release("v2")
    trial.until("Promoted")

    assert "refusals got worse than tolerated" in blamed
    assert trial.versions() == ["v2", "v2"]
    assert trial.outcomes() == ["RolledBack", "Promoted"]
