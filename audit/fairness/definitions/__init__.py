"""Published definitions of fairness, impact ratios, and which of them cannot hold together."""
