"""The processes that a run is spread over: the only room that knows how many there are."""
