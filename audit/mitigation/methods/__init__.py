"""Methods of mitigation: one a file, each one function of the file's name from a `Bench` to a `Remedy`."""
