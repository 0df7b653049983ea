"""Cost: computation, hardware, energy."""

from __future__ import annotations

from reports.html.sections.section import Advice, Phrase, Section

SECTION = Section(
    id="cost",
    title="Cost",
    challenge="Training and inference take computation, special hardware and energy.",
    question="What does a prediction cost, how far from the machine’s limit is it, what could be saved?",
    order=("latency", "compute", "memory", "energy", "size"),
    phrases=(
        Phrase("cost.latency/latency_p50", "A single prediction takes {}."),
        Phrase("cost.latency/throughput", "At its best batch the machine makes {}."),
        Phrase("cost.energy/energy@batch=best", "At that batch 1,000 predictions take {}."),
        Phrase("cost.energy/energy@*", "With {slice}, 1,000 predictions take {}."),
        Phrase("cost.size/parameters", "The model has {}."),
        Phrase("cost.compute/flops", "One prediction takes {}."),
        Phrase("cost.memory/total@*", "With {slice} it needs {} of memory."),
        Phrase("cost.size/memory", "Its weights take {}."),
        Phrase("cost.size/checkpoint", "Its file takes {}."),
    ),
    advice=(
        Advice(
            "cost.latency/*",
            "Too slow: predict in batches where nobody waits, compile or quantise the model, or distil it into a smaller "
            "one; measure accuracy again after each.",
        ),
        Advice(
            "cost.energy/*",
            "Too much energy: predict in batches, lower the precision, or use a smaller model; the batch with the best "
            "throughput is usually also the thriftiest.",
        ),
        Advice("cost.memory/*", "Too much memory: lower the batch or the precision, or prune the largest module."),
        Advice("cost.size/*", "Too large: prune or factorise the largest module in the table above, or quantise."),
        Advice("cost.compute/*", "Too many operations: shrink the input or the widest layers in the table above."),
    ),
    upkeep="These figures hold for this machine. Measure again on the machine that will serve the model.",
)
