"""Real services for the tests and the demonstration, on free loopback ports, stopped with their starter."""
