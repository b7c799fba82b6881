"""Providers: what they offer, at what price."""
