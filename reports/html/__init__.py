"""Record -> one self-contained HTML page."""
