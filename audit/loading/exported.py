"""`torch.export` archives (`.pt2`)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.errors import ModelError
from audit.loading.exported_vetting import sanitised
from audit.loading.pickles import damaged
from audit.subject import Capability

#: gradients flow; hooks on its modules never fire, `train()` raises (measured on torch 2.13)
CAPABILITIES = frozenset({Capability.INPUT_GRADIENT})


class Exported(nn.Module):
    """An exported program as a module that can be put in eval mode (it is in it) and takes any number of rows.

    Shapes: (n, ...) -> (n, outputs).

    Args:
        program: with one input.
        device: where it runs.
    """

    def __init__(self, program: torch.export.ExportedProgram, device: torch.device) -> None:
        super().__init__()
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        self.rows = _fixed_rows(program)
        self.program = program.module()
        self.train(False)

    def train(self, mode: bool = True) -> Exported:
        """Eval mode is all it has; the program's own `train` raises in either mode.

        Raises:
            ModelError: training mode is asked for.
        """
        if mode:
            raise ModelError(
                "Expected a model that can be trained, found an exported program; try the state_dict with its factory."
            )
        for module in self.modules():
            module.training = False
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Run the program; one exported for a fixed number of rows gets them in such portions, the last one padded."""
        if self.rows is None or len(inputs) == self.rows:
            return self.program(inputs)  # type: ignore[no-any-return]
        return torch.cat([self._portion(part) for part in torch.split(inputs, self.rows)])

    def _portion(self, part: Tensor) -> Tensor:
        assert self.rows is not None
        spare = (0, 0) * (part.ndim - 1) + (0, self.rows - len(part))
        return self.program(F.pad(part, spare))[: len(part)]  # type: ignore[no-any-return]


def load(path: Path, device: torch.device, trust_pickle: bool = False) -> nn.Module:
    """Return the program in a `.pt2` archive.

    Args:
        path: the archive.
        device: where it is to run.
        trust_pickle: give the archive to torch as it is, which runs what is pickled in it.

    Raises:
        ModelError: it is damaged, holds what could run code and is not trusted, or has not one input and one output.
    """
    archive = path.read_bytes()
    buffer = BytesIO(archive) if trust_pickle else sanitised(archive, str(path))
    try:
        program = torch.export.load(buffer)
        inputs = program.graph_signature.user_inputs
        if len(inputs) == 1:
            return Exported(program, device)
    except Exception as error:
        raise damaged(str(path), error) from error
    raise ModelError(
        f"Expected a program with one input, found {len(inputs)} in {path}; try exporting a module that takes the "
        "batch alone."
    )


def _fixed_rows(program: torch.export.ExportedProgram) -> int | None:
    """The number of rows it was exported for; None where any will do."""
    name = program.graph_signature.user_inputs[0]
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name == name:
            shape = node.meta["val"].shape
            return int(shape[0]) if len(shape) > 0 and isinstance(shape[0], int) else None
    return None
