"""Where jobs run. An engine takes picklable functions and gives events; it knows nothing of networks."""
