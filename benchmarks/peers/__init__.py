"""Other drift detectors, each in an environment of its own, as child processes that judge the same rows."""
