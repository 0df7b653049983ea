"""Groups compared among people alike in another respect."""
