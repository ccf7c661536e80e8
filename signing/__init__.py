"""Seal, sign, timestamp, log, verify: what a bidder installs and an auditor reads. `SPEC.md` gives every byte."""
