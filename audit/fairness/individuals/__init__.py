"""Single people: like ones, the same one in another group, and doubtful labels."""
