"""Providers: what they offer, at what price."""

from cloudbandit.providers.prices import Offer, load_offers, stale, validate

__all__ = ["Offer", "load_offers", "stale", "validate"]
