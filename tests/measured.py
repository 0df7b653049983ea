"""Evidence made by hand, with every kind of figure a renderer can meet."""

from __future__ import annotations

import math

from reports.record import (
    Bar,
    Bars,
    Curves,
    Estimate,
    Head,
    HeadLayer,
    Heads,
    Images,
    Matrix,
    MatrixRow,
    Measured,
    Metric,
    OverlayRow,
    Overlays,
    Panel,
    Point,
    Score,
    Scoreboard,
    ScoreRow,
    Step,
    Swarm,
    SwarmRow,
    Table,
    TokenLine,
    Tokens,
    Waterfall,
)

#: 8 x 8 pixels from black to white; kept as text because its bytes depend on the encoder
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAGElEQVR4nGNkYGZhYWFhYWGUZ4ECBXIYAEDvAdnVX3TgAAAAAElFTkSuQmCC"


def fraction(value: float, half: float, n: int = 1000, method: str = "Wilson 95 %") -> Estimate:
    low, high = max(value - half, -1.0), min(value + half, 1.0)
    return Estimate(value=value, low=low, high=high, n=n, method=method, unit="fraction")


def count(value: float, unit: str = "", n: int = 1) -> Estimate:
    return Estimate(value=value, low=value, high=value, n=n, method="exact count", unit=unit)


def undefined(reason: str) -> Estimate:
    return Estimate(value=None, n=0, method="undefined", unit="fraction", reason=reason)


def accuracy() -> Measured:
    right = fraction(0.851, 0.0057, 15060)
    classes = [("<=50K", fraction(0.93, 0.005, 11360)), (">50K", fraction(0.61, 0.016, 3700))]
    return Measured(
        estimates={
            "accuracy": right,
            "macro_f1": fraction(0.784, 0.008, 15060, "bootstrap 95 % (1000 resamples)"),
            "train_test_gap": fraction(0.0123, 0.017, 15060, "Newcombe 95 %"),
            **{f"recall@class={name}": estimate for name, estimate in classes},
            "recall@class=unseen": undefined("no rows"),
        },
        headline=("accuracy", "macro_f1", "train_test_gap"),
        tables=(
            Table(
                title="By class",
                columns=("class", "rows", "recall"),
                rows=(*((name, e.n, e) for name, e in classes), ("unseen", 0, undefined("no rows"))),
                note="Recall is the share of a class that is found.",
            ),
        ),
        figures=(
            Bars(
                title="Recall of each class",
                x_title="recall",
                bars=tuple(Bar(label=name, value=e.value or 0, low=e.low, high=e.high) for name, e in classes),
                reference=right.value,
                percent=True,
                note="The line is the accuracy over all classes.",
            ),
            Curves(
                title="Reliability",
                x_title="confidence",
                y_title="accuracy",
                points=tuple(
                    Point(x=x / 20, y=x / 21, low=max(0, x / 21 - 0.04), high=x / 21 + 0.04) for x in range(10, 20)
                ),
                diagonal=True,
                x_percent=True,
                y_percent=True,
                note="On the diagonal the model is as sure as it is right.",
            ),
        ),
        notes=("The commonest class is '<=50K' with 75.4 % of the test rows.",),
    )


def evasion() -> Measured:
    series = {"linf": 9.0, "l2": 20.0, "gaussian noise": 45.0}
    points = [
        Point(x=eps / 100, y=y, low=max(0.0, y - 0.04), high=min(1.0, y + 0.04), series=name)
        for name, slope in series.items()
        for eps in range(0, 11, 2)
        for y in [0.86 * math.exp(-eps / slope)]
    ]
    return Measured(
        estimates={
            "robust_accuracy@linf:0.1": fraction(0.283, 0.04, 500),
            "robust_accuracy@l2:0.5": fraction(0.522, 0.044, 500),
        },
        headline=("robust_accuracy@linf:0.1", "robust_accuracy@l2:0.5"),
        figures=(
            Curves(
                title="Accuracy under attack",
                x_title="eps",
                y_title="robust accuracy",
                points=tuple(points),
                reference=0.1,
                y_percent=True,
                note="The dashed line is chance.",
            ),
            Matrix(
                title="Accuracy under each corruption",
                columns=("severity 1", "severity 3", "severity 5"),
                rows=(
                    MatrixRow(label="fog", values=(0.84, 0.71, 0.42)),
                    MatrixRow(label="shot noise", values=(0.8, 0.55, None)),
                ),
                percent=True,
                note="The darker, the more stays right.",
            ),
        ),
    )


def attention(tokens: int, layers: int, heads: int) -> tuple[HeadLayer, ...]:
    """Heads that look back, each at another distance."""

    def row(query: int, distance: int) -> tuple[float, ...]:
        raw = [math.exp(-abs(query - distance - key)) for key in range(tokens)]
        return tuple(round(value / sum(raw), 3) for value in raw)

    return tuple(
        HeadLayer(
            label=f"Layer {layer + 1}",
            heads=tuple(
                Head(
                    label=f"head {head + 1}",
                    weights=tuple(row(query, layer + 2 * head) for query in range(tokens)),
                    note="looks back" if head else "",
                )
                for head in range(heads)
            ),
        )
        for layer in range(layers)
    )


