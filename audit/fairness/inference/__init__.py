"""How sure the counts make us: intervals, differences between groups, and tests that hold for all groups together."""
