"""The transmission service under the paths, names and encodings of S2LOW: its clients work unchanged."""
