"""Explaining audited rows: what `audit.explainers` do on tensors, done to a subject and its data, for every check alike.

`attributions` runs the methods that `methods` lists (families `games`, `gradients`, `attention`); `players` says what can be
removed and what stands for it; `examples`, `rankings`, `fakes` and `copies` are what explanations are audited with.
"""
