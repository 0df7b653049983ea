"""What breaks the model."""
