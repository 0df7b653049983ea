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


def test_explanations_agree_with_the_cpu():
    from audit import explainers

    model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    inputs, background = torch.randn(16, 10), torch.randn(4, 10)
    found = {}
    for device in ("cpu", "cuda"):
        moved, x, b = model.to(device), inputs.to(device), background.to(device)
        found[device] = [
            explainers.kernel_shap(moved, x, b, evaluations=256).values,
            explainers.lime(moved, x, b, evaluations=256).values,
            explainers.integrated_gradients(moved, x, b[:1]).values,
            explainers.deep_lift(moved, x, b[:1]).values,
        ]
    for cpu, cuda in zip(found["cpu"], found["cuda"], strict=True):
        assert cuda.device.type == "cpu"
        torch.testing.assert_close(cuda, cpu, atol=2e-3, rtol=2e-3)


def test_attention_maps_and_recurrent_layers_on_the_gpu():
    from audit import explainers

    layer = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).cuda().eval()
    (found,) = explainers.attention(layer, torch.randn(2, 5, 16, device="cuda"))
    assert found.shape == (2, 4, 5, 5)
    torch.testing.assert_close(found.sum(-1).cpu(), torch.ones(2, 4, 5), atol=1e-4, rtol=0)

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.LSTM(4, 8, batch_first=True), torch.nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x)[0][:, -1])

    # cuDNN has no gradient for these in eval mode
    values = explainers.integrated_gradients(
        Recurrent().cuda().eval(), torch.randn(3, 6, 4, device="cuda"), torch.zeros(1, 6, 4, device="cuda")
    ).values
    assert bool(values.abs().sum() > 0)