def battery() -> Measured:
    def score(value: float, half: float, lead: float) -> Score:
        return Score(
            value=fraction(value, half, 64),
            chance=fraction(0.1, 0.02, 64),
            lead=fraction(lead, half, 64, "paired 95 %"),
        )

    return Measured(
        estimates={"deletion@kernel_shap": fraction(0.31, 0.05, 64)},
        headline=("deletion@kernel_shap",),
        figures=(
            Scoreboard(
                title="The battery",
                metrics=(Metric(label="deletion", note="higher is better"), Metric(label="stability")),
                rows=(
                    ScoreRow(label="SHAP", scores=(score(0.31, 0.05, 0.21), Score(value=undefined("one example")))),
                    ScoreRow(label="LIME", scores=(score(0.12, 0.05, 0.02), Score(value=fraction(0.9, 0.04, 64)))),
                    ScoreRow(label="an edge detector", scores=(score(0.02, 0.05, -0.08), None)),
                ),
            ),
            Heads(
                title="Attention of every head",
                tokens=("[CLS]", "a", "dull", "life", "##less", "film", "[SEP]"),
                layers=attention(7, 2, 2),
            ),
            Waterfall(
                title="Most confident right: row 12",
                x_title="log-odds of >50K",
                start=-1.4,
                end=0.63,
                steps=(
                    Step(label="capital-gain = 0", value=-0.61, low=-0.7, high=-0.52),
                    Step(label="education-num = 13", value=1.84, low=1.6, high=2.08),
                    Step(label="age = 39", value=0.5),
                    Step(label="9 other features", value=0.3),
                ),
                note="The last row is the answer.",
            ),
            Swarm(
                title="Each feature over the examples",
                x_title="Shapley value",
                rows=(
                    SwarmRow(
                        label="age",
                        values=tuple(round(math.sin(i) + i / 40, 3) for i in range(40)),
                        levels=tuple(round(i / 39, 3) for i in range(40)),
                    ),
                    SwarmRow(
                        label="occupation",
                        values=tuple(round(math.cos(i) / 3, 3) for i in range(40)),
                        levels=(None,) * 40,
                    ),
                ),
            ),
        ),
    )


def explanations() -> Measured:
    heat = tuple(tuple(round(math.sin(x / 2) * math.cos(y / 3), 3) for x in range(8)) for y in range(8))
    return Measured(
        estimates={"deletion_gain@kernel_shap": fraction(0.31, 0.05, 200), "agreement@shap-lime": count(0.62, n=200)},
        headline=("deletion_gain@kernel_shap",),
        figures=(
            Images(
                title="Where the model looks",
                panels=(
                    Panel(caption="ankle boot, answered ankle boot", image=PNG),
                    Panel(caption="SHAP", image=PNG, heat=heat),
                    Panel(caption="integrated gradients", image=PNG, heat=heat[:4]),
                    Panel(caption="heat alone", heat=heat),
                    Panel(caption="a broken picture", image="AAAA"),
                ),
                note="One example a row.",
            ),
            Overlays(
                title="Explanations side by side",
                columns=("SHAP", "integrated gradients", "Grad-CAM"),
                rows=(
                    OverlayRow(caption="row 7: boot, answered boot", image=PNG, heats=(heat, heat[:4], None)),
                    OverlayRow(caption="row 9: shirt, answered coat", image=PNG, heats=(heat[:3], heat, heat)),
                ),
            ),
            Tokens(
                title="Which words count",
                lines=(
                    TokenLine(
                        caption="negative, answered negative",
                        tokens=("[CLS]", "a", "dull", ",", "life", "##less", "film", "[SEP]"),
                        weights=(0.0, -0.01, 0.42, 0.02, 0.31, 0.2, -0.22, 0.0),
                    ),
                ),
            ),
            Bars(
                title="Global importance by group",
                x_title="mean contribution",
                bars=tuple(
                    Bar(label=name, value=v * s, low=v * s - 0.02, high=v * s + 0.02, series=group)
                    for name, v in (("capital-gain", 0.3), ("age", -0.12), ("hours-per-week", 0.08))
                    for group, s in (("Female", 0.8), ("Male", 1.0))
                ),
            ),
        ),
    )


def cost() -> Measured:
    rows = tuple((f"layer{i}", "Linear", 1000 * i + 5, count(i / 210, n=1)) for i in range(20))
    return Measured(
        estimates={
            "parameters": count(41_234, "parameters"),
            "latency_p95": Estimate(
                value=3.2e-5, low=2.9e-5, high=4.1e-5, n=200, method="order statistics 95 %", unit="s"
            ),
            "flops": count(81_920, "FLOP a prediction"),
        },
        headline=("parameters", "latency_p95"),
        tables=(Table(title="Parameters by module", columns=("module", "type", "parameters", "share"), rows=rows),),
    )
