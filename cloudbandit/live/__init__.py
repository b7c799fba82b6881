"""Live studies: the study file, the lease of a host, a trial on it."""
