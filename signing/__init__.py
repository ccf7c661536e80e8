"""Seal, sign, timestamp, log, verify.

What a bidder installs and an auditor reads. `SPEC.md` gives every byte.
"""
