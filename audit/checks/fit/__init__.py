"""Whether the model has learnt."""
