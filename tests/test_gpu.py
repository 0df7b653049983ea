"""The same audit on an accelerator; skipped, with the reason, where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reports.record import Failed, read_record

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here; run these where there is one"),
]
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name", ["adult", "fashion", "movies"])
def test_an_example_is_audited_on_the_gpu_with_the_answers_of_the_cpu(cli, tmp_path, name):
    records = {}
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        only = () if device == "cuda" else ("--only", "fit")
        code, _, err = cli(
            "run", EXAMPLES / name / "plan.yaml", "--effort", "quick", "--device", device, "--out", out, *only
        )
        assert code in (0, 1, 3), err
        records[device] = read_record(out / "record.json")
    failed = {e.unit.check: e.evidence.error for e in records["cuda"].evidence if isinstance(e.evidence, Failed)}
    assert failed == {}
    accuracy = {}
    for device, record in records.items():
        (evidence,) = (e.evidence for e in record.evidence if e.unit.check == "fit.accuracy")
        accuracy[device] = evidence.estimates["accuracy"].value
    assert accuracy["cuda"] == pytest.approx(accuracy["cpu"], abs=0.002)


def test_attacks_stay_on_the_device():
    import attacks

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5)).cuda()
    inputs = torch.rand(32, 1, 8, 8, device="cuda")
    e = attacks.evaluate(model, inputs, model(inputs).argmax(1), attacks.Threat("linf", 0.2), effort="quick")
    assert e.adversarial.is_cuda
    assert attacks.corrupt(inputs, "gaussian_noise", severity=3).is_cuda
