"""How a sweep runs: the only room that knows Ray Tune and Ray Train."""
